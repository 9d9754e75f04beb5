"""Control groups v1: one tree per controller, or per few that are mounted together.

Where there is a v2 tree beside them (a *hybrid* machine), the cgroup is in that one too: it can be frozen, killed and
cloned into there, which v1 cannot do as well, and it has what controllers v1 left to it. See cgroups(7), notebook 08.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping

from labrt.errors import Conflict, InvalidConfig, NotFound, NotSupported
from labrt.linux import ledger
from labrt.linux.cgroups import controllers_v1, devices, files, protocol, resources, tree, v2

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

# v2's name of a controller: v1's, where they differ.
NAMES = {"io": "blkio"}


class Cgroup(protocol.Cgroup):
    """A cgroup in several v1 trees, and in the v2 tree if there is one.

    `trees` is the mount point of each v1 controller; `unified` the same cgroup in v2.
    """

    def __init__(self, path: str, *, trees: Mapping[str, str], unified: v2.Cgroup | None = None) -> None:
        self.path = path
        self.entry: ledger.Entry | None = None
        self.unified = unified
        self._directories = {name: f"{root}{path}" for name, root in trees.items()}

    @property
    def paths(self) -> dict[str, str]:
        """One directory per controller (the same for those mounted together), v2's as "unified" last."""
        return self._directories | (self.unified.paths if self.unified else {})

    def controller(self, name: str) -> Any:
        """The files of one controller: v1's, or v2's where v1 left it to v2."""
        directory = self._directories.get(NAMES.get(name, name))
        if directory is None:
            if self.unified and self.unified.hands_out(name):
                return self.unified.controller(name)
            raise NotSupported(
                f"the controller {name} is in no tree of this cgroup",
                remedy="see cgroups.detect() and /proc/cgroups; or name it in `controllers` of cgroups.create",
            )
        if name == "cpu":
            unified = self.unified.directory if self.unified else None
            return controllers_v1.Cpu(directory, self._directories.get("cpuacct", unified))
        return controllers_v1.KINDS[name](directory)

    def make(self) -> None:
        """Make each tree's directory once; after a failure, none."""
        with contextlib.ExitStack() as undo:
            for directory in dict.fromkeys(self._directories.values()):
                tree.make(directory)
                undo.callback(os.rmdir, directory)
            if "cpuset" in self._directories:
                _inherit_cpuset(self._directories["cpuset"])
            if self.unified:
                self.unified.make()
            undo.pop_all()

    def open_fd(self) -> int | None:
        """Open the v2 directory; None without a v2 tree."""
        return self.unified.open_fd() if self.unified else None

    def add(self, pid: int) -> None:
        """Move a process into each tree.

        Back to back, and once for trees that carry several controllers: a first move makes the kernel wait for a grace
        period of RCU (all CPUs must pass through the scheduler, some milliseconds); those right behind it share it.
        """
        for directory in dict.fromkeys(self._directories.values()):
            files.write(f"{directory}/cgroup.procs", pid)
        if self.unified:
            self.unified.add(pid)

    def enter(self, *, cloned: bool = False) -> None:
        """Move the caller into each tree, by its only thread.

        Who is moved could fork or end meanwhile, so for cgroup.procs the kernel stops all forks of the machine, which
        takes a grace period of RCU. A thread that writes 0 to `tasks` moves itself, and does neither while it writes:
        nothing is stopped, and it takes 0.2 ms instead of 5 to 15 (from Linux 5.5).
        """
        for directory in dict.fromkeys(self._directories.values()):
            files.write(f"{directory}/tasks", 0)
        if self.unified:
            self.unified.enter(cloned=cloned)

    def _unified_with(self, name: str) -> v2.Cgroup | None:
        """The v2 cgroup if its kernel has that file (freeze from Linux 5.2, kill from 5.14)."""
        return self.unified if self.unified and self.unified.has_file(name) else None

    @property
    def _freezer(self) -> str:
        if "freezer" not in self._directories:
            raise NotSupported("the freezer is not mounted", remedy="mount it with `mount -t cgroup -o freezer …`")
        return f"{self._directories['freezer']}/freezer.state"

    def freeze(self) -> None:
        """Stop all. v1 says FREEZING until the last one stands, and wants to be asked again."""
        if unified := self._unified_with("cgroup.freeze"):
            return unified.freeze()
        deadline = time.monotonic() + tree.WAIT
        while files.read(self._freezer).strip() != "FROZEN":
            if time.monotonic() > deadline:
                self.thaw()
                remedy = "a process hangs in the kernel: see its /proc/PID/stack"
                raise Conflict(f"the cgroup {self.path} did not freeze", remedy=remedy)
            files.write(self._freezer, "FROZEN")
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let them run again."""
        if unified := self._unified_with("cgroup.freeze"):
            return unified.thaw()
        files.write(self._freezer, "THAWED")

    @property
    def frozen(self) -> bool:
        """Whether all of them stand still."""
        if unified := self._unified_with("cgroup.freeze"):
            return unified.frozen
        return files.read(self._freezer).strip() == "FROZEN"

    def kill(self) -> None:
        """Kill all. v1 has no order for that: freeze, signal each, thaw. Who stands still cannot fork meanwhile."""
        if unified := self._unified_with("cgroup.kill"):
            return unified.kill()
        with contextlib.suppress(NotSupported, NotFound, Conflict):
            self.freeze()
        for directory in dict.fromkeys(self.paths.values()):
            tree.signal_all(directory)
        with contextlib.suppress(NotSupported, NotFound):
            self.thaw()  # a process that v1 has frozen does not even die

    def plan(self, spec: Mapping[str, Any]) -> list[protocol.Write]:
        """Translate linux.resources: each section to the tree that has its controller."""
        resources.check(spec)
        writes = [protocol.Write(*write) for name in resources.SECTIONS for write in self._plan(name, spec)]
        if spec.get("unified"):
            if self.unified is None:
                raise InvalidConfig("linux.resources.unified: there is no v2 tree here", remedy="see cgroups.detect()")
            writes += self.unified.plan_unified(spec)
        return _memory_in_order(writes)

    def _plan(self, name: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        directory = self._directories.get(NAMES.get(name, name))
        if directory is None and self.unified and self.unified.hands_out(name):
            for file, value in resources.to_v2(spec, self.unified.has_file, [name]):
                yield f"{self.unified.directory}/{file}", value
            return
        for file, value in resources.to_v1(spec, lambda file: os.path.exists(f"{directory}/{file}"), [name]):
            if directory is None:
                remedy = "see cgroups.detect() and /proc/cgroups"
                where = resources.field_of(name)
                raise NotSupported(f"{where}: the controller {name} is in no tree of this cgroup", remedy=remedy)
            yield f"{directory}/{file}", value

    def apply_devices(self, policy: devices.Policy) -> None:
        """Write the rules to the devices tree; where there is none, v2's way."""
        if "devices" in self._directories:
            devices.write_v1(self._directories["devices"], policy)
        elif self.unified:
            self.unified.apply_devices(policy)
        else:
            raise NotSupported("the controller devices is not mounted", remedy="`mount -t cgroup -o devices …`")


