"""What `labrt-oci events` tells, in runc's shape: {"type": "stats" or "oom", "id": …, "data": …}.

    for event in events(root, id, every=5.0): …       until the container has ended; `every` None: one, now

Times are nanoseconds, sizes bytes. What this machine's cgroups do not count is left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from labrt.errors import Conflict, InvalidInput, LabrtError
from labrt.image import durations
from labrt.linux import process
from labrt.runtime.oci import lifecycle
from labrt.runtime.oci import record as records

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.linux.cgroups import Cgroup


def seconds(text: str) -> float:
    """Read a duration as Go writes it: "5s", "1m30s", "500ms"."""
    found = durations.nanoseconds(text)
    if not found:
        raise InvalidInput(f"--interval {text}: no duration", remedy="such as 5s or 500ms")
    return found / 1e9


def events(root: str, id: str, *, every: float | None) -> Iterator[dict[str, Any]]:
    """Yield the container's statistics, and one "oom" for each time that memory ran out."""
    record = records.read(root, id)
    pidfd = records.open_init(record)
    cgroup = lifecycle.cgroup_of(record)
    if pidfd is None or cgroup is None:
        raise Conflict(f"container {id} has no statistics: it is {records.status(root, record)}")
    try:
        kills = _kills(cgroup)
        while True:
            with contextlib.suppress(LabrtError):  # it may end just now
                yield {"type": "stats", "id": id, "data": statistics(cgroup)}
            if every is None or process.wait_for(pidfd, every):
                return
            before, kills = kills, _kills(cgroup)
            for _ in range(before, kills):
                yield {"type": "oom", "id": id}
    finally:
        os.close(pidfd)


def _kills(cgroup: Cgroup) -> int:
    try:
        return int(cgroup.memory.events.get("oom_kill", 0))
    except (LabrtError, OSError):
        return 0


def statistics(cgroup: Cgroup) -> dict[str, Any]:
    """Read what a cgroup has counted."""
    found = cgroup.stats()
    return {
        "cpu": _cpu(found.get("cpu", {}).get("stat") or {}),
        "memory": _memory(found.get("memory", {})),
        "pids": {key: value for key, value in (
            ("current", found.get("pids", {}).get("current")), ("limit", found.get("pids", {}).get("max")),
        ) if value is not None},
        "blkio": _blkio(found.get("io", {}).get("stat") or {}),
    }  # fmt: skip


def _cpu(stat: dict[str, int]) -> dict[str, Any]:
    usage = {"total": "usage_usec", "kernel": "system_usec", "user": "user_usec"}
    throttling = {"periods": "nr_periods", "throttledPeriods": "nr_throttled"}
    return {
        "usage": {name: stat.get(word, 0) * 1000 for name, word in usage.items()},
        "throttling": {name: stat.get(word, 0) for name, word in throttling.items()}
        | {"throttledTime": stat.get("throttled_usec", 0) * 1000},
    }


def _memory(values: dict[str, Any]) -> dict[str, Any]:
    usage = {
        "usage": values.get("current", 0),
        "max": values.get("peak"),
        "limit": values.get("max"),
        "failcnt": (values.get("events") or {}).get("max"),
    }
    stat = values.get("stat") or {}
    return {
        "cache": stat.get("file", 0),
        "usage": {name: value for name, value in usage.items() if value is not None},
        "swap": {"usage": values["swap_current"]} if values.get("swap_current") is not None else {},
        "raw": stat,
    }


def _blkio(devices: dict[str, dict[str, int]]) -> dict[str, Any]:
    tables: dict[str, list[dict[str, Any]]] = {"ioServiceBytesRecursive": [], "ioServicedRecursive": []}
    for device, counts in devices.items():
        major, _, minor = device.partition(":")
        for name, op, word in (
            ("ioServiceBytesRecursive", "Read", "rbytes"), ("ioServiceBytesRecursive", "Write", "wbytes"),
            ("ioServicedRecursive", "Read", "rios"), ("ioServicedRecursive", "Write", "wios"),
        ):  # fmt: skip
            if word in counts:
                entry = {"major": int(major), "minor": int(minor), "op": op, "value": counts[word]}
                tables[name].append(entry)
    return tables
