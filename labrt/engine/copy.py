"""Files into a container and out of it, whether it runs or not.

    copy_out(container, "/etc/hosts", "."); copy_in(container, "site", "/srv")      as `labrt cp`
    get(container, "/etc", stream); put(container, "/srv", stream)                  tar archives, as docker's API

The container's side is done by a child of ours that sees its files and nothing else. Of one that runs, it enters the
mount namespace (setns(2)), whose root the container cannot lead out of: volumes, tmpfs and all are then as the program
sees them, but for /proc, which is not there: through its links one is everywhere. Of one that does not run, it mounts
root and volumes in a namespace of its own, and makes that its root. It can import nothing from in there, and is
undumpable, so that nobody in there takes it over: CVE-2019-14271 and CVE-2018-15664 were ways out of docker's. Between
the two sides goes a tar stream: tarstream.py.

Where things land is docker's rule, which is cp's: into DEST if that is a directory, else under that name; a source that
ends in /. is the content of a directory; no directory but the last is made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from labrt.errors import Conflict, InvalidInput, KernelError, LabrtError, NotFound, kernel_error
from labrt.linux import mounts, namespaces, process, rootfs, syscalls
from labrt.linux.flags import CLONE, MNT, MOUNT_ATTR, UMOUNT
from labrt.linux.mounts import Mount

if TYPE_CHECKING:
    from labrt.engine.container import Container

T = TypeVar("T")
PR_SET_DUMPABLE = 4


class Stat(NamedTuple):
    """What is at a path in a container. `mode` is st_mode, `target` where a symbolic link leads."""

    name: str
    mode: int
    size: int
    mtime: float
    target: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return stat.S_ISDIR(self.mode)


def look(container: Container, path: str, *, follow: bool = False) -> Stat:
    """Look at a path. Raises NotFound."""
    path = _inner(path)

    def inside() -> Stat:
        found = os.stat(path) if follow or path.endswith(("/", "/.")) else os.lstat(path)
        target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
        return Stat(os.path.basename(path.rstrip("/")), found.st_mode, found.st_size, found.st_mtime, target)

    return _inside(container, path, inside)


def get(container: Container, path: str, stream: BinaryIO, *, follow: bool = False, name: str | None = None) -> None:
    """Write a tar archive of a file, or of a directory and what is in it, under its own name or another.

    `stream` is written to by a child process if it is a file or a pipe, else from memory. With `follow` the target of a
    symbolic link is meant. Raises NotFound.
    """
    from labrt.engine import tarstream

    path = _inner(path)
    name = _name_of(path) if name is None else name
    with _as_file(stream, out=True) as fd:

        def inside() -> None:
            with open(fd, "wb", closefd=False) as out:
                tarstream.pack(path, name, out, follow=follow or path.endswith("/"))

        _inside(container, path, inside)


def put(container: Container, path: str, stream: BinaryIO, *, owners: bool = False) -> None:
    """Unpack a plain tar archive into a directory. Without `owners` all is root's.

    Raises NotFound when there is no such directory, Conflict when something is in the way, or may not be written to.
    """
    from labrt.engine import tarstream

    path = _inner(path)
    with _as_file(stream, out=False) as fd:

        def inside() -> None:
            with open(fd, "rb", closefd=False) as source:
                tarstream.unpack(source, path, owners=owners, owner=(0, 0))

        _inside(container, path, inside, write=True)
    container.note("extract-to-dir", path=path)


def copy_out(container: Container, path: str, destination: str, *, follow: bool = False, owners: bool = False) -> None:
    """Copy from a container to this machine. With `owners` uid and gid are kept, else all is ours."""
    from labrt.engine import tarstream

    found = look(container, path, follow=follow)
    there = _local_kind(destination)
    top, name = _landing(found.is_directory, path, _name_of(_inner(path)), destination, there)
    if not os.path.isdir(top):
        raise NotFound(f"{top}: no such directory", remedy=f"mkdir -p {top}")

    def outside(source: BinaryIO) -> None:
        tarstream.unpack(source, top, owners=owners)
        while source.read(1 << 16):  # what fills the last block: whoever writes it is to be heard out
            continue

    inner = _inner(path)
    _stream_out(container, path, lambda out: tarstream.pack(inner, name, out, follow=follow or inner.endswith("/")),
                outside)  # fmt: skip


def copy_in(container: Container, source: str, path: str, *, follow: bool = False, owners: bool = False) -> None:
    """Copy from this machine into a container. With `owners` uid and gid are kept, else all is root's."""
    from labrt.engine import tarstream

    try:
        status = os.stat(source) if follow or source.endswith(("/", "/.")) else os.lstat(source)
    except OSError as error:
        raise NotFound(f"{source}: {os.strerror(error.errno or 0)}") from None
    there = None
    with contextlib.suppress(NotFound):
        there = "directory" if look(container, path, follow=True).is_directory else "file"
    name = os.path.basename(os.path.abspath(source)) if not source.endswith("/.") else "."
    top, name = _landing(stat.S_ISDIR(status.st_mode), source, name, _inner(path), there)

    def inside(stream: BinaryIO) -> None:
        tarstream.unpack(stream, top, owners=owners, owner=(0, 0))
        while stream.read(1 << 16):
            continue

    _stream_in(container, top, inside,
               lambda out: tarstream.pack(source, name, out, follow=follow or source.endswith("/")))  # fmt: skip
    container.note("extract-to-dir", path=top)


