"""Limits: what a container may use of memory, CPU time, disks and processes, and what its processes may each.

They become linux.resources, which cgroups/resources.py turns into the files of v1 or v2; process.rlimits, which are
inherited from process to process and count for each (or for each user); and linux.sysctl.

A limit that would be ignored is no limit: what only v1 has is refused on v2, where Docker says "discarded" and goes on.
See cgroups(7), getrlimit(2), sysctl(8).
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Iterator, Sequence
from typing import Any

from labrt.engine.options.model import SMALLEST_MEMORY, Options, Size
from labrt.errors import InvalidInput, NotFound, NotSupported
from labrt.linux.cgroups import units

INFINITY = (1 << 64) - 1  # RLIM_INFINITY, as config.json has it
THROTTLES = {  # option: (the runtime-spec's field, docker's)
    "device_read_bps": ("throttleReadBpsDevice", "BlkioDeviceReadBps"),
    "device_write_bps": ("throttleWriteBpsDevice", "BlkioDeviceWriteBps"),
    "device_read_iops": ("throttleReadIOPSDevice", "BlkioDeviceReadIOps"),
    "device_write_iops": ("throttleWriteIOPSDevice", "BlkioDeviceWriteIOps"),
}
_CGROUP = re.compile(r"/?[\w.:@-]+(/[\w.:@-]+)*")
_SYSCTL = re.compile(r"[a-z0-9_-]+([./][\w.-]+)+", re.IGNORECASE)


def check(options: Options) -> None:
    """Raise InvalidInput for what no machine, or not this one, could give."""
    _check_memory(options)
    _check_cpu(options)
    if options.pids_limit is not None and options.pids_limit < -1:
        raise InvalidInput(f"--pids-limit {options.pids_limit}: less than none", remedy="a number, or -1 for no limit")
    if not -1000 <= options.oom_score_adj <= 1000:
        raise InvalidInput(f"--oom-score-adj {options.oom_score_adj}: out of range", remedy="-1000 to 1000")
    if options.blkio_weight and not 10 <= options.blkio_weight <= 1000:
        raise InvalidInput(f"--blkio-weight {options.blkio_weight}: out of range", remedy="10 to 1000, or 0")
    parent = options.cgroup_parent
    if parent is not None and (not _CGROUP.fullmatch(parent) or {".", ".."} & set(parent.split("/"))):
        raise InvalidInput(f"--cgroup-parent {parent!r} is no path of a cgroup", remedy='name it like "/classroom"')
    rlimits(options)
    sysctls(options)
    for field in THROTTLES:
        list(_rates(options, field))
    list(_weights(options))


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
    process, linux = config["process"], config["linux"]
    linux["resources"] |= {
        name: section
        for name, section in (("memory", _memory(options)), ("cpu", _cpu(options)), ("blockIO", _block_io(options)))
        if section
    }
    if options.pids_limit not in (None, 0, -1):
        linux["resources"]["pids"] = {"limit": options.pids_limit}
    if options.oom_score_adj:
        _check_may_set_oom_score(options.oom_score_adj)
        process["oomScoreAdj"] = options.oom_score_adj
    process["rlimits"] = rlimits(options)
    if options.sysctl:
        linux["sysctl"] = sysctls(options)
    if options.cgroup_parent:
        _check_slice(options.cgroup_parent)
        linux["cgroupsPath"] = f"/{options.cgroup_parent.strip('/')}/{os.path.basename(linux['cgroupsPath'])}"


def _check_may_set_oom_score(wanted: int) -> None:
    from labrt.linux import capabilities

    with open("/proc/self/oom_score_adj") as file:
        ours = int(file.read())
    if wanted < ours and capabilities.CAP.SYS_RESOURCE not in capabilities.bounding():
        remedy = f"{ours} or more"
        raise NotSupported(f"--oom-score-adj {wanted}: less than our own {ours} needs CAP_SYS_RESOURCE", remedy=remedy)


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


# Block devices --------------------------------------------------------------------------------------------------------


def _block_io(options: Options) -> dict[str, Any]:
    block: dict[str, Any] = {"weight": options.blkio_weight} if options.blkio_weight else {}
    if options.blkio_weight_device:
        block["weightDevice"] = [{**_device(path), "weight": weight} for path, weight in _weights(options)]
    for field, (name, _) in THROTTLES.items():
        rates = [{**_device(path), "rate": rate} for path, rate in _rates(options, field)]
        if rates:
            block[name] = rates
    return block


def _device(path: str) -> dict[str, int]:
    major, minor = units.parse_device(path).split(":")
    return {"major": int(major), "minor": int(minor)}


def _rates(options: Options, field: str) -> Iterator[tuple[str, int]]:
    """Read "/dev/sda:1m" (bytes in a second) or "/dev/sda:100" (operations)."""
    flag = f"--{field.replace('_', '-')}"
    for path, text in _by_device(getattr(options, field), flag):
        rate = units.parse_size(text) if field.endswith("bps") else units.parse_count(text)
        if not rate:
            raise InvalidInput(f"{flag} {path}:{text}: nothing is no limit", remedy="a rate above 0")
        yield path, rate


def _weights(options: Options) -> Iterator[tuple[str, int]]:
    for path, text in _by_device(options.blkio_weight_device, "--blkio-weight-device"):
        if not text.isdecimal() or not 10 <= int(text) <= 1000:
            raise InvalidInput(f"--blkio-weight-device {path}:{text}: out of range", remedy="10 to 1000")
        yield path, int(text)


def _by_device(entries: Sequence[str], flag: str) -> Iterator[tuple[str, str]]:
    for entry in entries:
        path, colon, value = entry.rpartition(":")
        if not colon or not path.startswith("/dev/"):
            raise InvalidInput(f"{flag} {entry!r}: not understood", remedy="/dev/NAME:NUMBER")
        yield path, value


# Of single processes, and of namespaces -------------------------------------------------------------------------------


def rlimits(options: Options) -> list[dict[str, Any]]:
    """Read `--ulimit NAME=SOFT[:HARD]`; -1 and "unlimited" are RLIM_INFINITY. The last one of a name holds."""
    found = {}
    for entry in options.ulimit:
        name, equals, text = entry.partition("=")
        kind = f"RLIMIT_{name.upper()}"
        if not equals or not name.islower() or not hasattr(resource, kind):
            known = ", ".join(sorted(each[7:].lower() for each in dir(resource) if each.startswith("RLIMIT_")))
            remedy = f"NAME=SOFT[:HARD] of {known}"
            raise InvalidInput(f"--ulimit {entry!r}: no limit is called {name!r}", remedy=remedy)
        soft, _, hard = text.partition(":")
        low, high = _limit(soft, entry), _limit(hard or soft, entry)
        if low > high:
            raise InvalidInput(f"--ulimit {entry}: soft is above hard", remedy="SOFT:HARD, the smaller one first")
        found[kind] = {"type": kind, "soft": low, "hard": high}
    return list(found.values())


def _limit(text: str, entry: str) -> int:
    if text in ("-1", "unlimited"):
        return INFINITY
    if not text.isdecimal():
        raise InvalidInput(f"--ulimit {entry}: {text!r} is no number", remedy="0, 1, …, or -1 for no limit")
    return int(text)


def sysctls(options: Options) -> dict[str, str]:
    """Read `--sysctl NAME=VALUE`. Whether it is the container's own to set, runtime/rules.py knows."""
    found = {}
    for entry in options.sysctl:
        name, equals, value = entry.partition("=")
        if not equals or not _SYSCTL.fullmatch(name) or ".." in name:
            raise InvalidInput(f"--sysctl {entry!r}: not understood", remedy="NAME=VALUE, like net.ipv4.ip_forward=1")
        found[name] = value
    return found


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's Resources, but for those that are read from config.json: see inspect.py."""
    found: dict[str, Any] = {
        "NanoCpus": int((options.cpus or 0) * 10**9),
        "CpuPeriod": options.cpu_period,
        "CpuQuota": options.cpu_quota,
        "MemorySwappiness": None if options.memory_swappiness in (None, -1) else options.memory_swappiness,
        "OomKillDisable": options.oom_kill_disable,
        "OomScoreAdj": options.oom_score_adj,
        "CgroupParent": options.cgroup_parent or "",
        "BlkioWeightDevice": [{"Path": path, "Weight": weight} for path, weight in _weights(options)],
        "Ulimits": [
            {"Name": one["type"][7:].lower(), **{word.title(): _signed(one[word]) for word in ("soft", "hard")}}
            for one in rlimits(options)
        ],
        "Sysctls": sysctls(options),
    }
    for field, (_, name) in THROTTLES.items():
        found[name] = [{"Path": path, "Rate": rate} for path, rate in _rates(options, field)]
    return found


def _signed(limit: int) -> int:
    return -1 if limit == INFINITY else limit
