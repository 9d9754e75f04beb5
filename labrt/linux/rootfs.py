"""A container's root, as a plan: a list of operations that can be read before they are done.

    >>> plan = rootfs.plan("/srv/root", mounts=rootfs.DEFAULT_MOUNTS, masked=rootfs.MASKED, readonly=rootfs.READONLY)
    >>> for step in plan: print(step)
    all mounts here become rslave: nothing that is mounted from here on shows on the host
    bind /srv/root on / (rbind)
    proc on /proc (nosuid,noexec,nodev)
    …
    pivot_root into /srv/root; the old root goes out of sight
    >>> rootfs.execute(plan)

Execute it only in a mount namespace of its own. Everything below the new root may be hostile, so no operation follows a
path in it by name: see mounts.open_in_root. The last operation is the pivot: whatever needs the old root comes before.

Interface: `plan`, `execute`, the operations, and the defaults that the OCI runtime-spec (config-linux.md, "Default
Filesystems", "Default Devices") and Docker give every container. See pivot_root(2), mknod(2); notebooks 02 and 04.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from labrt.errors import Conflict, InvalidConfig
from labrt.linux import mounts, syscalls
from labrt.linux.flags import AT, MNT, MOUNT_ATTR, MS, OPEN_TREE
from labrt.linux.mounts import Mount
from labrt.shapes import Protocol, Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

DEFAULT_MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    # newinstance: terminals of the host and of other containers are not among its own.
    Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
)

# /proc and /sys say more of the host than a container should know, and take orders that it should not give.
MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Operation(Protocol):
    """One step: `str()` says what it will do, `execute` does it."""

    def execute(self) -> None:
        """Do it, in the mount namespace of the caller."""
        ...


class Propagate(Record):
    """Set the propagation of every mount of this namespace. Without, an unmount in here could show on the host."""

    word: str

    def execute(self) -> None:
        """See mount_namespaces(7)."""
        mounts.set_propagation("/", self.word)

    def __str__(self) -> str:
        return f"all mounts here become {self.word}: nothing that is mounted from here on shows on the host"


class PropagateRoot(Record):
    """Set the propagation of the container's own root, once it is entered: then no mount of the host's is meant."""

    word: str

    def execute(self) -> None:
        """See mount_namespaces(7)."""
        mounts.set_propagation("/", self.word)

    def __str__(self) -> str:
        return f"the container's root becomes {self.word}"


class Attach(Record):
    """Make one mount below the new root."""

    root: str
    mount: Mount

    def execute(self) -> None:
        """See Mount.attach."""
        self.mount.attach(self.root)

    def __str__(self) -> str:
        return str(self.mount)


class Device(Record):
    """Make a device node, or show the host's where the kernel lets nobody make one (in a user namespace).

    What is there already must be just that device. A `p` is a FIFO, which anybody may make.
    """

    root: str
    path: str
    kind: str  # "c", "b" or "p"
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0

    def execute(self) -> None:
        """See mknod(2). The umask must be 0, or the mode is not the one that was asked for."""
        parent, name = os.path.split(self.path)
        above = mounts.open_in_root(self.root, parent, create="directory")
        try:
            kind = {"b": stat.S_IFBLK, "c": stat.S_IFCHR, "p": stat.S_IFIFO}[self.kind]
            number = 0 if self.kind == "p" else os.makedev(self.major, self.minor)
            try:
                os.mknod(name, kind | self.mode, number, dir_fd=above)
                os.chown(name, self.uid, self.gid, dir_fd=above, follow_symlinks=False)
            except FileExistsError:
                found = os.stat(name, dir_fd=above, follow_symlinks=False)
                if (stat.S_IFMT(found.st_mode), found.st_rdev) != (kind, number):
                    problem = f"linux.devices: {self.path} is there already, and not {self}"
                    raise InvalidConfig(problem, remedy="choose another path, or take the file away") from None
        except PermissionError:
            Mount(self.path, "bind", self.path, ("bind",)).attach(self.root)
        finally:
            os.close(above)

    def __str__(self) -> str:
        what = "FIFO" if self.kind == "p" else "device"
        return f"{what} {self.path} ({self.kind} {self.major}:{self.minor}, mode {self.mode:o})"


class Link(Record):
    """Make a symbolic link; what is there already stays."""

    root: str
    path: str
    target: str

    def execute(self) -> None:
        """See symlink(2)."""
        parent, name = os.path.split(self.path)
        above = mounts.open_in_root(self.root, parent, create="directory")
        try:
            with contextlib.suppress(FileExistsError):
                os.symlink(self.target, name, dir_fd=above)
        finally:
            os.close(above)

    def __str__(self) -> str:
        return f"link {self.path} to {self.target}"


class Mask(Record):
    """Hide a path: /dev/null over a file, an empty read-only directory over a directory. What is not there stays so.

    The /dev/null is the host's: one from the image could be anything.
    """

    root: str
    path: str

    def execute(self) -> None:
        """See the OCI runtime-spec, config-linux.md, "Masked Paths"."""
        kind = _kind(self.root, self.path)
        if kind == "directory":
            Mount(self.path, "tmpfs", "tmpfs", ("ro", "nosuid", "nodev", "noexec", "size=0k")).attach(self.root)
        elif kind == "file":
            Mount(self.path, "bind", "/dev/null", ("bind",)).attach(self.root)

    def __str__(self) -> str:
        return f"hide {self.path}"


class MakeReadOnly(Record):
    """Bind a path, with all mounts below, onto itself, read-only. What is not there stays so."""

    root: str
    path: str

    def execute(self) -> None:
        """See the OCI runtime-spec, config-linux.md, "Readonly Paths"; mount_setattr(2)."""
        if _kind(self.root, self.path) is None:
            return
        target = mounts.open_in_root(self.root, self.path)
        try:
            flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE | AT.EMPTY_PATH
            tree = syscalls.open_tree(target, "", flags)
            try:
                how = AT.EMPTY_PATH | AT.RECURSIVE
                syscalls.mount_setattr(tree, "", how, attr_set=MOUNT_ATTR.RDONLY)
                mounts.attach_detached(tree, target)
            finally:
                os.close(tree)
        finally:
            os.close(target)

    def __str__(self) -> str:
        return f"make {self.path} read-only"


class SealMount(Record):
    """Take the right to write away from one mount; those on top of it (/dev, volumes, …) keep theirs."""

    root: str
    path: str

    def execute(self) -> None:
        """See mount_setattr(2)."""
        target = mounts.open_in_root(self.root, self.path)
        try:
            syscalls.mount_setattr(target, "", AT.EMPTY_PATH, attr_set=MOUNT_ATTR.RDONLY)
        finally:
            os.close(target)

    def __str__(self) -> str:
        return f"make the mount at {self.path} read-only"


class PivotRoot(Record):
    """Swap the roots: what was / is out of reach, also for root, unlike after chroot(2)."""

    root: str

    def execute(self) -> None:
        """With "." twice the old root comes to lie on the new one, and is taken off. See pivot_root(2), NOTES."""
        seal_imports()
        os.chdir(self.root)
        syscalls.pivot_root(".", ".")
        syscalls.umount2(".", MNT.DETACH)
        os.chdir("/")

    def __str__(self) -> str:
        return f"pivot_root into {self.root}; the old root goes out of sight"


class MoveRoot(Record):
    """Move the new root over / and chroot there: where / is the initial ramdisk, which nothing can be swapped with.

    The old root stays below, so this is weaker than PivotRoot: CAP_SYS_CHROOT and a directory outside lead back to it.
    """

    root: str

    def execute(self) -> None:
        """Hide the host's proc and sysfs first: the kernel lets nobody mount them anew who sees less of them masked."""
        from labrt.linux import procfs

        for mount in procfs.mountinfo():
            if mount.fstype in ("proc", "sysfs") and not f"{mount.mount_point}/".startswith(f"{self.root}/"):
                with contextlib.suppress(OSError):
                    syscalls.umount2(mount.mount_point, MNT.DETACH)
        seal_imports()
        os.chdir(self.root)
        syscalls.mount(self.root, "/", None, MS.MOVE)
        os.chroot(".")
        os.chdir("/")

    def __str__(self) -> str:
        return f"move {self.root} over / and chroot into it"


