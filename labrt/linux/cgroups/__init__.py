"""Control groups: how much memory, CPU, I/O and how many processes a group of processes may have.

    from labrt.linux import cgroups

    with cgroups.create("demo") as g:           # /labrt/demo in each tree of the machine; removed at the end
        g.memory.max = "64M"
        g.pids.max = 20
        g.cpu.max = 0.5                         # CPUs
        g.add(pid)
        g.memory.current, g.memory.events       # → 1323008, {"max": 0, "oom_kill": 0, …}

Interface: `create`, `load`, `remove_recorded`, `prune`, `detect`; what a cgroup can do is in protocol.py. v1 and v2
keep the same words, v2's (controllers_v1.py, controllers_v2.py: the tables of files). Every cgroup made here is in the
ledger until it is removed. The parent /labrt is shared by all: it goes at the end of a `with` if nothing is in it any
more, and stays after `remove`, which is on the way of every container; `prune` takes it down.
See cgroups(7), and notebooks 08 and 09.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Collection

from labrt.errors import InvalidInput, NotFound, NotSupported
from labrt.linux import ledger
from labrt.linux.cgroups import resources, tree, v1, v2
from labrt.linux.cgroups.detect import Hierarchy, Tree, delegated, detect
from labrt.linux.cgroups.protocol import CONTROLLERS, PARENT, Cgroup, Write

__all__ = [
    "CONTROLLERS", "PARENT", "Cgroup", "Hierarchy", "Tree", "Write", "create", "delegated", "detect", "load", "prune",
    "remove_recorded", "resources", "tree",
]  # fmt: skip


def create(
    path: str,
    *,
    hierarchy: Hierarchy | None = None,
    parent: str = PARENT,
    controllers: Collection[str] | None = None,
    every_tree: bool = False,
    also: Collection[str] = (),
) -> Cgroup:
    """Make a cgroup: `path` below `parent`, or with a leading slash from the trees' mount points.

    `controllers` (memory, pids, cpu, io, cpuset; None is all that there are) says which to have: on v1 each one is a
    tree more to join. `also` names more that only few ask for (hugetlb, rdma, net_cls, …), and `every_tree` takes all
    that there are, of v1 and v2. An ordinary user's /labrt lies in the cgroup that is delegated to them; any other
    `parent` (such as a scope of systemd.scope) is taken as it is. Raises Conflict if the cgroup exists, NotSupported
    where this user may not make one; then nothing is left behind.
    """
    cgroup = _locate(path, hierarchy or detect(), parent, controllers, every_tree, also)
    cgroup.entry = ledger.record("cgroup", cgroup.path)
    try:
        cgroup.make()
    except BaseException as error:
        ledger.strike(cgroup.entry)
        if isinstance(error, PermissionError):
            raise NotSupported(f"this user may not make the cgroup {cgroup.path}: {error}") from None
        raise
    return cgroup


def load(
    path: str, *, hierarchy: Hierarchy | None = None, parent: str = PARENT, every_tree: bool = False
) -> Cgroup:
    """Re-open a cgroup that exists: to read, to add a process, or to remove it. Raises NotFound if there is none."""
    cgroup = _locate(path, hierarchy or detect(), parent, None, every_tree)
    if not cgroup.exists:
        raise NotFound(f"there is no cgroup {cgroup.path}", remedy="see `systemd-cgls` or the directories themselves")
    return cgroup


def remove_recorded(what: str, *, hierarchy: Hierarchy | None = None) -> None:
    """Take down a cgroup that the ledger names, with all processes in it, and strike it out. Harmless if it is gone."""
    _locate(what, hierarchy or detect(), "/", None, every_tree=True).remove()


def prune(parent: str = PARENT, *, hierarchy: Hierarchy | None = None) -> None:
    """Remove the parent of all cgroups made here, in each tree where nothing is in it any more."""
    with contextlib.suppress(NotSupported):
        child = _locate("child", hierarchy or detect(), parent, None, every_tree=True)  # labrt-oci is in all of them
        tree.prune(os.path.dirname(directory) for directory in child.paths.values())


def _locate(
    path: str, hierarchy: Hierarchy, parent: str, controllers: Collection[str] | None, every_tree: bool = False,
    also: Collection[str] = (),
) -> Cgroup:
    """Name a cgroup of this machine, whether it exists or not."""
    full = posixpath.join(parent, path)
    if full != posixpath.normpath(full) or not full.startswith("/") or full == "/":
        raise InvalidInput(f"{full!r} is no path of a cgroup", remedy='name it like "demo", or "/labrt/demo"')
    wanted = set(CONTROLLERS if controllers is None else controllers)
    if unknown := wanted.difference(CONTROLLERS):
        raise InvalidInput(f"no such controllers: {', '.join(unknown)}", remedy=f"choose of {', '.join(CONTROLLERS)}")
    wanted.update(also)
    if every_tree and hierarchy.v2:
        wanted.update(hierarchy.v2.controllers)
    unified = None
    if hierarchy.v2:
        if hierarchy.mode == "unified" and parent == PARENT and not path.startswith("/"):
            full = delegated(hierarchy.v2).rstrip("/") + full
        left = wanted.difference("io" if name == "blkio" else name for name in hierarchy.v1)
        unified = v2.Cgroup(full, root=hierarchy.v2.mountpoint, controllers=left)
    if hierarchy.mode == "unified" and unified:
        return unified
    if hierarchy.mode == "none":
        raise NotSupported("no control groups are mounted here", remedy="`mount -t cgroup2 none /sys/fs/cgroup`")
    return v1.Cgroup(full, trees=_trees(hierarchy, None if every_tree else wanted), unified=unified)


def _trees(hierarchy: Hierarchy, wanted: Collection[str] | None) -> dict[str, str]:
    """Choose the v1 trees to be in: the wanted controllers', and what v1 needs where no v2 tree does it; None: all.

    Not name=systemd, which controls nothing and is systemd's own, nor network and perf controllers, which nobody asks
    for: each more tree makes each start slower.
    """
    if wanted is None:
        return {name: one.mountpoint for one in hierarchy.trees if one.version == 1 for name in one.controllers}
    needed = {v1.NAMES.get(name, name) for name in wanted} | {"devices"}
    if not hierarchy.v2:
        needed |= {"freezer", "cpuacct"}
    return {
        name: one.mountpoint for one in hierarchy.trees if one.version == 1 and needed.intersection(one.controllers)
        for name in one.controllers
    }  # fmt: skip
