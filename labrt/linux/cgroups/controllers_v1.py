"""The controllers of cgroup v1, in v2's words: each class is the table of a controller's files.

    memory.max → memory.limit_in_bytes      cpu.max → cpu.cfs_quota_us, cpu.cfs_period_us      io.max → blkio.throttle.*
    memory.low → memory.soft_limit_in_bytes cpu.weight → cpu.shares                            io.weight → blkio.weight

Each conversion is said where it happens; pids.* are the same. See Documentation/admin-guide/cgroup-v1/ in the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from labrt.errors import NotSupported
from labrt.linux.cgroups import files, resources, units
from labrt.linux.cgroups.controllers_v2 import Pids, parse_io_max

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

_NO_LIMIT = 1 << 62  # v1 says "no limit" as the largest number of whole pages, a little less than 2**63


class Bytes(files.Limit):
    """A limit in bytes: v1 takes -1 for none, and gives a huge number."""

    def __get__(self, owner: files.Controller, _: type | None = None) -> int | None:
        number = int(files.read(self.path(owner)))
        return None if number >= _NO_LIMIT else number

    def __set__(self, owner: files.Controller, value: int | str | None) -> None:
        number = self.parse(value)
        files.write(self.path(owner), -1 if number is None else number)


class Absent(files.File):
    """A word of v2 that v1 has no equivalent for."""

    def __get__(self, owner: files.Controller, _: type | None = None) -> Any:
        raise NotSupported(f"cgroup v1 has no {self.name}", remedy="it takes a machine with cgroup v2")

    def __set__(self, owner: files.Controller, value: object) -> None:
        self.__get__(owner)


class Memory(files.Controller):
    """memory.max is limit_in_bytes, memory.low is soft_limit_in_bytes, swap is memsw less memory."""

    max = Bytes("memory.limit_in_bytes")
    low = Bytes("memory.soft_limit_in_bytes")
    high = Absent("memory.high")
    min = Absent("memory.min")
    oom_group = Absent("memory.oom.group")
    current = files.Count("memory.usage_in_bytes")
    peak = files.Count("memory.max_usage_in_bytes")
    pressure = Absent("memory.pressure")

    @property
    def swap_max(self) -> int | None:
        """v1 limits memory and swap *together* (memsw); this is what that leaves for swap."""
        both, limit = self._together(), self.max
        return None if both is None or limit is None else max(both - limit, 0)

    @swap_max.setter
    def swap_max(self, value: int | str | None) -> None:
        swap, limit = units.parse_size(value), self.max
        both = -1 if swap is None or limit is None else limit + swap
        files.write(f"{self.directory}/memory.memsw.limit_in_bytes", both)

    def _together(self) -> int | None:
        number = int(files.read(f"{self.directory}/memory.memsw.limit_in_bytes"))
        return None if number >= _NO_LIMIT else number

    @property
    def swap_current(self) -> int:
        """Return memory and swap together, less memory."""
        return int(files.read(f"{self.directory}/memory.memsw.usage_in_bytes")) - self.current

    @property
    def events(self) -> dict[str, int]:
        """`max`: how often the wall was hit (failcnt); `oom_kill`: processes killed there (from memory.oom_control).

        Where no swap is allowed, v1 meets the limit of both together first, and leaves `max` at 0.
        """
        hits = int(files.read(f"{self.directory}/memory.failcnt"))
        control = files.keyed(files.read(f"{self.directory}/memory.oom_control"))
        return {"max": hits, "oom_kill": control["oom_kill"]}

    @property
    def stat(self) -> dict[str, int]:
        """v1 counts a cgroup alone and, as total_…, with those below it; v2 has only the latter, so these are given."""
        raw = files.keyed(files.read(f"{self.directory}/memory.stat"))
        return {word: raw[name] for word, name in _MEMORY_STAT.items() if name in raw}


_MEMORY_STAT = {
    "anon": "total_rss",
    "file": "total_cache",
    "shmem": "total_shmem",
    "file_mapped": "total_mapped_file",
    "file_dirty": "total_dirty",
    "inactive_anon": "total_inactive_anon",
    "active_anon": "total_active_anon",
    "inactive_file": "total_inactive_file",
    "active_file": "total_active_file",
    "unevictable": "total_unevictable",
    "pgfault": "total_pgfault",
    "pgmajfault": "total_pgmajfault",
}


class Cpu(files.Controller):
    """cpu.max is cfs_quota_us and cfs_period_us, cpu.weight is shares."""

    __slots__ = ("accounting",)
    idle = files.Number("cpu.idle")
    burst = files.Number("cpu.cfs_burst_us")
    pressure = Absent("cpu.pressure")

    def __init__(self, directory: str, accounting: str | None) -> None:
        """`accounting` is a directory that knows the usage: of cpuacct, or in the v2 tree."""
        super().__init__(directory)
        self.accounting = accounting

    @property
    def max(self) -> float | None:
        """How many CPUs' time; None is no limit, which v1 writes as a quota of -1."""
        quota = int(files.read(f"{self.directory}/cpu.cfs_quota_us"))
        return None if quota < 0 else quota / int(files.read(f"{self.directory}/cpu.cfs_period_us"))

    @max.setter
    def max(self, value: float | str | None) -> None:
        quota, period = units.parse_bandwidth(value)
        files.write(f"{self.directory}/cpu.cfs_period_us", period)
        files.write(f"{self.directory}/cpu.cfs_quota_us", -1 if quota is None else quota)

    @property
    def weight(self) -> int:
        """1 … 10000, default 100: 1024 shares for each 100."""
        return units.weight_to_show(int(files.read(f"{self.directory}/cpu.shares")))

    @weight.setter
    def weight(self, value: int) -> None:
        files.write(f"{self.directory}/cpu.shares", units.shares_from_weight(value))

    @property
    def stat(self) -> dict[str, int]:
        """usage_usec, nr_periods, nr_throttled and throttled_usec; v1 counts in nanoseconds."""
        raw = files.keyed(files.read(f"{self.directory}/cpu.stat"))
        found = self._usage()
        found |= {name: raw[name] for name in ("nr_periods", "nr_throttled")}
        found["throttled_usec"] = raw["throttled_time"] // 1000
        return found

    def _usage(self) -> dict[str, int]:
        if self.accounting is None:
            return {}
        if os.path.exists(f"{self.accounting}/cpuacct.usage"):
            names = {"usage_usec": "usage", "user_usec": "usage_user", "system_usec": "usage_sys"}
            return {word: int(files.read(f"{self.accounting}/cpuacct.{name}")) // 1000 for word, name in names.items()}
        # Every v2 cgroup counts its CPU time, with no controller enabled.
        raw = files.keyed(files.read(f"{self.accounting}/cpu.stat"))
        return {word: raw[word] for word in ("usage_usec", "user_usec", "system_usec")}


class Io(files.Controller):
    """io.max is four files blkio.throttle.…_device, io.weight is blkio.weight (or BFQ's own)."""

    pressure = Absent("io.pressure")

    @property
    def max(self) -> dict[str, dict[str, int | float | None]]:
        """Per second and device, as on v2; v1 limits only what bypasses the page cache (O_DIRECT), and reads."""
        found: dict[str, dict[str, int | float | None]] = {}
        for word, path in self._throttles().items():
            for device, rate in files.keyed(files.read(path)).items():
                limits = found.setdefault(device, dict.fromkeys(self._throttles()))
                limits[word] = rate
        return found

    @max.setter
    def max(self, value: str | Mapping[str, Mapping[str, int | str | None]]) -> None:
        paths = self._throttles()
        for device, limits in parse_io_max(value).items():
            for word, limit in limits.items():
                files.write(paths[word], f"{device} {limit or 0}")  # 0 is how v1 lifts a limit

    def _throttles(self) -> dict[str, str]:
        return {word: f"{self.directory}/{name}" for _, word, name in resources.THROTTLES}

    @property
    def weight(self) -> int:
        """Default 100 with BFQ (1 … 1000)."""
        return int(files.read(self._weight()).split()[-1])

    @weight.setter
    def weight(self, value: int) -> None:
        files.write(self._weight(), units.blkio_from_io_weight(value))

    def _weight(self) -> str:
        bfq = f"{self.directory}/blkio.bfq.weight"
        return bfq if os.path.exists(bfq) else f"{self.directory}/blkio.weight"

    @property
    def stat(self) -> dict[str, dict[str, int]]:
        """{"8:0": {"rbytes": …, "wbytes": …, "rios": …, "wios": …}} from io_service_bytes and io_serviced."""
        found: dict[str, dict[str, int]] = {}
        for file, names in (
            ("io_service_bytes_recursive", {"Read": "rbytes", "Write": "wbytes"}),
            ("io_serviced_recursive", {"Read": "rios", "Write": "wios"}),
        ):
            for line in files.read(f"{self.directory}/blkio.throttle.{file}").splitlines():
                device, *rest = line.split()
                if len(rest) == 2 and rest[0] in names:  # other lines are sums
                    found.setdefault(device, {})[names[rest[0]]] = int(rest[1])
        return found


class Cpuset(files.Controller):
    """As on v2. Unlike there, an empty list is no list: then no process can join."""

    cpus = files.Numbers("cpuset.cpus")
    mems = files.Numbers("cpuset.mems")
    effective_cpus = files.Numbers("cpuset.effective_cpus")
    effective_mems = files.Numbers("cpuset.effective_mems")


KINDS: dict[str, type[files.Controller]] = {"memory": Memory, "pids": Pids, "io": Io, "cpuset": Cpuset}
