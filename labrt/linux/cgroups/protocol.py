"""What a control group is, on any version: the words that v1.py and v2.py both keep.

The common language is v2's: `g.memory.max` is memory.max on v2 and memory.limit_in_bytes on v1, and each v1 word says
how it is converted. What a version cannot do raises NotSupported when it is asked for, not before.

    g.memory   max, low, high, swap_max; current, peak, events, stat        bytes; None is no limit
    g.pids     max; current, events                                         processes and threads
    g.cpu      max, weight; stat                                            CPUs (0.5); 1 … 10000, default 100
    g.io       max, weight; stat                                            by device, "8:0"
    g.cpuset   cpus, mems; effective_cpus, effective_mems                   lists, "0-3,7"

See cgroups(7), Documentation/admin-guide/cgroup-v2.rst in the kernel, and notebooks 08 and 09.
"""

from __future__ import annotations

import os.path
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import TracebackType

from labrt.errors import NotFound, NotSupported
from labrt.linux import ledger
from labrt.linux.cgroups import devices, files, resources, tree
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, Self

    # The common language is v2's: v1's classes have the same words.
    from labrt.linux.cgroups import controllers_v2 as v2

PARENT = "/labrt"  # where cgroups are made, if nobody says otherwise
CONTROLLERS = ("memory", "pids", "cpu", "io", "cpuset")


class Write(Record):
    """One order to the kernel: a value for a file. `plan` lists them, `apply` gives them."""

    path: str
    value: str

    def __str__(self) -> str:
        return f"{self.path} ← {self.value!r}"


class Cgroup(ABC):
    """One control group. Made by cgroups.create, re-opened by cgroups.load; as a `with` it is removed at the end."""

    path: str  # "/labrt/demo", from the mount point of each tree
    entry: ledger.Entry | None

    @property
    @abstractmethod
    def paths(self) -> dict[str, str]:
        """The directory of each v1 controller, and of "unified", v2's tree, where there is one."""
        ...

    @abstractmethod
    def controller(self, name: str) -> Any:
        """The files of memory, pids, cpu, io or cpuset. Raises NotSupported, naming the controller, without it."""
        ...

    @abstractmethod
    def make(self) -> None:
        """Make the directories. Raises Conflict if one exists."""
        ...

    @abstractmethod
    def open_fd(self) -> int | None:
        """Open the v2 directory, for clone3's CLONE_INTO_CGROUP; None where there is no v2. The caller closes it."""
        ...

    @abstractmethod
    def add(self, pid: int) -> None:
        """Move a process, with all its threads, in here; 0 is the caller itself."""
        ...

    @abstractmethod
    def enter(self, *, cloned: bool = False) -> None:
        """Move the caller itself in here, which must have a single thread. Much quicker than to be moved: see v1.

        `cloned`: it was made by clone3 with `open_fd()`, so it is in the v2 tree already.
        """
        ...

    @abstractmethod
    def freeze(self) -> None:
        """Stop every process in here and below, and return when all of them stand still."""
        ...

    @abstractmethod
    def thaw(self) -> None:
        """Let them run again."""
        ...

    @property
    @abstractmethod
    def frozen(self) -> bool:
        """Whether all of them stand still."""
        ...

    @abstractmethod
    def kill(self) -> None:
        """Kill every process in here and below, frozen ones too. Does not wait for their end: `remove` does."""
        ...

    @abstractmethod
    def plan(self, spec: Mapping[str, Any]) -> list[Write]:
        """Translate the OCI runtime-spec's linux.resources into what `apply` will write, in order. Writes nothing."""
        ...

    @abstractmethod
    def apply_devices(self, policy: devices.Policy) -> None:
        """Put device rules into force, in place of those that are."""
        ...

    def apply(self, spec: Mapping[str, Any]) -> None:
        """Put the OCI runtime-spec's linux.resources into force; what it does not name stays as it is.

        Raises InvalidConfig, naming the field, for one that the specification does not have or this version of cgroups
        has no equivalent for; then nothing has been written.
        """
        writes = self.plan(spec)
        rules = spec.get("devices")
        policy = devices.evaluate(rules) if rules else None
        resources.check_before_update(self, spec)
        for path, value in writes:
            files.write(path, value)
        if policy:
            self.apply_devices(policy)

    @property
    def memory(self) -> v2.Memory:
        """Memory: `max`, `low`, `high`, `swap_max`; `current`, `peak`, `events`, `stat`."""
        found: v2.Memory = self.controller("memory")
        return found

    @property
    def pids(self) -> v2.Pids:
        """Number of processes and threads: `max`; `current`, `events`."""
        found: v2.Pids = self.controller("pids")
        return found

    @property
    def cpu(self) -> v2.Cpu:
        """CPU time: `max`, `weight`; `stat`."""
        found: v2.Cpu = self.controller("cpu")
        return found

    @property
    def io(self) -> v2.Io:
        """Block devices: `max`, `weight`; `stat`."""
        found: v2.Io = self.controller("io")
        return found

    @property
    def cpuset(self) -> v2.Cpuset:
        """Which CPUs and memory nodes: `cpus`, `mems`; `effective_cpus`, `effective_mems`."""
        found: v2.Cpuset = self.controller("cpuset")
        return found

    @property
    def exists(self) -> bool:
        """Whether it is there, in any tree."""
        return any(os.path.isdir(directory) for directory in self.paths.values())

    @property
    def procs(self) -> list[int]:
        """The pids in here and below, in rising order."""
        return tree.processes(next(reversed(self.paths.values())))

    def stats(self) -> dict[str, dict[str, Any]]:
        """Read every controller that is there: {"memory": {"max": …, "current": …}, "cpu": {"stat": …}, …}."""
        found = {}
        for name in CONTROLLERS:
            try:
                found[name] = dict(self.controller(name).values())
            except NotSupported:
                continue
        if not self.exists:
            raise NotFound(f"the cgroup {self.path} is gone")
        return found

    def remove(self, wait: float = tree.WAIT) -> None:
        """Kill what is in here and below, and remove the directories. Harmless when it is gone.

        Raises Conflict if processes are left after `wait` seconds.
        """
        # The v2 directory goes first: its kernel can kill all at once and tells when they are gone.
        tree.remove(dict.fromkeys(reversed(self.paths.values())), self.kill, wait)
        if self.entry:
            ledger.strike(self.entry)
        else:
            ledger.strike_all("cgroup", self.path)
        self.entry = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()
        above = os.path.dirname(self.path)
        if above.endswith(PARENT):
            tree.prune(os.path.dirname(directory) for directory in self.paths.values())

    def __repr__(self) -> str:
        return f"<Cgroup {self.path} in {', '.join(dict.fromkeys(self.paths.values()))}>"

    def __rich_repr__(self) -> Iterator[tuple[str, Any]]:
        yield "path", self.path
        yield from self.stats().items()

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table("controller", "file", "value", title=f"cgroup {self.path}")
        for name, values in self.stats().items():
            for word, value in values.items():
                table.add_row(name, word, _show(value))
        table.add_row("", "procs", " ".join(map(str, self.procs)))
        return table


def _show(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_show(item)}" for key, item in value.items() if item != 0)
    return "max" if value is None else str(value)