class ChangeRoot(Record):
    """Take a directory for the root, in a mount namespace that is not the container's own: nothing is mounted.

    Who is root and has CAP_SYS_CHROOT gets out of this again, and all else of the host's tree is still there.
    """

    root: str

    def execute(self) -> None:
        """See chroot(2)."""
        seal_imports()
        os.chroot(self.root)
        os.chdir("/")

    def __str__(self) -> str:
        return f"chroot into {self.root}; the old root is still there"


Plan = list[Operation]


def seal_imports() -> None:
    """Let no import succeed any more: below the new root lies whatever the image's author put there."""
    # Not emptied but replaced, and the old ones kept: to free all that they hold takes longer than to build a /dev.
    _unused.extend((sys.path, sys.path_hooks, sys.path_importer_cache, sys.meta_path))
    sys.path, sys.path_hooks, sys.path_importer_cache, sys.meta_path = [], [], {}, []


_unused: list[object] = []


def _kind(root: str, path: str) -> str | None:
    try:
        fd = mounts.open_in_root(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return None  # any other error is one: what could not be looked at could not be hidden
    try:
        return "directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
    finally:
        os.close(fd)


def default_devices(root: str) -> Plan:
    """The devices and links that every container has: OCI runtime-spec, config-linux.md, "Default Devices"."""
    numbers = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
    links = {
        "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx",
    }  # fmt: skip
    if os.path.exists("/proc/kcore"):
        links["core"] = "/proc/kcore"
    return [
        *(Device(root, f"/dev/{name}", "c", major, minor) for name, (major, minor) in numbers.items()),
        *(Link(root, f"/dev/{name}", target) for name, target in links.items()),
    ]


def cgroup_mounts(mount: Mount, paths: Mapping[str, str] | None = None, *, bound: bool = True) -> list[Mount]:
    """Write out a mount of type "cgroup": one cgroup2 on a v2 machine; on v1 a tmpfs with one mount per tree in it.

    To be executed in the container's own cgroup namespace, which makes the container's cgroup the root of each. `paths`
    are its cgroup's directories (Cgroup.paths): a tree that it is not in is not shown, for that would be the host's
    from its root on, with its release_agent. For a container without a namespace of its own these are `bound`.
    """
    from labrt.linux import cgroups

    trees = cgroups.detect().trees
    if all(tree.version == 2 for tree in trees):
        if paths is None or not bound:
            return [mount._replace(type="cgroup2")]
        return [Mount(mount.destination, "bind", paths["unified"], ("bind", *mount.options))]
    inside = []
    for tree in trees:
        name = os.path.basename(tree.mountpoint)
        directory = (paths or {}).get("unified" if tree.version == 2 else tree.controllers[0])
        if paths is not None and (bound or not directory):
            if directory:
                inside.append(Mount(f"{mount.destination}/{name}", "bind", directory, ("bind", *mount.options)))
            continue
        kind = "cgroup2" if tree.version == 2 else "cgroup"
        named = all(controller.startswith("name=") for controller in tree.controllers)
        data = () if tree.version == 2 else (("none",) if named else ()) + tree.controllers
        inside.append(Mount(f"{mount.destination}/{name}", kind, "cgroup", mount.options + data))
    # Read-write until its directories are made; `plan` turns it read-only.
    return [Mount(mount.destination, "tmpfs", "tmpfs", ("nosuid", "noexec", "nodev", "mode=755")), *inside]


def plan_without_mounts(root: str, devices: Iterable[Mapping[str, Any]] = ()) -> Plan:
    """List what makes `root` a container's root where it has no mount namespace of its own: ChangeRoot."""
    return [*default_devices(root), *(_device(root, entry) for entry in devices), ChangeRoot(root)]


def plan(
    root: str,
    *,
    root_mounts: Sequence[Mount] = (),
    place: str = "",
    mounts: Iterable[Mount] = DEFAULT_MOUNTS,
    devices: Iterable[Mapping[str, Any]] = (),
    masked: Iterable[str] = MASKED,
    readonly: Iterable[str] = READONLY,
    read_only_root: bool = False,
    propagation: str = "rslave",
    label: str = "",
    cgroup_paths: Mapping[str, str] | None = None,
    cgroup_bound: bool = True,
    pivot: bool = True,
) -> Plan:
    """List what makes `root`, an existing directory, a container's root.

    `root_mounts` (their destination is "/") make up the root's content, in order; without any the directory itself is
    it. `place` is where they are attached, if that is not called `root`. `mounts` go on top, in order. `devices` are
    more nodes, as in the runtime-spec's linux.devices. `propagation` is the container's root's in the end; whatever it
    is, nothing that is mounted in here shows on the host. `label` is SELinux's, for the files of memory file systems.
    `cgroup_paths`, `cgroup_bound`: see cgroup_mounts. Without `pivot` it is MoveRoot.
    """
    word = propagation.removeprefix("r")
    steps: Plan = [Propagate("rslave" if word in ("shared", "slave") else "rprivate")]
    # pivot_root wants a mount point: a plain directory is bound onto itself.
    for mount in root_mounts or (Mount("/", "bind", root, ("rbind",)),):
        steps.append(Attach(place or root, mount))
    mounts = [*mounts]
    for mount in mounts:
        if mount.type != "cgroup":
            labelled = label and mount.type in ("tmpfs", "mqueue", "devpts", "ramfs")
            options = (*mount.options, f'context="{label}"') if labelled else mount.options
            steps.append(Attach(root, mount._replace(options=options)))
            continue
        spread = cgroup_mounts(mount, cgroup_paths, bound=cgroup_bound)
        steps += [Attach(root, one) for one in spread]
        if len(spread) > 1:
            steps.append(SealMount(root, mount.destination))
    if not any(mount.is_bind and os.path.normpath(mount.destination) == "/dev" for mount in mounts):
        steps += default_devices(root)  # not into somebody's own directory on the host
    # /dev/ptmx is always the link to the container's own terminals, also where podman --privileged lists the host's.
    steps += [_device(root, entry) for entry in devices if os.path.normpath(entry["path"]) != "/dev/ptmx"]
    steps += [Mask(root, path) for path in masked]
    steps += [MakeReadOnly(root, path) for path in readonly]
    if read_only_root:
        steps.append(SealMount(root, "/"))
    steps.append(PivotRoot(root) if pivot else MoveRoot(root))
    if word in ("shared", "unbindable"):
        steps.append(PropagateRoot(propagation))
    return steps


def _device(root: str, entry: Mapping[str, Any]) -> Device:
    kind = {"u": "c"}.get(entry["type"], entry["type"])
    if kind not in ("c", "b", "p"):
        raise InvalidConfig(f"linux.devices: type {kind!r} of {entry['path']}", remedy="c, u, b or p")
    mode, uid, gid = entry.get("fileMode"), entry.get("uid") or 0, entry.get("gid") or 0
    major, minor = entry.get("major") or 0, entry.get("minor") or 0
    return Device(root, entry["path"], kind, major, minor, 0o666 if mode is None else mode & 0o777, uid, gid)


def execute(plan: Plan, *, before_entering: Callable[[], None] | None = None) -> None:
    """Do all steps, in order. What fails ends it: the mount namespace is then good for nothing but to be left.

    `before_entering` is called when all mounts stand and only the pivot is left to do.

    Raises Conflict in a process that shares its mount namespace with its parent: that one's root would change, too.
    """
    parent = os.getppid()  # 0: it is in another PID namespace
    if any(isinstance(step, ChangeRoot) for step in plan):
        parent = 0  # it mounts nothing
    with contextlib.suppress(OSError):  # we may not look
        if parent and os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{parent}/ns/mnt"):
            remedy = 'run it in a child: process.spawn(…, namespaces="mnt")'
            raise Conflict("this is not a mount namespace of its own: the host's root would be changed", remedy=remedy)
    old = os.umask(0)
    try:
        for step in plan:
            if before_entering and isinstance(step, PivotRoot | MoveRoot | ChangeRoot):
                os.umask(old)
                before_entering()
            step.execute()
    finally:
        os.umask(old)
