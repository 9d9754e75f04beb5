"""The commands of `labrt-oci`: one function each, which reads its options and calls runtime/oci.

Exit codes are runc's: 0; the program's own for `run` and `exec` in the foreground; 255 when `exec` could not; else 1.
"""

from __future__ import annotations

import json
import os
import sys

from labrt.cli.oci import usage
from labrt.cli.oci.arguments import Usage, parse
from labrt.cli.oci.log import Log
from labrt.errors import InvalidInput, LabrtError

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from labrt.runtime.oci.lifecycle import Terms

    Values = dict[str, Any]
    Command = Callable[[Values, Values, list[str], Log], int]


def main(arguments: list[str]) -> int:
    """Do what the arguments say; return the exit code."""
    log, command = Log(), ""
    try:
        options, words = parse(usage.global_options(), arguments)
        if options["log_format"] not in ("text", "json"):
            raise Usage(f"unknown log-format {options['log_format']!r}: text or json")
        log = Log(options["log"], options["log_format"])
        if options["version"]:
            return _version()
        if options["help"] or not words or words[0] in ("help", "h"):
            print(usage.of_command(words[1]) if words[1:] and words[1] in usage.COMMANDS else usage.of_program())
            return 0
        command = words[0]
        return _call(command, options, words[1:], log)
    except (Usage, LabrtError, OSError) as error:
        if os.environ.get("LABRT_DEBUG"):
            import traceback

            traceback.print_exc()
        log.error(f"exec failed: {_text(error)}" if command == "exec" else _text(error))
        return 255 if command == "exec" else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1]
        log.error(f"a mistake in labrt: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        return 255 if command == "exec" else 1


def _call(command: str, options: Values, words: list[str], log: Log) -> int:
    if command not in COMMANDS:
        raise Usage(f"there is no command {command!r}: labrt-oci --help lists them")
    values, left = parse(usage.options_of(command), words, mixed=command not in ("exec", "ps"))
    if values["help"]:
        print(usage.of_command(command))
        return 0
    what, least, most = COMMANDS[command]
    if not least <= len(left) <= most:
        raise Usage(f'"labrt-oci {command}" wants: {usage.COMMANDS[command][0] or "no argument"}; it got {left}')
    if not options["root"]:
        from labrt.runtime.oci import record

        options["root"] = record.default_root()
    options["root"] = os.path.abspath(options["root"])
    return what(options, values, left, log)


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, LabrtError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return str(error)


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    from labrt.runtime import config

    try:
        ours = version("labrt")
    except PackageNotFoundError:  # a checkout that is not installed
        ours = "unknown"
    print(f"labrt-oci version {ours}\nspec: {config.OCI_VERSION}")
    return 0


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


# Create, run, exec ----------------------------------------------------------------------------------------------------


def _terms(options: Values, values: Values, *, detached: bool) -> Terms:
    from labrt.runtime.oci.lifecycle import Terms

    return Terms(
        pid_file=values["pid_file"],
        console_socket=values["console_socket"],
        detached=detached,
        preserve_fds=values["preserve_fds"],
        new_keyring=not values.get("no_new_keyring"),
        pivot=not values.get("no_pivot"),
        systemd_cgroup=options["systemd_cgroup"],
        rootless=_rootless(options["rootless"]),
    )


def _end_by_exception() -> None:
    """Let what would end us raise, so that what is half made is taken down."""
    import signal

    def end(number: int, _: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def _rootless(word: str) -> bool:
    if word in ("true", "false"):
        return word == "true"
    if word != "auto":
        raise Usage(f"--rootless: {word!r} is none of true, false and auto")
    if os.geteuid() != 0:
        return True
    with open("/proc/self/uid_map") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def _create(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import lifecycle

    _end_by_exception()
    terms = _terms(options, values, detached=True)
    created = lifecycle.create(options["root"], words[0], values["bundle"], terms)
    for text in created.warnings:
        log.warning(text)
    return 0


def _run(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import foreground, lifecycle

    _end_by_exception()
    root, id, detached = options["root"], words[0], values["detach"]
    if not detached and not values["no_subreaper"]:
        foreground.become_subreaper()
    created = lifecycle.create(root, id, values["bundle"], _terms(options, values, detached=detached))
    for text in created.warnings:
        log.warning(text)
    with foreground.forwarded(created.init):
        try:
            lifecycle.start(root, id)
        except BaseException:
            lifecycle.delete(root, id, force=True)
            raise
        if detached:
            return 0
        code = foreground.wait(created.init, created.master)
        _after_run(root, id, values["keep"], log)
        return code


def _after_run(root: str, id: str, keep: bool, log: Log) -> None:
    from labrt.runtime.oci import lifecycle

    if not keep:
        for text in lifecycle.delete(root, id, force=True):
            log.warning(text)


def _exec(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import execution, foreground

    detached = values["detach"]
    child, master = execution.execute(
        options["root"],
        words[0],
        _wanted(options["root"], values, words),
        _terms(options, values, detached=detached),
        ignore_paused=values["ignore_paused"],
    )
    if detached:
        return 0
    with foreground.forwarded(child):
        return foreground.wait(child, master)


def _wanted(root: str, values: Values, words: list[str]) -> Values:
    """Return the process section of what `exec` is to run."""
    from labrt.runtime.oci import execution, record

    if values["process"]:
        try:
            with open(values["process"]) as file:
                found: Values = json.load(file)
                return found
        except ValueError as error:
            raise InvalidInput(f"--process {values['process']}: {error}") from None
    if not words[1:]:
        raise Usage("exec wants a command, or --process")
    if values["process_label"]:
        raise InvalidInput("--process-label: labrt does not do SELinux")
    try:
        groups = [int(group) for group in values["additional_gids"]]
    except ValueError:
        raise Usage(f"--additional-gids: {values['additional_gids']} are not all numbers") from None
    changes = {
        "env": values["env"],
        "cwd": values["cwd"],
        "user": values["user"],
        "terminal": values["tty"],
        "additional_gids": groups,
        "capabilities": values["cap"],
        "apparmor": values["apparmor"],
        "no_new_privileges": values["no_new_privs"],
    }
    return execution.section(record.config(root, words[0]), words[1:], changes)


# The life of a container ----------------------------------------------------------------------------------------------


def _start(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import lifecycle

    lifecycle.start(options["root"], words[0])
    return 0


def _kill(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import lifecycle

    lifecycle.kill(options["root"], words[0], signal_number(words[1] if words[1:] else "TERM"), all=values["all"])
    return 0


def signal_number(text: str) -> int:
    """Read a signal: a number, or a name with or without SIG, RTMIN+1 and RTMAX-1 too."""
    import signal

    if text.isdecimal():
        number = int(text)
    else:
        name = text.upper().removeprefix("SIG")
        base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
        known = getattr(signal, f"SIG{base}", None)
        if not isinstance(known, signal.Signals) or (sign and not offset.isdecimal()):
            raise InvalidInput(f"unknown signal {text!r}", remedy="`kill -l` lists them")
        number = known + (int(offset) * (1 if sign == "+" else -1) if sign else 0)
    if not 0 <= number <= signal.SIGRTMAX:  # 0 only asks whether it is there
        raise InvalidInput(f"unknown signal {text!r}", remedy="`kill -l` lists them")
    return number


def _delete(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import lifecycle

    for text in lifecycle.delete(options["root"], words[0], force=values["force"]):
        log.warning(text)
    return 0


def _pause(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import lifecycle

    lifecycle.pause(options["root"], words[0])
    return 0


def _resume(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import lifecycle

    lifecycle.resume(options["root"], words[0])
    return 0


_LIMITS = {
    "blkio_weight": ("blockIO", "weight"),
    "cpu_period": ("cpu", "period"),
    "cpu_quota": ("cpu", "quota"),
    "cpu_share": ("cpu", "shares"),
    "cpu_rt_period": ("cpu", "realtimePeriod"),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime"),
    "cpu_idle": ("cpu", "idle"),
    "cpu_burst": ("cpu", "burst"),
    "cpuset_cpus": ("cpu", "cpus"),
    "cpuset_mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
    "pids_limit": ("pids", "limit"),
}


def _update(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import lifecycle

    resources: dict[str, dict[str, Any]] = {}
    if values["resources"]:
        try:
            source = 0 if values["resources"] == "-" else values["resources"]
            with open(source, closefd=source != 0) as file:
                resources = json.load(file)
        except ValueError as error:
            raise InvalidInput(f"--resources {values['resources']}: {error}") from None
        if not isinstance(resources, dict):
            raise InvalidInput(f"--resources {values['resources']} is no JSON object")
    else:
        for key, (section, name) in _LIMITS.items():
            if values[key]:
                resources.setdefault(section, {})[name] = values[key]
    lifecycle.update(options["root"], words[0], resources)
    return 0


# Looking --------------------------------------------------------------------------------------------------------------


def _state(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import record

    _print_json(record.to_json(options["root"], record.read(options["root"], words[0])))
    return 0


def _list(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import record

    _check_format(values["format"])
    records = record.listing(options["root"])
    if values["quiet"]:
        for one in records:
            print(one.id)
        return 0
    states = [record.to_json(options["root"], one) for one in records]
    if values["format"] == "json":
        print(json.dumps(states))
    else:
        names = ("id", "pid", "status", "bundle", "created", "owner")
        _print_table([[name.upper() for name in names], *([str(state[name]) for name in names] for state in states)])
    return 0


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _check_format(format: str) -> None:
    if format not in ("table", "json"):
        raise Usage(f"--format: {format!r} is neither table nor json")


def _ps(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import lifecycle, record

    _check_format(values["format"])
    one = record.read(options["root"], words[0])
    cgroup = lifecycle.cgroup_of(one)
    pids = cgroup.procs if cgroup else []
    if values["format"] == "json":
        print(json.dumps(pids))
        return 0
    import subprocess

    arguments = words[1:] or ["-ef"]
    try:
        done = subprocess.run(["ps", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise InvalidInput("ps is not installed", remedy="apt-get install procps; or --format json") from None
    if done.returncode != 0:
        raise InvalidInput(f"ps {' '.join(arguments)}: {done.stderr.strip()}")
    head, *rows = done.stdout.splitlines()
    if "PID" not in head.split():
        raise InvalidInput(f"ps {' '.join(arguments)} prints no column PID")
    column = head.split().index("PID")
    wanted = {str(pid) for pid in pids}
    print(head)
    for row in rows:
        if row.split()[column] in wanted:
            print(row)
    return 0


def _spec(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import template

    path = os.path.join(values["bundle"], "config.json")
    try:
        with open(path, "x") as file:
            json.dump(template.config(rootless=values["rootless"]), file, indent="\t")
    except FileExistsError:
        raise InvalidInput(f"{path} exists already", remedy="move it away first") from None
    return 0


def _features(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import features

    _print_json(features.features())
    return 0


def _events(options: Values, values: Values, words: list[str], log: Log) -> int:
    from labrt.runtime.oci import statistics

    every = statistics.seconds(values["interval"])
    for event in statistics.events(options["root"], words[0], every=None if values["stats"] else every):
        print(json.dumps(event), flush=True)
    return 0


# name: (function, fewest and most words after the options)
COMMANDS: dict[str, tuple[Command, int, int]] = {
    "create": (_create, 1, 1),
    "start": (_start, 1, 1),
    "run": (_run, 1, 1),
    "state": (_state, 1, 1),
    "kill": (_kill, 1, 2),
    "delete": (_delete, 1, 1),
    "exec": (_exec, 1, sys.maxsize),
    "ps": (_ps, 1, sys.maxsize),
    "pause": (_pause, 1, 1),
    "resume": (_resume, 1, 1),
    "update": (_update, 1, 1),
    "list": (_list, 0, 0),
    "spec": (_spec, 0, 0),
    "features": (_features, 0, 0),
    "events": (_events, 1, 1),
}
