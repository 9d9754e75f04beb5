"""Limits of a container as a whole: what it may use of memory, CPU time and processes, and where its cgroup is.

They become linux.resources, which cgroups/resources.py turns into the files of v1 or v2. A limit that would be ignored
is no limit: what only v1 has is refused on v2, where Docker says "discarded" and goes on. See cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

from labrt.engine.options.model import SMALLEST_MEMORY, Options, Size
from labrt.errors import InvalidInput, NotFound, NotSupported
from labrt.linux.cgroups import units

_CGROUP = re.compile(r"/?[\w.:@-]+(/[\w.:@-]+)*")


def check(options: Options) -> None:
    """Raise InvalidInput for what no machine, or not this one, could give."""
    _check_memory(options)
    _check_cpu(options)
    if options.pids_limit is not None and options.pids_limit < -1:
        raise InvalidInput(f"--pids-limit {options.pids_limit}: less than none", remedy="a number, or -1 for no limit")
    parent = options.cgroup_parent
    if parent is not None and (not _CGROUP.fullmatch(parent) or {".", ".."} & set(parent.split("/"))):
        raise InvalidInput(f"--cgroup-parent {parent!r} is no path of a cgroup", remedy='name it like "/classroom"')


def _check_memory(options: Options) -> None:
    limit = in_bytes(options.memory)
    if limit is not None and limit < SMALLEST_MEMORY:
        raise InvalidInput(f"--memory {options.memory}: too little to start anything", remedy="6m at least")
    both = bytes_or_unlimited(options.memory_swap)
    if both is not None and both > 0 and (limit is None or both < limit):
        remedy = "it is memory and swap together: give --memory, too, and not more than this"
        given = options.memory or "not set"
        raise InvalidInput(f"--memory-swap {options.memory_swap}: --memory is {given}", remedy=remedy)
    reserved = in_bytes(options.memory_reservation)
    if reserved is not None and limit is not None and reserved > limit:
        remedy = "it is what stays when memory is short: not more than --memory"
        raise InvalidInput(f"--memory-reservation {options.memory_reservation}: --memory is {options.memory}",
                           remedy=remedy)  # fmt: skip
    if options.memory_swappiness is not None and not -1 <= options.memory_swappiness <= 100:
        raise InvalidInput(f"--memory-swappiness {options.memory_swappiness}: out of range", remedy="0 to 100")


def _check_cpu(options: Options) -> None:
    most = os.cpu_count() or 1
    if options.cpus is not None and not 0.01 <= options.cpus <= most:
        raise InvalidInput(f"--cpus {options.cpus}: this machine has {most}", remedy=f"0.01 to {most}")
    if options.cpus is not None and (options.cpu_period or options.cpu_quota):
        raise InvalidInput("--cpus with --cpu-period or --cpu-quota", remedy="--cpus is both of them: leave it out")
    if options.cpu_period and not 1_000 <= options.cpu_period <= 1_000_000:
        raise InvalidInput(f"--cpu-period {options.cpu_period}: out of range", remedy="1000 to 1000000 microseconds")
    if 0 < options.cpu_quota < 1_000 or options.cpu_quota < -1:
        raise InvalidInput(f"--cpu-quota {options.cpu_quota}: too little", remedy="1000 microseconds at least")
    if options.cpu_shares and not 2 <= options.cpu_shares <= 262_144:
        raise InvalidInput(f"--cpu-shares {options.cpu_shares}: out of range", remedy="2 to 262144; 1024 is usual")
    for flag, wanted, file in (
        ("--cpuset-cpus", options.cpuset_cpus, "/sys/devices/system/cpu/online"),
        ("--cpuset-mems", options.cpuset_mems, "/sys/devices/system/node/online"),
    ):
        if wanted:
            missing = _numbers(units.parse_list(wanted)) - _online(file)
            if missing:
                remedy = f"see {file}"
                raise InvalidInput(f"{flag} {wanted}: there is no {min(missing)} here", remedy=remedy)


def _online(file: str) -> set[int]:
    try:
        with open(file) as stream:
            return _numbers(stream.read().strip())
    except OSError:  # no NUMA: one node
        return {0}


def _numbers(text: str) -> set[int]:
    ranges = (part.partition("-") for part in text.split(",") if part)
    return {number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}


def in_bytes(text: Size) -> int | None:
    """Read "64m"; None for no limit."""
    return None if text is None else units.parse_size(text)


def bytes_or_unlimited(text: Size) -> int | None:
    """Read --memory-swap: None where nothing is asked for (which 0 means, too, as in Docker), -1 for no limit."""
    return -1 if str(text) in ("-1", "max") else in_bytes(text) or None


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write the limits into config.json. Raises NotSupported for what this machine's cgroups do not have."""
    linux = config["linux"]
    limits = {"memory": _memory(options), "cpu": _cpu(options)}
    linux["resources"] |= {name: section for name, section in limits.items() if section}
    if options.pids_limit not in (None, 0, -1):
        linux["resources"]["pids"] = {"limit": options.pids_limit}
    if options.cgroup_parent:
        _check_slice(options.cgroup_parent)
        linux["cgroupsPath"] = f"/{options.cgroup_parent.strip('/')}/{os.path.basename(linux['cgroupsPath'])}"


