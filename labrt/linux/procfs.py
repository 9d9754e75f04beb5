"""What /proc says, parsed once into values.

    mountinfo(pid)   every mount of its mount namespace      namespaces(pid)   {"mnt": 4026531841, …}
    status(pid)      {"CapEff": "00…", …}                    cgroup(pid)       one line per hierarchy
    stat(pid)        comm, state, ppid, start time           children(pid)     their pids
    alive(pid, t)    still the same process?                 boot_id()         changes at each boot
    read(pid, name)  any other file of it

`pid` is a number or "self". `proc` is where the proc file system is mounted: another one may belong to another PID
namespace, and numbers processes in its own way. A process that is gone raises NotFound; one that belongs to somebody
else, where that matters, a KernelError that is also a PermissionError.

A bare pid is a poor name, for it goes to another process some day: (pid, starttime, boot_id) is a good one.
See proc(5), proc_pid_mountinfo(5), proc_pid_stat(5). Notebook 03 reads mountinfo, 01 stat.
"""

from __future__ import annotations

import contextlib
import os
import re

from labrt.errors import LabrtError, NotFound, NotSupported, kernel_error
from labrt.shapes import Record

Pid = int | str


class MountInfo(Record):
    """One line of /proc/PID/mountinfo. Peer groups are numbers, or None when the mount has no such relation.

    `root` is the directory of the file system that is visible at `mount_point`: "/" but for bind mounts and subvolumes.
    `options` are this mount's own (ro, nosuid, …), `super_options` those of the file system that all its mounts share.
    """

    mount_id: int
    parent_id: int
    device: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    shared: int | None
    master: int | None
    propagate_from: int | None
    unbindable: bool
    fstype: str
    source: str
    super_options: tuple[str, ...]

    @property
    def propagation(self) -> str:
        """`private`, `unbindable`, or peer groups as the kernel writes them: `shared:5`, `shared:5 master:2`."""
        if self.unbindable:
            return "unbindable"
        groups = [("shared", self.shared), ("master", self.master), ("propagate_from", self.propagate_from)]
        return " ".join(f"{name}:{group}" for name, group in groups if group is not None) or "private"

    def __repr__(self) -> str:
        origin = "" if self.root == "/" else f" root={self.root!r}"
        options = ",".join(self.options)
        return f"<MountInfo {self.mount_point!r} {self.fstype} {self.source!r}{origin} {options} {self.propagation}>"


class CgroupLine(Record):
    """One line of /proc/PID/cgroup. v2 is hierarchy 0 and names no controllers.

    `path` begins at the root of the *reader's* cgroup namespace, and with /.. for a process outside of it.
    """

    hierarchy: int
    controllers: tuple[str, ...]
    path: str


class Stat(Record):
    """The head of /proc/PID/stat. `starttime` is in clock ticks since boot; `state` is one letter, Z for a zombie."""

    pid: int
    comm: str
    state: str
    ppid: int
    pgrp: int
    session: int
    tty: int
    starttime: int

    def __repr__(self) -> str:
        return f"<Stat {self.pid} {self.comm!r} {self.state} ppid={self.ppid} starttime={self.starttime}>"


def mountinfo(pid: Pid = "self", *, proc: str = "/proc") -> list[MountInfo]:
    """Every mount that the process can see. Of two at the same mount point, the upper one's parent is the lower one."""
    return parse_mountinfo(read(pid, "mountinfo", proc=proc))


def parse_mountinfo(text: str) -> list[MountInfo]:
    """Parse the text of a mountinfo file, also of one that was saved elsewhere."""
    # Only "\n" ends a line and only " " a field, for those two are escaped: names may hold every other white space.
    return [_mount_line(line) for line in text.split("\n") if line]


def _mount_line(line: str) -> MountInfo:
    fields = line.split(" ")
    dash = fields.index("-", 6)
    tags = dict(tag.partition(":")[::2] for tag in fields[6:dash])
    groups = {name: int(number) for name, number in tags.items() if number}
    fstype, source, super_options = fields[dash + 1 : dash + 4]
    return MountInfo(
        mount_id=int(fields[0]),
        parent_id=int(fields[1]),
        device=fields[2],
        root=_unescape(fields[3]),
        mount_point=_unescape(fields[4]),
        options=_options(fields[5]),
        shared=groups.get("shared"),
        master=groups.get("master"),
        propagate_from=groups.get("propagate_from"),
        unbindable="unbindable" in tags,
        fstype=_unescape(fstype),
        source=_unescape(source),
        super_options=_options(super_options),
    )


