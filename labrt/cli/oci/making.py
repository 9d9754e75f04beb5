"""create, run and exec: those that begin a program."""

from __future__ import annotations

import json
import os

from labrt.cli.oci.arguments import Usage
from labrt.errors import InvalidInput

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.cli.oci.log import Log
    from labrt.runtime.oci.create import Terms

    Values = dict[str, Any]


def _terms(options: Values, values: Values, *, detached: bool) -> Terms:
    from labrt.runtime.oci.create import Terms

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


def create(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Create a container."""
    from labrt.runtime.oci import create

    _end_by_exception()
    terms = _terms(options, values, detached=True)
    created = create.create(options["root"], words[0], values["bundle"], terms)
    for text in created.warnings:
        log.warning(text)
    return 0


def run(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Create a container, start it, wait for it, delete it."""
    from labrt.runtime.oci import create, foreground, lifecycle

    _end_by_exception()
    root, id, detached = options["root"], words[0], values["detach"]
    if not detached and not values["no_subreaper"]:
        foreground.become_subreaper()
    created = create.create(root, id, values["bundle"], _terms(options, values, detached=detached))
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


def exec_(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Run one more program in a container."""
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
        raise InvalidInput("--process-label: not taken", remedy="give --process a file with selinuxLabel in it")
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
