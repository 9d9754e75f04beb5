"""What hangs on what, read from /proc into the Nodes that diagrams.py draws.

    processes(pid)          a process and its descendants: name, number, and "zombie" where it is one
    mounts()                the mounts that this process sees, each on the one that it is mounted in
    namespaces({"this Python": os.getpid(), "it": child.pid})       who is in which namespace, as a table

See proc(5). Notebooks 01, 04, 05 and 06.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labrt.errors import NotFound
from labrt.lab import show
from labrt.lab.diagrams import Node
from labrt.lab.show import Picture
from labrt.linux import namespaces as ns
from labrt.linux import procfs


def processes(pid: procfs.Pid = "self") -> Node:
    """Read a process with all its descendants. NotFound when it is gone."""
    stat = procfs.stat(pid)
    below = []
    if stat.state not in "ZX":
        for child in procfs.children(stat.pid):
            try:
                below.append(processes(child))
            except NotFound:
                continue  # ended meanwhile
    return Node(stat.comm, str(stat.pid), below, "zombie" if stat.state == "Z" else "")


def mounts(found: Sequence[procfs.MountInfo] | None = None, *, only: Sequence[str] = ()) -> list[Node]:
    """Hang mounts on each other; None: those that this process sees. `only` leaves out other mount points."""
    found = procfs.mountinfo() if found is None else found
    shown = [mount for mount in found if not only or mount.mount_point in only]
    ids = {mount.mount_id for mount in shown}

    def node(mount: procfs.MountInfo) -> Node:
        below = [one for one in shown if one.parent_id == mount.mount_id and one is not mount]
        return Node(mount.mount_point, mount.fstype, [*map(node, below)])

    return [node(mount) for mount in shown if mount.parent_id not in ids or mount.parent_id == mount.mount_id]


def namespaces(pids: Mapping[str, int | str]) -> Picture:
    """Show the namespaces of several processes; what differs from the first one's is marked ≠."""
    found = {name: ns.of(pid) for name, pid in pids.items()}
    first = next(iter(found.values()))
    rows = []
    for kind in first:
        numbers = [of[kind].inode if kind in of else 0 for of in found.values()]
        rows.append([kind, numbers[0], *(f"{'=' if n == numbers[0] else '≠'} {n}" for n in numbers[1:])])
    return show.table(["namespace", *found], rows, caption="Same inode, same namespace")
