"""start, kill, delete, pause, resume and update: what can be done with a container that is there."""

from __future__ import annotations

import json

from labrt.errors import InvalidInput

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.cli.oci.log import Log

    Values = dict[str, Any]


def start(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Let its program begin."""
    from labrt.runtime.oci import lifecycle

    lifecycle.start(options["root"], words[0])
    return 0


def kill(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Signal it."""
    from labrt.runtime.oci import lifecycle

    lifecycle.kill(options["root"], words[0], signal_number(words[1] if words[1:] else "TERM"), all=values["all"])
    return 0


def signal_number(text: str) -> int:
    """Read a signal: a number, or a name with or without SIG, RTMIN+1 and RTMAX-1 too."""
    import signal

    from labrt.linux import signal_names

    number = int(text) if text.isdecimal() else signal_names.number(text)
    if number is None or not 0 <= number <= signal.SIGRTMAX:  # 0 only asks whether it is there
        raise InvalidInput(f"unknown signal {text!r}", remedy="`kill -l` lists them")
    return number


def delete(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Remove it."""
    from labrt.runtime.oci import lifecycle

    for text in lifecycle.delete(options["root"], words[0], force=values["force"]):
        log.warning(text)
    return 0


def pause(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Freeze it."""
    from labrt.runtime.oci import lifecycle

    lifecycle.pause(options["root"], words[0])
    return 0


def resume(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Thaw it."""
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


def update(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Change its limits."""
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
