"""How the kernel schedules a program: its policy and priority, the CPUs it may be on, and its turn at the disks.

    set(pack({"policy": "SCHED_BATCH", "nice": 5}))      process.scheduler of a config.json, for this thread
    cpus("0-3,7")                                        {0, 1, 2, 3, 7}, for os.sched_setaffinity
    set_io("IOPRIO_CLASS_IDLE", 0)                       process.ioPriority, for this process group

What a child and what an executed program inherits. A real-time policy, a deadline and a negative nice value need
CAP_SYS_NICE, so they are set before the capabilities go. See sched(7), sched_setattr(2), ioprio_set(2); notebook 09.
"""

from __future__ import annotations

import struct

from labrt.errors import InvalidConfig
from labrt.linux import syscalls

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# linux/sched.h. SCHED_ISO has a number, and no kernel that knows it.
POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10,
}  # fmt: skip
REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}  # linux/ioprio.h
IOPRIO_WHO_PGRP = 2


def pack(scheduler: Mapping[str, Any], where: str = "process.scheduler") -> bytes:
    """Make a struct sched_attr (48 bytes) of the OCI runtime-spec's words. Raises InvalidConfig.

    Times are nanoseconds. What a policy has no use for is refused, as the kernel itself would ignore it.
    """
    policy = scheduler["policy"]
    if policy not in POLICIES:
        raise InvalidConfig(f"{where}.policy: {policy!r} is in no kernel", remedy=f"one of {', '.join(POLICIES)}")
    _check_meaning(scheduler, policy, where)
    flags = 0
    for name in scheduler.get("flags") or ():
        if name not in FLAGS:
            remedy = "the specification has no field for the value that it would clamp to"
            raise InvalidConfig(f"{where}.flags: {name!r} cannot be set", remedy=remedy)
        flags |= FLAGS[name]
    times = (scheduler.get(name) or 0 for name in ("runtime", "deadline", "period"))
    nice, priority = scheduler.get("nice") or 0, scheduler.get("priority") or 0
    return struct.pack("=IIQiIQQQ", 48, POLICIES[policy], flags, nice, priority, *times)


def _check_meaning(scheduler: Mapping[str, Any], policy: str, where: str) -> None:
    priority = scheduler.get("priority") or 0
    wanted = range(1, 100) if policy in REAL_TIME else range(1)
    if priority not in wanted:
        remedy = f"{policy} has the priorities {wanted[0]} to {wanted[-1]}: see sched(7)"
        raise InvalidConfig(f"{where}.priority: {priority} cannot be", remedy=remedy)
    for name in ("runtime", "deadline", "period"):
        if scheduler.get(name) and policy != "SCHED_DEADLINE":
            raise InvalidConfig(f"{where}.{name}: {scheduler[name]} is for SCHED_DEADLINE, not {policy}")
    runtime, deadline = scheduler.get("runtime") or 0, scheduler.get("deadline") or 0
    period = scheduler.get("period") or deadline
    if policy == "SCHED_DEADLINE" and not 1024 <= runtime <= deadline <= period:
        remedy = "1024 ns <= runtime <= deadline <= period: see sched(7)"
        raise InvalidConfig(f"{where}: {runtime} of {deadline} in {period} ns cannot be scheduled", remedy=remedy)


def set(attr: bytes) -> None:
    """Schedule this thread, and what it executes, as `pack` says. KernelError as sched_setattr(2)."""
    syscalls.sched_setattr(0, attr)


def cpus(text: str, where: str = "cpus") -> frozenset[int]:
    """Read a list of CPUs, such as 0-3,7. An empty one is an empty set. Raises InvalidConfig."""
    found: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) < int(first):
            raise InvalidConfig(f"{where}: {part!r} is no number and no range", remedy="such as 0-3,7")
        if int(last or first) >= 8192:  # CONFIG_NR_CPUS of the largest kernels; nor shall this take all memory
            raise InvalidConfig(f"{where}: {part!r} is more than any machine has")
        found += range(int(first), int(last or first) + 1)
    return frozenset(found)


def set_io(kind: str, priority: int) -> None:
    """Set the class and priority (0 first, 7 last) of this process group's disk accesses. See ioprio_set(2)."""
    syscalls.ioprio_set(IOPRIO_WHO_PGRP, 0, IO_CLASSES[kind] << 13 | priority)
