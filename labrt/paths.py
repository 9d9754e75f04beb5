"""Where things lie: the one class that knows every path labrt writes to.

    state   /var/lib/labrt           survives a reboot: images, layers, containers' configs and logs
    run     /run/labrt               does not, and need not: sockets, FIFOs, the ledger of kernel objects

For an ordinary user these are $XDG_DATA_HOME/labrt and $XDG_RUNTIME_DIR/labrt. LABRT_ROOT=/some/dir moves both, to
/some/dir/lib and /some/dir/run: that is how two labrts live side by side, and how each test gets a house of its own.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Paths(NamedTuple):
    """Every place labrt writes to. Made by `default()`, or by hand with two directories of your choice."""

    state: str
    run: str

    @property
    def images(self) -> str:
        """The content store: an OCI image layout, which skopeo reads as it stands."""
        return os.path.join(self.state, "images")

    @property
    def layers(self) -> str:
        """The storage drivers' unpacked layers: `layers/<driver>/…`."""
        return os.path.join(self.state, "layers")

    @property
    def containers(self) -> str:
        """One directory per container, named by its id: bundle, state, log."""
        return os.path.join(self.state, "containers")

    @property
    def volumes(self) -> str:
        """One directory per volume, named as it is: `volumes/NAME/_data` is what containers see."""
        return os.path.join(self.state, "volumes")

    @property
    def cache(self) -> str:
        """What can be made again: compiled seccomp filters, the embedded default image."""
        return os.path.join(self.state, "cache")

    @property
    def ledger(self) -> str:
        """One file per kernel object that labrt made and has not yet taken down."""
        return os.path.join(self.run, "ledger")

    @property
    def sockets(self) -> str:
        """One directory per container that has run since boot: its start FIFO and attach socket."""
        return os.path.join(self.run, "containers")


def default() -> Paths:
    """Return the paths of this user and environment, read anew at each call (a test may have moved LABRT_ROOT)."""
    root = os.environ.get("LABRT_ROOT")
    if root:
        root = os.path.abspath(root)
        return Paths(os.path.join(root, "lib"), os.path.join(root, "run"))
    if os.geteuid() == 0:
        return Paths("/var/lib/labrt", "/run/labrt")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/labrt-{os.geteuid()}"
    return Paths(os.path.join(data, "labrt"), os.path.join(run, "labrt"))