def _check_slice(parent: str) -> None:
    """Where systemd keeps the tree, it has slices to put containers in, and makes them when they are asked for."""
    from labrt.linux import cgroups
    from labrt.linux.cgroups import systemd

    is_slice = parent.endswith(".slice") and "/" not in parent
    if systemd.present() and cgroups.detect().mode == "unified" and not is_slice:
        raise NotSupported(f"--cgroup-parent {parent}: the cgroups are systemd's here", remedy="name a slice: my.slice")


def record_parent(options: Options) -> None:
    """Write a --cgroup-parent that is not there yet into the ledger: it stays for the next container, until `reset`."""
    if not options.cgroup_parent:
        return
    from labrt.linux import cgroups, ledger

    parts = options.cgroup_parent.strip("/").split("/")
    for depth in range(len(parts)):
        path = "/" + "/".join(parts[: depth + 1])
        with contextlib.suppress(NotFound):
            cgroups.load(path, parent="/")
            continue
        if ("cgroup", path) not in [(entry.kind, entry.what) for entry in ledger.entries()]:
            ledger.record("cgroup", path)
        return


def _memory(options: Options) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    limit = in_bytes(options.memory)
    if limit is not None:
        # Without a limit of swap, what is over the limit of memory would be swapped out, and never killed.
        memory = {"limit": limit, "swap": bytes_or_unlimited(options.memory_swap) or 2 * limit}
    reserved = in_bytes(options.memory_reservation)
    if reserved is not None:
        memory["reservation"] = reserved
    if options.memory_swappiness not in (None, -1):
        memory["swappiness"] = options.memory_swappiness
        _only_v1("--memory-swappiness")
    if options.oom_kill_disable:
        memory["disableOOMKiller"] = True
        _only_v1("--oom-kill-disable")
    return memory


def _only_v1(flag: str) -> None:
    from labrt.linux import cgroups

    if cgroups.detect().mode == "unified":
        raise NotSupported(f"{flag}: cgroup v2 has nothing like it", remedy="leave it out")


def _cpu(options: Options) -> dict[str, Any]:
    if options.cpus is not None:
        cpu: dict[str, Any] = {"period": units.PERIOD, "quota": int(options.cpus * units.PERIOD)}
    else:
        cpu = {"period": options.cpu_period, "quota": options.cpu_quota}
    cpu |= {"shares": options.cpu_shares, "cpus": options.cpuset_cpus, "mems": options.cpuset_mems}
    return {name: value for name, value in cpu.items() if value}


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's Resources, but for those that are read from config.json: see inspect.py."""
    return {
        "NanoCpus": int((options.cpus or 0) * 10**9),
        "CpuPeriod": options.cpu_period,
        "CpuQuota": options.cpu_quota,
        "MemorySwappiness": None if options.memory_swappiness in (None, -1) else options.memory_swappiness,
        "OomKillDisable": options.oom_kill_disable,
        "CgroupParent": options.cgroup_parent or "",
    }