def _memory_in_order(writes: list[protocol.Write]) -> list[protocol.Write]:
    """v1 insists on limit <= memsw at every moment: when both rise, memsw goes first."""
    by_name = {os.path.basename(write.path): index for index, write in enumerate(writes)}
    limit, together = by_name.get("memory.limit_in_bytes"), by_name.get("memory.memsw.limit_in_bytes")
    if limit is None or together is None or not os.path.exists(writes[together].path):
        return writes
    wanted = int(writes[limit].value)
    if wanted < 0 or wanted > int(files.read(writes[together].path)):
        writes[limit], writes[together] = writes[together], writes[limit]
    return writes


def _inherit_cpuset(directory: str) -> None:
    """Give a v1 cpuset its parent's CPUs and memory nodes: it is made with none, and then takes no process.

    cgroup.clone_children in the parent makes the kernel do this for later ones; then this is one short read.
    """
    if files.read(f"{directory}/cpuset.cpus").strip() and files.read(f"{directory}/cpuset.mems").strip():
        return
    parent = os.path.dirname(directory)
    if os.path.exists(f"{parent}/cpuset.cpus"):
        _inherit_cpuset(parent)
        for name in ("cpuset.cpus", "cpuset.mems"):
            files.write(f"{directory}/{name}", files.read(f"{parent}/{name}").strip())
        files.write(f"{directory}/cgroup.clone_children", 1)