def _options(text: str) -> tuple[str, ...]:
    # Split first: a comma inside a value is written as \054.
    return tuple(_unescape(option) for option in text.split(","))


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes: 040 for a space, 134 for a backslash and so on."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def status(pid: Pid = "self", *, proc: str = "/proc") -> dict[str, str]:
    """Every line of /proc/PID/status as {name: text}. See proc_pid_status(5)."""
    lines = (line.partition(":") for line in read(pid, "status", proc=proc).split("\n") if line)
    return {name: value.strip() for name, _, value in lines}


def cgroup(pid: Pid = "self", *, proc: str = "/proc") -> list[CgroupLine]:
    """The process's cgroup in every hierarchy: one line on a pure v2 machine, a dozen on v1. See cgroups(7)."""
    lines = (line.split(":", 2) for line in read(pid, "cgroup", proc=proc).split("\n") if line)
    return [CgroupLine(int(number), tuple(filter(None, names.split(","))), path) for number, names, path in lines]


def namespaces(pid: Pid = "self", *, proc: str = "/proc") -> dict[str, int]:
    """Inode numbers of the process's namespaces by name: same number, same namespace. See namespaces(7).

    For "self" this is the calling *thread*, which may have left its process's namespaces. `pid_for_children` is missing
    as long as a new PID namespace waits for its first process.
    """
    directory = _directory(proc, "thread-self" if pid == "self" else pid, "ns")
    found = {}
    try:
        for name in sorted(os.listdir(directory)):
            with contextlib.suppress(FileNotFoundError):
                found[name] = int(os.readlink(os.path.join(directory, name)).partition("[")[2].rstrip("]"))
    except OSError as error:
        raise _explain(error, directory, pid) from error
    if not found:  # the process ended while it was read
        raise _gone(pid)
    return found


def stat(pid: Pid = "self", *, proc: str = "/proc") -> Stat:
    """Who a process is and where it came from."""
    text = read(pid, "stat", proc=proc)
    # A comm may be `evil) R 1 (`: the last parenthesis ends it.
    number, _, rest = text.partition(" (")
    comm, _, numbers = rest.rpartition(") ")
    fields = numbers.split()
    ppid, pgrp, session, tty = map(int, fields[1:5])
    return Stat(int(number), comm, fields[0], ppid, pgrp, session, tty, starttime=int(fields[19]))


def alive(pid: int, starttime: int, *, proc: str = "/proc") -> bool:
    """Whether this very process still runs: the number not reused, and the process no zombie."""
    try:
        now = stat(pid, proc=proc)
    except NotFound:
        return False
    return now.starttime == starttime and now.state not in "ZX"


def children(pid: Pid = "self", *, proc: str = "/proc") -> list[int]:
    """Pids of the children, zombies included, sorted. A snapshot: stop the process first if it must be exact."""
    directory = _directory(proc, pid, "task")
    try:
        threads = os.listdir(directory)
    except OSError as error:
        raise _explain(error, directory, pid) from error
    found: list[int] = []
    for thread in threads:  # a child belongs to the thread that forked it
        try:
            found += map(int, read(pid, f"task/{thread}/children", proc=proc).split())
        except NotFound:
            if os.path.isdir(os.path.join(directory, thread)):
                raise NotSupported("this kernel lists no children: it was built without CONFIG_PROC_CHILDREN") from None
    return sorted(found)


def boot_id(*, proc: str = "/proc") -> str:
    """A random UUID that the kernel draws at boot: whatever was noted under another one is gone."""
    return read("sys", "kernel/random/boot_id", proc=proc).strip()


def _directory(proc: str, pid: Pid, name: str) -> str:
    return os.path.join(proc, str(pid), name)


def read(pid: Pid, name: str, *, proc: str = "/proc") -> str:
    """Read any other file of a process, such as "cmdline" or "uid_map"."""
    path = _directory(proc, pid, name)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
            return stream.read()
    except OSError as error:
        raise _explain(error, path, pid) from error


def _explain(error: OSError, path: str, pid: Pid) -> LabrtError:
    # A process that ends between open and read makes the read fail with ESRCH.
    if isinstance(error, FileNotFoundError | ProcessLookupError):
        return _gone(pid)
    remedy = "be root, or the process's own user, in its user namespace or above it"
    return kernel_error(f"read({path!r})", error.errno or 0, remedy=remedy)


def _gone(pid: Pid) -> NotFound:
    return NotFound(f"there is no process {pid}", remedy="it may have ended, or has another pid in this PID namespace")
