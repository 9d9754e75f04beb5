"""Namespaces: which there are, which a process is in, and how to enter them.

    >>> namespaces.of("self").pid
    Namespace(kind='pid', inode=4026531836, path='/proc/self/ns/pid')
    >>> namespaces.of(container_pid).shared_with(namespaces.of("self"))
    ('time', 'user')
    >>> namespaces.enter(container_pid, CLONE.NEWNET)

New ones are made by a child that is born into them: process.run_in_child(fn, namespaces=CLONE.NEWPID | CLONE.NEWNS).
See namespaces(7), setns(2), unshare(2), clone(2); notebooks 03 to 07.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from labrt.errors import InvalidInput, NotFound
from labrt.linux import syscalls
from labrt.linux.flags import CLONE
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

# kind: (flag, what it holds apart, the OCI runtime-spec's name for it), in the order of namespaces(7).
KINDS = {
    "cgroup": (CLONE.NEWCGROUP, "the root of the cgroup tree", "cgroup"),
    "ipc": (CLONE.NEWIPC, "System V IPC, POSIX message queues", "ipc"),
    "mnt": (CLONE.NEWNS, "mount points", "mount"),
    "net": (CLONE.NEWNET, "network devices, addresses, ports", "network"),
    "pid": (CLONE.NEWPID, "process ids", "pid"),
    "time": (CLONE.NEWTIME, "boot and monotonic clocks", "time"),
    "user": (CLONE.NEWUSER, "user and group ids, capabilities", "user"),
    "uts": (CLONE.NEWUTS, "hostname and NIS domain name", "uts"),
}

FLAG_OF_OCI_NAME = {oci: flag for flag, _, oci in KINDS.values()}
KIND_OF_OCI_NAME = {oci: kind for kind, (_, _, oci) in KINDS.items()}  # also its file's name in /proc/PID/ns


class Namespace(Record):
    """One namespace: two processes share it exactly when its `inode` is the same for both."""

    kind: str
    inode: int
    path: str

    def open(self) -> int:
        """Open it; while the descriptor lives, so does the namespace. The caller closes it."""
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Move this thread into it. A pid or time namespace takes in only children made from then on."""
        fd = self.open()
        try:
            syscalls.setns(fd, KINDS[self.kind][0])
        finally:
            os.close(fd)


class Namespaces(dict[str, Namespace]):
    """The namespaces of one process, by kind; also as attributes: `.pid`, `.net`, …."""

    def __getattr__(self, kind: str) -> Namespace:
        try:
            return self[kind]
        except KeyError:
            raise AttributeError(f"no {kind!r} namespace here; there are {', '.join(self)}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def shared_with(self, other: Namespaces) -> tuple[str, ...]:
        """Name the kinds that both processes are in together."""
        return tuple(kind for kind in self if kind in other and self[kind].inode == other[kind].inode)

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table("namespace", "inode", "holds apart", title="namespaces(7)")
        for kind, namespace in self.items():
            table.add_row(kind, str(namespace.inode), KINDS[kind][1])
        return table

    def __repr__(self) -> str:
        return f"Namespaces({', '.join(f'{kind}={namespace.inode}' for kind, namespace in self.items())})"


def of(pid: int | str = "self") -> Namespaces:
    """Read the namespaces of a process; "self" is this process, "thread-self" this very thread.

    Raises NotFound when there is no such process, PermissionError when you may not look (see ptrace(2)).
    """
    directory = f"/proc/{pid}/ns"
    found = Namespaces()
    for kind in KINDS:
        path = f"{directory}/{kind}"
        with contextlib.suppress(FileNotFoundError):  # a kernel without this kind
            found[kind] = Namespace(kind, os.stat(path).st_ino, path)
    if not found:
        raise NotFound(f"no process {pid}", remedy="look in /proc, or ask `ps`")
    return found


def flags_of(kinds: str | int) -> CLONE:
    """Turn "pid,mnt,net" (or a CLONE flag, unchanged) into the flag word of clone(2) and unshare(2)."""
    if isinstance(kinds, int):
        return CLONE(kinds)
    flags = CLONE(0)
    for kind in filter(None, (part.strip() for part in kinds.split(","))):
        name = KIND_OF_OCI_NAME.get(kind, kind)
        if name not in KINDS:
            raise InvalidInput(f"no namespace is called {kind!r}", remedy=f"one of {', '.join(KINDS)}")
        flags |= KINDS[name][0]
    return flags


def enter(pid: int, kinds: str | int) -> None:
    """Enter several namespaces of another process in one setns(2), or none of them. This process needs one thread."""
    pidfd = os.pidfd_open(pid)
    try:
        syscalls.setns(pidfd, flags_of(kinds))
    finally:
        os.close(pidfd)


@contextlib.contextmanager
def entered(kind: str, pid: int | str) -> Iterator[None]:
    """Be in one other namespace for the length of a block: net, uts, ipc or cgroup (the others have no way back)."""
    if kind not in ("net", "uts", "ipc", "cgroup"):
        raise InvalidInput(f"a {kind!r} namespace cannot be left again", remedy="enter it in process.run_in_child")
    home = of("thread-self")[kind].open()
    try:
        of(pid)[kind].enter()
        try:
            yield
        finally:
            syscalls.setns(home, KINDS[kind][0])
    finally:
        os.close(home)
