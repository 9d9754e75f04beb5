"""Which control groups this machine has: v1, v2 or both, and where.

    >>> detect()
    <Hierarchy unified: /sys/fs/cgroup (cpuset cpu io memory hugetlb pids rdma misc)>

v1 has several trees of cgroups, each mounted with its controllers; v2 has one tree for all. A controller is in one tree
at a time. systemd's names for what one meets are used here: *unified* is v2 only (Debian 11 and later, Ubuntu 21.10 and
later); *legacy* is v1 only; *hybrid* is v1 for the controllers and an additional v2 tree, where processes can be
counted, frozen and killed as a group. See cgroups(7), proc_pid_mountinfo(5), and notebook 08.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable

from labrt.errors import NotSupported
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Tree(Record):
    """One mounted tree of cgroups. `own` is where this process is in it, from the mount point: "/user.slice/…"."""

    mountpoint: str
    version: int
    controllers: tuple[str, ...]  # v1: those it is mounted with; v2: those it can hand out
    own: str

    def directory(self, path: str) -> str:
        """Return the directory of a cgroup, whose `path` starts with a slash and is counted from the mount point."""
        return self.mountpoint if path == "/" else f"{self.mountpoint}{path}"


class Hierarchy(Record):
    """All trees of a machine. `mode` is unified, hybrid or legacy (or none, where nothing is mounted)."""

    trees: tuple[Tree, ...]

    @property
    def v1(self) -> dict[str, Tree]:
        """The v1 tree of each controller. Controllers mounted together (cpu,cpuacct) have the same tree."""
        return {name: tree for tree in self.trees if tree.version == 1 for name in tree.controllers}

    @property
    def v2(self) -> Tree | None:
        """The v2 tree, or None."""
        return next((tree for tree in self.trees if tree.version == 2), None)

    @property
    def mode(self) -> str:
        """Return unified, hybrid, legacy or none."""
        # A v1 tree with only a name (name=systemd) controls nothing: it does not make a machine hybrid.
        if any(not name.startswith("name=") for name in self.v1):
            return "hybrid" if self.v2 else "legacy"
        return "unified" if self.v2 else "none"

    def where(self, controller: str) -> Tree | None:
        """Return the tree that a controller is in, by its v1 or v2 name, or None."""
        v2 = self.v2
        if controller in self.v1:
            return self.v1[controller]
        return v2 if v2 and controller in v2.controllers else None

    def __repr__(self) -> str:
        trees = "; ".join(f"{tree.mountpoint} ({' '.join(tree.controllers)})" for tree in self.trees)
        return f"<Hierarchy {self.mode}: {trees}>"

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table("tree", "version", "controllers", "this process is in", title=f"control groups: {self.mode}")
        for tree in self.trees:
            table.add_row(tree.mountpoint, f"v{tree.version}", " ".join(tree.controllers), tree.own)
        return table


def detect(mountinfo: str = "/proc/self/mountinfo", cgroup: str = "/proc/self/cgroup") -> Hierarchy:
    """Look which trees are mounted, from three short files. Nothing is kept: mounts change.

    The parameters name the files, so that another machine's can be read.
    """
    with open(mountinfo) as stream:
        mounts = [fields for fields in map(_cgroup_mount, stream) if fields]
    with open(cgroup) as stream:
        lines = [line.rstrip("\n").split(":", 2) for line in stream]
    trees = (_tree(mounts, controllers, own) for _, controllers, own in lines)
    return Hierarchy(tuple(tree for tree in trees if tree))


class _Mount(Record):
    root: str  # the part of the tree that is mounted: not "/" in a container without a cgroup namespace
    mountpoint: str
    fstype: str
    options: frozenset[str]


def _cgroup_mount(line: str) -> _Mount | None:
    """Parse a line of mountinfo. The optional fields before the lone dash vary in number."""
    mount, _, filesystem = line.rstrip("\n").partition(" - ")
    fstype, _, options = filesystem.split(" ", 2)
    if fstype not in ("cgroup", "cgroup2"):
        return None
    root, mountpoint = (_unescape(field) for field in mount.split(" ")[3:5])
    return _Mount(root, mountpoint, fstype, frozenset(options.split(",")))


def _unescape(field: str) -> str:
    if "\\" not in field:
        return field
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)


def _tree(mounts: Iterable[_Mount], controllers: str, own: str) -> Tree | None:
    """Find the mount of one line of /proc/PID/cgroup; None if that tree is not mounted here."""
    names = tuple(controllers.split(",")) if controllers else ()
    for mount in mounts:
        if mount.fstype == ("cgroup" if names else "cgroup2") and mount.options.issuperset(names):
            # Where only a part of the tree is mounted, paths count from that part.
            below = own.removeprefix(mount.root) if mount.root != "/" else own
            own = f"/{below.strip('/')}" if own.startswith(mount.root) else "/"
            if names:
                return Tree(mount.mountpoint, 1, names, own)
            return Tree(mount.mountpoint, 2, _available(mount.mountpoint), own)
    return None


def _available(directory: str) -> tuple[str, ...]:
    with contextlib.suppress(OSError), open(f"{directory}/cgroup.controllers") as stream:
        return tuple(stream.read().split())
    return ()


def delegated(tree: Tree) -> str:
    """Find the highest cgroup above this process, in v2, that an ordinary user may make children in.

    systemd gives users their subtree (user@1000.service), and root has all of it: "/". Raises NotSupported in a login
    session outside of that subtree: out of there only systemd moves a process.
    """
    parts = tree.own.strip("/").split("/") if tree.own != "/" else []
    for depth in range(len(parts) + 1):
        path = "/" + "/".join(parts[:depth])
        directory = tree.directory(path)
        # The directory, to make children; cgroup.procs, to move processes between them.
        if os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.procs", os.W_OK):
            return path
    raise NotSupported(
        f"the cgroup {tree.own} is not delegated to this user",
        remedy="be root, or begin a scope of your own: `systemd-run --user --scope -p Delegate=yes $SHELL`",
    )
