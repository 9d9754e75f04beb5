"""The controllers of cgroup v2: each class is the table of a controller's files, and so the common language.

What is assigned is written, what is read is read. See Documentation/admin-guide/cgroup-v2.rst in the kernel, which
describes every file under its name, and notebooks 08 and 09.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from labrt.linux.cgroups import files, units


class Memory(files.Controller):
    """memory.*: bytes, None is no limit."""

    max = files.Limit("memory.max")  # the wall: behind it the OOM killer waits
    high = files.Limit("memory.high")  # above it, processes are slowed down and made to give back
    low = files.Limit("memory.low")  # up to it, memory is taken from others first
    min = files.Limit("memory.min")  # up to it, memory is never taken
    swap_max = files.Limit("memory.swap.max")
    oom_group = files.Number("memory.oom.group")  # 1: the OOM killer takes all processes or none
    current = files.Count("memory.current")
    peak = files.Count("memory.peak")  # from Linux 5.19
    swap_current = files.Count("memory.swap.current")
    events = files.Keyed("memory.events")  # oom_kill: how many processes were killed at the wall
    stat = files.Keyed("memory.stat")
    pressure = files.Nested("memory.pressure")  # share of time in which some (or all) processes waited for memory


class Pids(files.Controller):
    """pids.*: processes and threads together; fork says EAGAIN at the limit."""

    max = files.Limit("pids.max", units.parse_count)
    current = files.Count("pids.current")
    peak = files.Count("pids.peak")  # from Linux 6.1
    events = files.Keyed("pids.events")  # max: how many forks were refused


class Cpu(files.Controller):
    """cpu.*: a ceiling (`max`) and a share when CPUs are short (`weight`)."""

    weight = files.Number("cpu.weight")  # 1 … 10000, default 100: among siblings that want to run
    idle = files.Number("cpu.idle")  # 1: run only when nobody else wants to
    burst = files.Number("cpu.max.burst")  # µs that may be saved up and used above the ceiling
    stat = files.Keyed("cpu.stat")  # usage_usec, nr_periods, nr_throttled, throttled_usec, …
    pressure = files.Nested("cpu.pressure")

    @property
    def max(self) -> float | None:
        """How many CPUs' time, 0.5 or 2.0; None is no limit. Set it so, or as "QUOTA PERIOD" in microseconds."""
        quota, period = files.read(f"{self.directory}/cpu.max").split()
        return None if quota == "max" else int(quota) / int(period)

    @max.setter
    def max(self, value: float | str | None) -> None:
        quota, period = units.parse_bandwidth(value)
        files.write(f"{self.directory}/cpu.max", f"{'max' if quota is None else quota} {period}")


class Io(files.Controller):
    """io.*: what may pass to and from block devices, by device."""

    stat = files.Nested("io.stat")  # {"8:0": {"rbytes": …, "wbytes": …, "rios": …, "wios": …}}
    pressure = files.Nested("io.pressure")

    @property
    def max(self) -> dict[str, dict[str, int | float | None]]:
        """Per second and device: {"8:0": {"rbps": bytes, "wbps": bytes, "riops": requests, "wiops": requests}}.

        Set it so (sizes as "1M", a device also as its path, None for no limit), or as the kernel's "8:0 wbps=1048576".
        """
        return files.nested(files.read(f"{self.directory}/io.max"))

    @max.setter
    def max(self, value: str | Mapping[str, Mapping[str, int | str | None]]) -> None:
        for device, limits in parse_io_max(value).items():
            pairs = (f"{word}={'max' if limit is None else limit}" for word, limit in limits.items())
            files.write(f"{self.directory}/io.max", f"{device} {' '.join(pairs)}")

    @property
    def weight(self) -> int:
        """1 … 10000 (BFQ: 1 … 1000), default 100, among siblings on a busy device."""
        return int(files.read(self._weight()).split()[-1])

    @weight.setter
    def weight(self, value: int) -> None:
        files.write(self._weight(), value)

    def _weight(self) -> str:
        # Weights need someone who keeps them: the BFQ scheduler (io.bfq.weight) or iocost (io.weight).
        bfq = f"{self.directory}/io.bfq.weight"
        return bfq if os.path.exists(bfq) else f"{self.directory}/io.weight"


class Cpuset(files.Controller):
    """cpuset.*: which CPUs and memory nodes may be used, as "0-3,7"; "" is the parent's."""

    cpus = files.Numbers("cpuset.cpus")
    mems = files.Numbers("cpuset.mems")
    effective_cpus = files.Numbers("cpuset.cpus.effective")
    effective_mems = files.Numbers("cpuset.mems.effective")


KINDS: dict[str, type[files.Controller]] = {"memory": Memory, "pids": Pids, "cpu": Cpu, "io": Io, "cpuset": Cpuset}


def parse_io_max(value: str | Mapping[str, Mapping[str, int | str | None]]) -> dict[str, dict[str, int | None]]:
    """Read limits as a person writes them: devices become MAJOR:MINOR, sizes bytes."""
    if isinstance(value, str):
        value = {
            device: dict(pair.split("=", 1) for pair in pairs)
            for device, *pairs in (line.split() for line in value.splitlines())
        }
    return {
        units.parse_device(device): {word: units.parse_size(limit) for word, limit in limits.items()}
        for device, limits in value.items()
    }
