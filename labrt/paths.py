"""Where things lie: the one class that knows every path labrt writes to.

    state   /var/lib/labrt           survives a reboot: images, layers, containers' configs and logs
    run     /run/labrt               does not, and need not: sockets, FIFOs, the ledger of kernel objects

For an ordinary user these are $XDG_DATA_HOME/labrt and $XDG_RUNTIME_DIR/labrt, also where they are root of a user
namespace of their own, which is where their containers live (runtime/rootless.py). LABRT_ROOT=/some/dir moves both, to
/some/dir/lib and /some/dir/run: that is how two labrts live side by side, and how each test gets a house of its own.
"""

from __future__ import annotations

import os

from labrt.shapes import Record


class Paths(Record):
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
    def networks(self) -> str:
        """One directory per network, named as it is: what it shall be like. Leases are below `run`."""
        return os.path.join(self.state, "networks")

    @property
    def leases(self) -> str:
        """One file per network: who has which address now. A boot, which ends all containers, ends all leases."""
        return os.path.join(self.run, "networks")

    @property
    def cache(self) -> str:
        """What can be made again: compiled seccomp filters, the embedded default image."""
        return os.path.join(self.state, "cache")

    @property
    def events(self) -> str:
        """What happened, one JSON object a line; older lines are in `events.1.jsonl` beside it."""
        return os.path.join(self.state, "events.jsonl")

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
    user = owner()
    if user == 0:
        return Paths("/var/lib/labrt", "/run/labrt")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/labrt-{user}"
    return Paths(os.path.join(data, "labrt"), os.path.join(run, "labrt"))


def progress() -> str:
    """Return where the course keeps what its learner has written: their home, which outlives labrt and its images."""
    root = os.environ.get("LABRT_ROOT")
    if root:
        return os.path.join(os.path.abspath(root), "lib", "progress")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "labrt", "progress")


def owner() -> int:
    """Return whose labrt this is, by uid: 0 on the machine's root; a user's own where they only play root.

    Who is root of a user namespace is known by what the machine belongs to: to somebody who does not exist in there.
    """
    user = os.geteuid()
    if user != 0 or os.stat("/").st_uid == 0:
        return user
    with open("/proc/self/uid_map") as file:
        maps = [[*map(int, line.split())] for line in file]
    return next((outside for inside, outside, _ in maps if inside == 0), 0)