def _landing(is_directory: bool, source: str, name: str, destination: str, there: str | None) -> tuple[str, str]:
    """Say into which directory, and under which name: `there` is what is at the destination, None for nothing.

    The name "." stands for the content of a directory.
    """
    content = is_directory and (source.endswith("/.") or source in (".", "..", "/") or not name)
    if there == "directory":
        return destination, "." if content else name
    if there == "file":
        if is_directory:
            raise Conflict(f"{destination} is a file, and {source} a directory", remedy="name a directory")
        if destination.endswith("/"):
            raise InvalidInput(f"{destination} is no directory", remedy="leave out the slash at its end")
        return os.path.dirname(destination) or ".", os.path.basename(destination)
    if destination.endswith("/") and not is_directory:
        raise NotFound(f"{destination}: no such directory", remedy="make it first, or leave out the slash at its end")
    bare = destination.rstrip("/")
    return os.path.dirname(bare) or ("/" if bare.startswith("/") else "."), os.path.basename(bare)


def _local_kind(path: str) -> str | None:
    return "directory" if os.path.isdir(path) else "file" if os.path.lexists(path) else None


def _inner(path: str) -> str:
    """Write a container's path as one that begins at its root, and keep a slash, or /., at its end."""
    end = "/." if path.endswith("/.") else "/" if path.endswith("/") else ""
    plain = os.path.normpath(f"/{path.lstrip('/')}")
    return f"{plain.rstrip('/')}{end}" if end else plain


def _name_of(path: str) -> str:
    return "." if path.endswith("/.") else os.path.basename(path.rstrip("/")) or "."


# The container's side -------------------------------------------------------------------------------------------------


def _inside(
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

    syscalls.prctl(PR_SET_DUMPABLE, 0)
    proc = heldproc.hold()
    ours, theirs = namespaces.of("self"), namespaces.of(pid)
    kinds = CLONE.NEWNS if ours.user.inode == theirs.user.inode else CLONE.NEWNS | CLONE.NEWUSER
    rootfs.seal_imports()
    syscalls.setns(pidfd, kinds)
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


def _stream_out(
    container: Container, path: str, inside: Callable[[BinaryIO], None], outside: Callable[[BinaryIO], None]
) -> None:
    """Run both at once, a pipe from the one to the other."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    _run_both(container, path, inside, outside, (writer, "wb"), (reader, "rb"), write=False)


def _stream_in(
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
        _inside(container, path, child, write=write, meanwhile=meanwhile)
    except KernelError as error:
        raise (failed[0] if failed and error.errno == errno.EPIPE else error) from None
    finally:
        for fd in opened:
            os.close(fd)
    if failed:
        raise failed[0]


@contextlib.contextmanager
def _as_file(stream: BinaryIO, *, out: bool) -> Iterator[int]:
    """Yield a descriptor that a child can read or write for `stream`, which may be no file."""
    try:
        fd = stream.fileno()
    except (AttributeError, OSError):
        import shutil

        with tempfile.TemporaryFile() as file:
            if not out:
                shutil.copyfileobj(stream, file)
                file.seek(0)
            yield file.fileno()
            if out:
                file.seek(0)
                shutil.copyfileobj(file, stream)
        return
    if out:
        stream.flush()
    yield fd
