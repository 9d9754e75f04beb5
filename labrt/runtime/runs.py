"""One run of a container, from its monitor's side: its cgroup, its init, its networks. A restart makes another one.

    run = Run(request, name)             its config is read, and right
    ours = run.begin(…)                  init is born, and builds its root; our ends of its stdio
    run.hear_of_root()                   the root stands: only *start* is missing
    run.end()                            init has ended: what was made for it goes
    run.abandon(); run.remove_cgroup()   … or it did not come to be

What lives longer than one run (log, clients, state, restart policy) is monitor.py's. See creation.py for how init is
made, networks/attachment.py for its networks; notebook 17.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable

from labrt import paths
from labrt.errors import LabrtError, NotSupported
from labrt.linux import cgroups, process
from labrt.linux.cgroups import systemd
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime import wire
from labrt.runtime.creation import Creation

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.runtime.networks.attachment import Attachment
    from labrt.runtime.networks.tap import Tap


class Run:
    """A run of the container that a `create` request describes. `name` is what its networks call it."""

    def __init__(self, request: dict[str, Any], name: str) -> None:
        self.request = request
        self.name = name
        self.id: str = request["id"]
        self.bundle: str = request["bundle"]
        self.config = oci.load(self.bundle)
        self.cgroup: cgroups.Cgroup | None = None
        self.network: Attachment | Tap | None = None
        self.warnings: list[str] = []  # what this machine could not give, for whoever asked
        self.creation: Creation | None = None

    @property
    def made(self) -> Creation:
        """Its creation, once it has come to that."""
        assert self.creation is not None, "nothing is created yet"
        return self.creation

    @property
    def child(self) -> process.Child:
        """Its init."""
        return self.made.init

    def begin(self, *, place: str, record: Callable[[str], None], start: bool) -> dict[int, int]:
        """Make its cgroup and its init. Returns our ends of its stdio, by stream; none where it has a terminal.

        `place` is where its cgroup was in an earlier run, or empty; `record` writes down where it will be. With `start`
        its program begins as soon as it can.
        """
        self._make_cgroup(place, record)
        ours, ends = ({}, None) if self.config["process"].get("terminal") else self._pipes()
        root_mounts = tuple(Mount.from_json(entry) for entry in self.request["root_mounts"])
        with contextlib.ExitStack() as theirs:
            config = self.config
            if any(key.startswith("org.labrt.join.") for key in config.get("annotations") or ()):
                from labrt.runtime import joins  # few containers need it

                config = joins.resolve(config, os.path.dirname(self.bundle), theirs)
            make: Callable[..., Creation] = Creation
            if runtime := self.request.get("runtime"):
                from labrt.runtime.foreign import Foreign  # few containers are another's to start

                make = functools.partial(Foreign, runtime)
            group, id = self.cgroup, self.id
            self.creation = make(config, self.bundle, cgroup=group, stdio=ends, root_mounts=root_mounts, id=id)
            self.creation.clone()
        for fd in ends or ():
            os.close(fd)
        self.creation.release(start=start, meanwhile=self._attach if self.request.get("network") else None)
        return ours

    def _make_cgroup(self, place: str, record: Callable[[str], None]) -> None:
        """Make its cgroup, where the config wants it or where systemd lets us; recorded before it is there."""
        path = self.config["linux"].get("cgroupsPath") or ""
        if path and paths.owner() and not place:
            from labrt.runtime import unprivileged

            self.cgroup = unprivileged.cgroup(self.id, path, self.config["linux"].get("resources") or {})
            record(self.cgroup.path if self.cgroup else "")
            return
        if place:
            path = place
        elif path and systemd.present() and cgroups.detect().mode == "unified":
            # The tree is systemd's: it gives us a part of it, with ourselves in it, and takes that back at our end.
            with contextlib.suppress(NotSupported):
                above = os.path.basename(os.path.dirname(path))  # a slice, if one was asked for
                slice = above if above.endswith(".slice") else systemd.SLICE
                path = f"{systemd.scope(os.getpid(), self.id, slice=slice)}/container"
        record(path)
        if path:
            further = cgroups.resources.further(oci.resources(self.config))
            self.cgroup = cgroups.create(path, parent="/", also=further)

    def _pipes(self) -> tuple[dict[int, int], tuple[int, int, int]]:
        out, out_end = os.pipe2(os.O_CLOEXEC)
        err, err_end = os.pipe2(os.O_CLOEXEC)
        ours = {wire.STDOUT: out, wire.STDERR: err}
        if self.request.get("stdin"):
            in_end, ours[wire.STDIN] = os.pipe2(os.O_CLOEXEC)
        else:
            in_end = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        return ours, (in_end, out_end, err_end)

    def _attach(self) -> None:
        """Plug it into its networks, while init builds its root; into none, if that cannot be and nobody asked."""
        import warnings

        from labrt.runtime import networks

        network = networks.attachment_of(self.request["network"], self.id)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                network.attach(self.child.pid, self.name)
                self.network = network
            except (LabrtError, OSError) as error:
                if not (network.wishes.get("unasked") and networks.spared(error)):
                    raise
                self.warnings.append(networks.said(error))
        self.warnings += [str(one.message) for one in caught]

    def hear_of_root(self) -> None:
        """Wait until init has built its root."""
        self.made.hear_of_root()
        self.warnings = [*self.made.warnings, *self.warnings]

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of it for want of memory."""
        try:
            return bool(self.cgroup and self.cgroup.memory.events.get("oom_kill"))
        except (OSError, LabrtError):
            return False

    def end(self) -> None:
        """Take down what was made for an init that has ended."""
        self.made.ended()
        self.remove_cgroup()
        self._detach()

    def abandon(self) -> None:
        """Take down what there is of an init that did not come to be; only the cgroup is left."""
        self._detach()
        if self.creation:
            self.creation.abandon()

    def remove_cgroup(self) -> None:
        """Take its cgroup down, if it has one."""
        if self.cgroup:
            with contextlib.suppress(OSError, LabrtError):  # what will not go stays in the ledger, for reset
                self.cgroup.remove()
            self.cgroup = None

    def _detach(self) -> None:
        if self.network:
            with contextlib.suppress(OSError, LabrtError):  # what stays is reset's, or the next container's
                self.network.detach()
            self.network = None
