"""The OCI runtime-spec's `linux.resources`, checked, and translated into cgroup files of v1 and of v2.

    >>> list(to_v2({"memory": {"limit": 67108864}, "cpu": {"quota": 50000}}, lambda name: True))
    [('memory.max', '67108864'), ('cpu.max', '50000')]

The specification speaks v1. Where v2 has the same thing in other units it is converted, where it has no such thing this
raises InvalidConfig ("If the conversion is not possible the runtime MUST generate an error"). One thing is left out: a
limit of swap where the kernel does not count swap (no CONFIG_SWAP, or swapaccount=0). Nothing here writes: the result
is a plan. See config-linux.md of the runtime-spec, Control groups; notebook 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from labrt.errors import Conflict, InvalidConfig
from labrt.linux.cgroups import units

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.linux.cgroups.protocol import Cgroup

    Section = Mapping[str, Any]
    Files = Iterator[tuple[str, str]]
    Has = Callable[[str], bool]  # whether this cgroup has a file of this name

_RATE = {"major": int, "minor": int, "rate": int}
_WEIGHT = {"major": int, "minor": int, "weight": int, "leafWeight": int}
# The specification's fields.
_FIELDS: dict[str, Any] = {
    "memory": {
        "limit": int, "reservation": int, "swap": int, "kernel": int, "kernelTCP": int, "swappiness": int,
        "disableOOMKiller": bool, "useHierarchy": bool, "checkBeforeUpdate": bool,
    },
    "cpu": {
        "shares": int, "quota": int, "burst": int, "period": int, "realtimeRuntime": int, "realtimePeriod": int,
        "cpus": str, "mems": str, "idle": int,
    },
    "pids": {"limit": int},
    "blockIO": {
        "weight": int, "leafWeight": int, "weightDevice": [_WEIGHT],
        "throttleReadBpsDevice": [_RATE], "throttleWriteBpsDevice": [_RATE],
        "throttleReadIOPSDevice": [_RATE], "throttleWriteIOPSDevice": [_RATE],
    },
    "devices": [{"allow": bool, "type": str, "major": int, "minor": int, "access": str}],
    "hugepageLimits": [{"pageSize": str, "limit": int}],
    "network": {"classID": int, "priorities": [{"name": str, "priority": int}]},
    "rdma": Mapping,
    "unified": Mapping,
}  # fmt: skip


def check(value: Any, fields: Any = _FIELDS, where: str = "linux.resources") -> None:
    """Check types, all the way down. Raises InvalidConfig naming the field; null is as good as absent.

    A field that the specification does not have is passed over, as it says that runtimes must.
    """
    if value is None:
        return
    if isinstance(fields, dict):
        if not isinstance(value, Mapping):
            raise InvalidConfig(f"{where}: {value!r} is no object")
        for name, item in value.items():
            if name in fields:
                check(item, fields[name], f"{where}.{name}")
    elif isinstance(fields, list):
        if not isinstance(value, list | tuple):
            raise InvalidConfig(f"{where}: {value!r} is no array")
        for index, item in enumerate(value):
            check(item, fields[0], f"{where}[{index}]")
    elif not isinstance(value, fields) or (fields is int and isinstance(value, bool)):
        raise InvalidConfig(f"{where}: {value!r} is no {fields.__name__}")


# By v2's names of the controllers; net_cls and net_prio are of v1 only.
SECTIONS = ("memory", "cpu", "cpuset", "pids", "io", "hugetlb", "rdma", "net_cls", "net_prio")


def further(spec: Section) -> set[str]:
    """Name the controllers that a cgroup needs for `spec` beyond the usual five."""
    given = {"hugepageLimits": ("hugetlb",), "rdma": ("rdma",)}
    found = {name for field, names in given.items() if spec.get(field) for name in names}
    network = spec.get("network") or {}
    found |= {name for field, name in (("classID", "net_cls"), ("priorities", "net_prio")) if network.get(field)}
    return found | {name.partition(".")[0] for name in spec.get("unified") or {}} - {"cgroup"}


def to_v2(spec: Section, has: Has, sections: Iterable[str] = SECTIONS) -> Files:
    """Translate to (file, value) of v2, for the controllers in `sections`. `spec` must have been checked."""
    for name in sections:
        section, translate, _ = _TRANSLATE[name]
        yield from translate(_given(spec, section), has)


def to_v1(spec: Section, has: Has, sections: Iterable[str] = SECTIONS) -> Files:
    """Translate to (file, value) of v1, for the controllers in `sections` (in v2's names)."""
    for name in sections:
        section, _, translate = _TRANSLATE[name]
        yield from translate(_given(spec, section), has)


def check_before_update(cgroup: Cgroup, spec: Section) -> None:
    """Honour memory.checkBeforeUpdate: v2 would let the OOM killer make room for a limit below what is in use."""
    memory = _given(spec, "memory")
    limit = memory.get("limit", -1)
    if memory.get("checkBeforeUpdate") and limit >= 0 and cgroup.memory.current > limit:
        raise Conflict(f"linux.resources.memory.limit: {limit} is less than the {cgroup.memory.current} bytes in use")


def _given(spec: Section, name: str) -> dict[str, Any]:
    section = spec.get(name) or {}
    if isinstance(section, list | tuple):  # hugepageLimits: by page size
        section = {entry.get("pageSize"): entry.get("limit") for entry in section}
    return {key: value for key, value in section.items() if value is not None}


def field_of(controller: str) -> str:
    """Return the specification's name of the section that a controller serves."""
    return f"linux.resources.{_TRANSLATE[controller][0]}"


def _max(number: int) -> str:
    return "max" if number < 0 else str(number)


def _refuse(section: str, values: Section, *fields: str) -> None:
    for field in fields:
        if values.get(field, 0) not in (0, -1):  # neither set nor, with a limit, set to none
            where = f"linux.resources.{section}.{field}"
            raise InvalidConfig(f"{where}: cgroup v2 has nothing like it", remedy="leave it out")


# Memory ---------------------------------------------------------------------------------------------------------------


def _memory_v2(memory: Section, has: Has) -> Files:
    _refuse("memory", memory, "kernel", "kernelTCP", "disableOOMKiller", "swappiness")
    if "limit" in memory:
        yield "memory.max", _max(memory["limit"])
    if "swap" in memory:
        swap = _swap_only(memory)  # a wrong value is an error also where nothing comes of it
        if has("memory.swap.max"):
            yield "memory.swap.max", _max(swap)
    if "reservation" in memory:
        yield "memory.low", _max(memory["reservation"])


def _swap_only(memory: Section) -> int:
    """The specification's swap is memory and swap together, as in v1; v2's is swap alone."""
    swap, limit = int(memory["swap"]), int(memory.get("limit", -1))
    if swap < 0:
        return -1
    if limit < 0 or swap < limit:
        raise InvalidConfig(
            f"linux.resources.memory.swap: {swap} is memory and swap together, and the memory limit is {limit}",
            remedy="give a limit too, not above it; swap = limit means no swap",
        )
    return swap - limit


def _memory_v1(memory: Section, has: Has) -> Files:
    # Not useHierarchy: since Linux 5.11 the kernel always accounts for a cgroup with all below it.
    if "limit" in memory:
        yield "memory.limit_in_bytes", str(memory["limit"])
    if "swap" in memory and has("memory.memsw.limit_in_bytes"):
        yield "memory.memsw.limit_in_bytes", str(memory["swap"])
    if "reservation" in memory:
        yield "memory.soft_limit_in_bytes", str(memory["reservation"])
    if memory.get("kernel", -1) >= 0:  # the kernel has no such limit since 5.16, and says so
        yield "memory.kmem.limit_in_bytes", str(memory["kernel"])
    if "kernelTCP" in memory:
        yield "memory.kmem.tcp.limit_in_bytes", str(memory["kernelTCP"])
    if "swappiness" in memory:
        yield "memory.swappiness", str(memory["swappiness"])
    if memory.get("disableOOMKiller"):
        yield "memory.oom_control", "1"


# CPU ------------------------------------------------------------------------------------------------------------------


def _cpu_v2(cpu: Section, has: Has) -> Files:
    _refuse("cpu", cpu, "realtimeRuntime", "realtimePeriod")
    if cpu.get("idle"):
        yield "cpu.idle", str(cpu["idle"])
    if cpu.get("shares"):
        yield "cpu.weight", str(units.weight_from_shares(cpu["shares"]))
    if cpu.get("quota") or cpu.get("period"):
        # Without a second word the kernel keeps the period that it has.
        yield "cpu.max", f"{_max(cpu.get('quota') or -1)} {cpu.get('period') or ''}".rstrip()
    if "burst" in cpu:
        yield "cpu.max.burst", str(cpu["burst"])


def _cpu_v1(cpu: Section, has: Has) -> Files:
    # Zero is how the specification's users (Docker among them) write "unset": the kernel would refuse it.
    for field, name in (
        ("idle", "cpu.idle"),
        ("shares", "cpu.shares"),
        ("period", "cpu.cfs_period_us"),  # before the quota, which the kernel compares with the period
        ("quota", "cpu.cfs_quota_us"),
        ("burst", "cpu.cfs_burst_us"),
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
    ):
        if cpu.get(field):
            yield name, str(cpu[field])


def _cpuset(cpu: Section, has: Has) -> Files:
    if cpu.get("cpus"):
        yield "cpuset.cpus", units.parse_list(cpu["cpus"])
    if cpu.get("mems"):
        yield "cpuset.mems", units.parse_list(cpu["mems"])


# Processes and block devices ------------------------------------------------------------------------------------------


def _pids(pids: Section, has: Has) -> Files:
    if "limit" in pids:
        yield "pids.max", _max(pids["limit"])


THROTTLES = (
    ("throttleReadBpsDevice", "rbps", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "wbps", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "riops", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "wiops", "blkio.throttle.write_iops_device"),
)


def _device(entry: Section) -> str:
    try:
        return f"{entry['major']}:{entry['minor']}"
    except KeyError as absent:
        raise InvalidConfig(f"linux.resources.blockIO: {dict(entry)!r} has no {absent.args[0]}") from None


def _io_v2(block: Section, has: Has) -> Files:
    if not block:
        return
    _refuse("blockIO", block, "leafWeight")
    bfq = has("io.bfq.weight")
    name = "io.bfq.weight" if bfq else "io.weight"

    def weight(number: int) -> str:
        return str(number if bfq else units.io_weight_from_blkio(number))

    if block.get("weight"):
        yield name, weight(block["weight"])
    for entry in block.get("weightDevice", ()):
        _refuse("blockIO.weightDevice", entry, "leafWeight")
        yield name, f"{_device(entry)} {weight(entry.get('weight', 0))}"
    for field, word, _ in THROTTLES:
        for entry in block.get(field, ()):
            yield "io.max", f"{_device(entry)} {word}={entry.get('rate') or 'max'}"


def _io_v1(block: Section, has: Has) -> Files:
    if not block:
        return
    # The CFQ scheduler kept blkio.weight until Linux 5.0; since then BFQ keeps its own.
    bfq = not has("blkio.weight") and has("blkio.bfq.weight")
    name = "blkio.bfq.weight" if bfq else "blkio.weight"
    if block.get("weight"):
        yield name, str(block["weight"])
    if block.get("leafWeight"):
        yield "blkio.leaf_weight", str(block["leafWeight"])
    for entry in block.get("weightDevice", ()):
        if entry.get("weight"):
            yield f"{name}_device", f"{_device(entry)} {entry['weight']}"
        if entry.get("leafWeight"):
            yield "blkio.leaf_weight_device", f"{_device(entry)} {entry['leafWeight']}"
    for field, _, throttle in THROTTLES:
        for entry in block.get(field, ()):
            yield throttle, f"{_device(entry)} {entry.get('rate', 0)}"


# Huge pages, RDMA and network -----------------------------------------------------------------------------------------


def _hugetlb_v2(limits: Section, has: Has) -> Files:
    # Where the kernel counts reservations, mmap says that there is no room; else the access to a page dies of SIGBUS.
    for size, limit in limits.items():
        reserved = f"hugetlb.{size}.rsvd.max"
        yield reserved if has(reserved) else f"hugetlb.{size}.max", _huge(limit, "max")


def _hugetlb_v1(limits: Section, has: Has) -> Files:
    for size, limit in limits.items():
        reserved = f"hugetlb.{size}.rsvd.limit_in_bytes"
        yield reserved if has(reserved) else f"hugetlb.{size}.limit_in_bytes", _huge(limit, "-1")


def _huge(limit: int, none: str) -> str:
    return none if limit >= 1 << 63 else str(limit)  # unsigned in the specification: no limit is 2**64 - 1


def _rdma(devices: Section, has: Has) -> Files:
    for name, limits in devices.items():
        pairs = (("hca_handle", limits.get("hcaHandles")), ("hca_object", limits.get("hcaObjects")))
        words = [f"{word}={limit}" for word, limit in pairs if limit is not None]
        if not words:
            where = f"linux.resources.rdma.{name}"
            raise InvalidConfig(f"{where}: {dict(limits)!r} limits nothing", remedy="give hcaHandles or hcaObjects")
        yield "rdma.max", f"{name} {' '.join(words)}"


def _network_v2(network: Section, has: Has) -> Files:
    _refuse("network", network, "classID")
    if network.get("priorities"):
        raise InvalidConfig("linux.resources.network.priorities: cgroup v2 has nothing like it", remedy="leave it out")
    yield from ()


def _net_cls_v1(network: Section, has: Has) -> Files:
    if network.get("classID"):
        yield "net_cls.classid", str(network["classID"])


def _net_prio_v1(network: Section, has: Has) -> Files:
    for entry in network.get("priorities") or ():
        yield "net_prio.ifpriomap", f"{entry['name']} {entry['priority']}"


_TRANSLATE: dict[str, tuple[str, Callable[[Section, Has], Files], Callable[[Section, Has], Files]]] = {
    "memory": ("memory", _memory_v2, _memory_v1),
    "cpu": ("cpu", _cpu_v2, _cpu_v1),
    "cpuset": ("cpu", _cpuset, _cpuset),
    "pids": ("pids", _pids, _pids),
    "io": ("blockIO", _io_v2, _io_v1),
    "hugetlb": ("hugepageLimits", _hugetlb_v2, _hugetlb_v1),
    "rdma": ("rdma", _rdma, _rdma),
    "net_cls": ("network", _network_v2, _net_cls_v1),
    "net_prio": ("network", _network_v2, _net_prio_v1),
}
