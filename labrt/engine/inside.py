"""Calls in a container's files: by a child of ours that sees them, and nothing else, whether it runs or not.

    call(container, "/etc", lambda: os.listdir("/etc"))      what it returns is returned, what it raises raised
    stream_out(container, "/etc", inside, outside)           two functions at once, a pipe from the one to the other
    stream_in(container, "/etc", inside, outside)            the other way

Of one that runs, the child enters the mount namespace (setns(2)), whose root the container cannot lead out of: volumes,
tmpfs and all are then as the program sees them, but for /proc, which is not there: through its links one is everywhere.
Of one that does not run, it mounts root and volumes in a namespace of its own, and makes that its root. It can import
nothing from in there, and is undumpable, so that nobody in there takes it over: CVE-2019-14271 and CVE-2018-15664 were
ways out of docker's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from labrt.errors import Conflict, KernelError, LabrtError, NotFound, kernel_error
from labrt.linux import mounts, namespaces, process, rootfs, syscalls
from labrt.linux.flags import CLONE, MNT, MOUNT_ATTR, UMOUNT
from labrt.linux.mounts import Mount

if TYPE_CHECKING:
    from labrt.engine.container import Container

T = TypeVar("T")


def call(
    container: Container,
    path: str,
    function: Callable[[], T],
    *,
    write: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> T:
    """Call `function` in a child whose root is the container's; what it raises is raised here, in our words."""

    def child() -> T:
        enter()
        return function()

    try:
        with contextlib.ExitStack() as stack:
            enter, kinds = _way_in(container, stack, write)
            return process.run_in_child(child, namespaces=kinds, meanwhile=meanwhile)
    except LabrtError:
        raise
    except FileNotFoundError:
        raise NotFound(f"{container.name}:{path}: no such file or directory") from None
    except NotADirectoryError:
        raise NotFound(f"{container.name}:{path}: a part of it is no directory") from None
    except OSError as error:
        raise kernel_error(f"cp {container.name}:{path}", error.errno or 0) from error


def _way_in(container: Container, stack: contextlib.ExitStack, write: bool) -> tuple[Callable[[], None], str | int]:
    """Return how to get there, and the namespaces that the child is to have for it."""
    state = container.state
    pidfd = process.open_pidfd(state.pid, state.starttime) if state.pid and state.alive else None
    if pidfd is not None:
        stack.callback(os.close, pidfd)
        return lambda: _enter_running(pidfd, state.pid), 0
    stack.enter_context(container.locked())  # nobody starts it on the root that we have mounted
    state = container.state
    if state.pid and state.kept:
        raise Conflict(f"container {container.name} is just starting", remedy="try again")
    return _Stopped(container, stack, write), "mnt" if os.geteuid() == 0 else "user,mnt"


def _enter_running(pidfd: int, pid: int) -> None:
    """Enter the mount namespace of its PID 1, and with it its root; its user namespace, too, if it has one."""
    from labrt.linux import heldproc, procfs  # noqa: F401 - procfs for later: in there nothing is imported

    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    proc = heldproc.hold()
    ours, theirs = namespaces.of("self"), namespaces.of(pid)
    kinds = CLONE.NEWNS if ours.user.inode == theirs.user.inode else CLONE.NEWNS | CLONE.NEWUSER
    rootfs.seal_imports()
    syscalls.setns(pidfd, kinds)
    if CLONE.NEWUSER in kinds:
        with contextlib.suppress(OSError):  # there may be no root in it
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)  # else we are nobody in there, and what we write would be
    _leave_proc(proc)
    os.close(proc)
    os.umask(0)


def _leave_proc(proc: int) -> None:
    """Go on in a copy of these mounts, without any /proc. `proc` is the host's, which says what is mounted."""
    from labrt.linux import heldproc, procfs

    syscalls.unshare(CLONE.NEWNS)
    mounts.set_propagation("/", "rprivate")
    for _ in range(100):  # they may be moving directories about meanwhile
        with open(heldproc.open_below(proc, "self/mountinfo", os.O_RDONLY), errors="surrogateescape") as file:
            found = [mount for mount in procfs.parse_mountinfo(file.read()) if mount.fstype == "proc"]
        if not found:
            break
        with contextlib.suppress(OSError):
            syscalls.umount2(found[-1].mount_point, MNT.DETACH | UMOUNT.NOFOLLOW)
    else:
        raise Conflict("its /proc cannot be left behind", remedy="pause the container, or stop it")


class _Stopped:
    """Mounts the root and the volumes of a container that does not run, and makes them one's own root.

    As at its start, so places to mount on are made where they are missing. Not /proc.
    """

    def __init__(self, container: Container, stack: contextlib.ExitStack, write: bool) -> None:
        from labrt.engine.images import Images

        config = container.runtime.config()
        self.sealed = write and bool(config["root"].get("readonly"))
        root = Images(container.where).driver.mounts(container.id)
        every = [Mount.from_json(entry) for entry in config["mounts"]]
        volumes = [mount for mount in every if mount.is_bind and os.path.exists(mount.source)]
        # On the disk their owners are those that the container knows, with or without a user namespace.
        volumes = [one._replace(options=tuple(word for word in one.options if word != "idmap")) for one in volumes]
        self.mounts = [mount._replace(options=(*mount.options, "nodev")) for mount in root] + volumes
        self.place = stack.enter_context(tempfile.TemporaryDirectory(prefix="labrt-copy-"))

    def __call__(self) -> None:
        """Be there from now on."""
        for mount in self.mounts:
            mount.attach(self.place)
        if self.sealed:
            syscalls.mount_setattr(syscalls.AT_FDCWD, self.place, 0, attr_set=MOUNT_ATTR.RDONLY)
        rootfs.seal_imports()
        os.chroot(self.place)
        os.chdir("/")
        os.umask(0)


# The stream between the two sides -------------------------------------------------------------------------------------


def stream_out(
    container: Container, path: str, inside: Callable[[BinaryIO], None], outside: Callable[[BinaryIO], None]
) -> None:
    """Run both at once, a pipe from the one to the other."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    _run_both(container, path, inside, outside, (writer, "wb"), (reader, "rb"), write=False)


def stream_in(
    container: Container, path: str, inside: Callable[[BinaryIO], None], outside: Callable[[BinaryIO], None]
) -> None:
    """Run both at once, a pipe from the other to the one."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    _run_both(container, path, inside, outside, (reader, "rb"), (writer, "wb"), write=True)


def _run_both(
    container: Container,
    path: str,
    inside: Callable[[BinaryIO], None],
    outside: Callable[[BinaryIO], None],
    theirs: tuple[int, str],
    ours: tuple[int, str],
    *,
    write: bool,
) -> None:
    """Each side closes what is the other's, or nobody would hear of an end. What fails inside is what counts."""
    opened = {theirs[0], ours[0]}
    failed: list[LabrtError] = []

    def child() -> None:
        os.close(ours[0])
        with open(*theirs) as end:
            inside(end)  # type: ignore[arg-type]

    def meanwhile() -> None:
        os.close(theirs[0])
        opened.clear()
        try:
            with contextlib.suppress(BrokenPipeError), open(*ours) as end:
                outside(end)  # type: ignore[arg-type]
        except LabrtError as error:
            failed.append(error)

    try:
        call(container, path, child, write=write, meanwhile=meanwhile)
    except KernelError as error:
        raise (failed[0] if failed and error.errno == errno.EPIPE else error) from None
    finally:
        for fd in opened:
            os.close(fd)
    if failed:
        raise failed[0]
