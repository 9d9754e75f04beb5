"""What a container uses: memory, CPU time, processes, disks, network; counted by the kernel, read from its files.

    before = sample(container); time.sleep(1); now = sample(container)
    now.cpu_percent(before)         150.0: one and a half CPUs
    now.memory, now.limit           bytes

Memory is what the cgroup is charged for, less file pages that nobody has used lately (inactive_file): those the kernel
can drop at any moment, and Docker counts them out, too. Network counters belong to a namespace, not to a cgroup, so
they are read through /proc/PID/net of its PID 1; on the host's network they would be the host's. See cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from labrt.errors import Conflict, LabrtError, NotFound, NotSupported
from labrt.linux import cgroups, procfs

if TYPE_CHECKING:
    from labrt.engine.container import Container


class Sample(NamedTuple):
    """One look. `at` is CLOCK_MONOTONIC in seconds, `cpu` seconds of CPU time since its start, all others bytes."""

    at: float
    cpu: float
    memory: int
    limit: int  # of memory; the machine's size where it has none
    pids: int
    read: int = 0  # from block devices
    written: int = 0
    received: int = 0  # over the network
    sent: int = 0

    def cpu_percent(self, before: Sample) -> float:
        """How much CPU time it used since `before`, 100 for each CPU that it had all the time."""
        passed = self.at - before.at
        return 100 * (self.cpu - before.cpu) / passed if passed > 0 else 0.0

    @property
    def memory_percent(self) -> float:
        """How much of the limit is in use."""
        return 100 * self.memory / self.limit if self.limit else 0.0

    def __rich_repr__(self) -> Iterator[tuple[str, Any]]:
        yield from self._asdict().items()


def sample(container: Container) -> Sample:
    """Look now. Raises Conflict when it is not running, NotSupported when it has no cgroup."""
    state = container.state
    if not (state.pid and state.alive):
        raise Conflict(f"container {container.name} is not running", remedy=f"`labrt start {container.name}`")
    if not state.cgroup:
        raise NotSupported(f"container {container.name} has no cgroup", remedy="nobody counts what it uses")
    try:
        return _read(container, cgroups.load(state.cgroup, parent="/"), state.pid)
    except (NotFound, FileNotFoundError):
        raise Conflict(f"container {container.name} has just ended", remedy="`labrt ps -a` says how") from None


def _read(container: Container, cgroup: cgroups.Cgroup, pid: int) -> Sample:
    found: dict[str, Any] = {"memory": 0, "limit": _machine(), "pids": 0}
    with contextlib.suppress(NotSupported):
        memory = cgroup.memory
        found["memory"] = max(memory.current - memory.stat.get("inactive_file", 0), 0)
        found["limit"] = min(memory.max or found["limit"], found["limit"])
    with contextlib.suppress(NotSupported):
        found["pids"] = cgroup.pids.current
    with contextlib.suppress(NotSupported):
        devices = cgroup.io.stat.values()
        found["read"] = sum(int(device.get("rbytes") or 0) for device in devices)
        found["written"] = sum(int(device.get("wbytes") or 0) for device in devices)
    if container.has_own_network:
        found["received"], found["sent"] = _network(pid)
    return Sample(at=time.monotonic(), cpu=_cpu(cgroup), **found)


def _cpu(cgroup: cgroups.Cgroup) -> float:
    with contextlib.suppress(NotSupported):
        return cgroup.cpu.stat.get("usage_usec", 0) / 1e6
    return 0.0


def _machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _network(pid: int) -> tuple[int, int]:
    """Add up /proc/PID/net/dev, but for the loopback: two heads, then name, 8 numbers received, 8 sent."""
    received = sent = 0
    with contextlib.suppress(LabrtError):
        for line in procfs.read(pid, "net/dev").splitlines()[2:]:
            name, _, numbers = line.partition(":")
            if name.strip() != "lo":
                fields = numbers.split()
                received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent
