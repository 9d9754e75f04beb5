"""Control groups v2: one tree, each controller a few files in a cgroup's directory.

A controller's files are in a cgroup once its *parent* names it in cgroup.subtree_control, and the parent may do that
only if it has no processes itself: processes live in leaves. See
Documentation/admin-guide/cgroup-v2.rst in the kernel; notebook 08.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Mapping

from labrt.errors import Conflict, InvalidConfig, KernelError, LabrtError, NotFound, NotSupported
from labrt.linux import ledger
from labrt.linux.cgroups import controllers_v2, devices, files, protocol, resources, tree

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Cgroup(protocol.Cgroup):
    """A cgroup in the v2 tree. `root` is the tree's mount point, or any directory that shall play it."""

    def __init__(
        self,
        path: str,
        *,
        root: str = "/sys/fs/cgroup",
        controllers: Collection[str] = protocol.CONTROLLERS,
    ) -> None:
        """Name a cgroup without touching it. `controllers` are those that `make` sees to."""
        self.path = path
        self.entry: ledger.Entry | None = None
        self.directory = f"{root}{path}"
        self._root = root
        self._controllers = controllers

    @property
    def paths(self) -> dict[str, str]:
        """{"unified": the directory}."""
        return {"unified": self.directory}

    def controller(self, name: str) -> Any:
        """The files of one controller; whether the kernel has them shows when one is used."""
        return controllers_v2.KINDS[name](self.directory)

    def hands_out(self, name: str) -> bool:
        """Whether this cgroup has a controller."""
        return name in files.read(f"{self.directory}/cgroup.controllers").split()

    def make(self) -> None:
        """Make the directory, after its parents were made and told which controllers to hand down."""
        parent, wanted = os.path.dirname(self.directory), frozenset(self._controllers)
        for attempt in range(10):
            try:
                _hand_down(parent, self._root, wanted)
                return tree.make(self.directory, parents=False)
            except (FileNotFoundError, NotFound):  # somebody pruned the parent in between
                if attempt == 9:
                    raise

    def open_fd(self) -> int | None:
        """Open the directory for clone3."""
        return os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def add(self, pid: int) -> None:
        """Move a process in here."""
        files.write(f"{self.directory}/cgroup.procs", pid)

    def enter(self, *, cloned: bool = False) -> None:
        """Move the caller in here; v2 knows no quicker way for that than `add`, but clone3."""
        if not cloned:
            self.add(0)

    def freeze(self) -> None:
        """Stop all; v2 says when the last one stands (a process in the kernel needs a moment)."""
        files.write(f"{self.directory}/cgroup.freeze", 1)
        if not tree.wait_event(self.directory, "frozen 1", tree.WAIT):
            self.thaw()
            remedy = "a process hangs in the kernel: see its /proc/PID/stack"
            raise Conflict(f"the cgroup {self.path} did not freeze", remedy=remedy)

    def thaw(self) -> None:
        """Let them run again."""
        files.write(f"{self.directory}/cgroup.freeze", 0)

    @property
    def frozen(self) -> bool:
        """Whether all of them stand still."""
        return files.keyed(files.read(f"{self.directory}/cgroup.events"))["frozen"] == 1

    def kill(self) -> None:
        """Kill all at once: the kernel leaves no moment in which one could fork away."""
        try:
            files.write(f"{self.directory}/cgroup.kill", 1)
        except NotFound:
            return
        except NotSupported:  # before Linux 5.14: what forks meanwhile is met at the next call
            tree.signal_all(self.directory)

    def plan(self, spec: Mapping[str, Any]) -> list[protocol.Write]:
        """Translate linux.resources to v2's words."""
        resources.check(spec)
        writes = []
        for name, value in resources.to_v2(spec, self.has_file):
            writes.append(protocol.Write(f"{self.directory}/{name}", value))
        return writes + self.plan_unified(spec)

    def plan_unified(self, spec: Mapping[str, Any]) -> list[protocol.Write]:
        """The section `unified`: file names and values as they are."""
        writes = []
        for name, value in (spec.get("unified") or {}).items():
            if "/" in name or "." not in name:
                raise InvalidConfig(f"linux.resources.unified: {name!r} is no file of a cgroup")
            # The kernel takes one device a write; the specification puts several on lines.
            writes += [protocol.Write(f"{self.directory}/{name}", line) for line in value.splitlines()]
        return writes

    def has_file(self, name: str) -> bool:
        """Whether the kernel has put this file here."""
        return os.path.exists(f"{self.directory}/{name}")

    def apply_devices(self, policy: devices.Policy) -> None:
        """Attach the rules as an eBPF program: v2 has no files for devices."""
        devices.attach(self.directory, policy)


def _hand_down(directory: str, root: str, wanted: frozenset[str]) -> None:
    """See to it that a cgroup exists and hands the wanted controllers to its children, as far as it has them.

    What a parent does not hand down, a child cannot: so this goes up until it meets enough, and down again. On the hot
    path it is one short read.
    """
    try:
        lacking = wanted.difference(files.read(f"{directory}/cgroup.subtree_control").split())
    except (NotFound, NotSupported):
        lacking = wanted
    if not lacking and os.path.isdir(directory):
        return
    if directory != root:
        _hand_down(os.path.dirname(directory), root, wanted)
        tree.make_parents(directory)
    with contextlib.suppress(NotSupported):  # an ordinary directory that plays a cgroup
        lacking &= set(files.read(f"{directory}/cgroup.controllers").split())
        _enable(directory, lacking)


def _enable(directory: str, controllers: Collection[str]) -> None:
    """Write `+memory +pids …`: all in one; if the kernel refuses one, each by itself, so that it costs only that one.

    Raises KernelError (EBUSY) in a cgroup that has processes. What else cannot be enabled is named when it is used.
    """
    if not controllers:
        return
    path = f"{directory}/cgroup.subtree_control"
    orders = [f"+{name}" for name in sorted(controllers)]
    try:
        files.write(path, " ".join(orders))
    except KernelError as error:
        if error.errno == errno.EBUSY:
            raise
        for order in orders:
            with contextlib.suppress(LabrtError):
                files.write(path, order)
