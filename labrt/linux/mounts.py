"""Mounts: the value that describes one, and the few ways to make one.

    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev"))       what the OCI runtime-spec calls a mount
    Mount("/data", "bind", "/srv/data", ("rbind", "ro")).attach(root)    made below a root that is not trusted

    with mounts.overlay(lower=["/layers/2", "/layers/1"]) as root: …     undone at the end, and in the ledger meanwhile
    with mounts.tmpfs("/mnt/scratch", size="64m"): …
    with mounts.bind("/etc", "/mnt/etc", read_only=True): …

A container's root may hold symbolic links that point anywhere, so no path below it is ever followed by name: the target
is opened with openat2(2) and RESOLVE_IN_ROOT, and the mount goes onto that descriptor.

See mount(2), mount_namespaces(7), open_tree(2), mount_setattr(2), openat2(2); notebooks 03, 04 and 10.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator, Sequence

from labrt.errors import InvalidConfig, InvalidInput
from labrt.linux import ledger, syscalls
from labrt.linux.flags import AT, MNT, MOUNT_ATTR, MOVE_MOUNT, MS, OPEN_TREE, RESOLVE
from labrt.linux.mount_options import PROPAGATION, Options
from labrt.linux.mount_options import parse as parse_options
from labrt.shapes import Record

__all__ = [
    "PROPAGATION", "Mount", "Options", "attach_detached", "bind", "mounted", "open_bind", "open_in_root", "overlay",
    "parse_options", "set_attributes", "set_propagation", "tmpfs", "unmount",
]  # fmt: skip


class Mount(Record):
    """One mount, in the words of the OCI runtime-spec (config.md, "Mounts"). An immutable value; `attach` makes it.

    `destination` is absolute in the container; "/" is the root itself. `type` is a file system of /proc/filesystems, or
    "bind", which has a `source` path on the host. `options` are as in fstab, propagation words included.
    """

    destination: str
    type: str = "none"
    source: str = "none"
    options: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Mount:
        """Read one entry of config.json's `mounts`."""
        options = value.get("options") or ()
        destination, source = value.get("destination"), value.get("source") or "none"
        if not isinstance(destination, str) or not isinstance(source, str) or not isinstance(options, list | tuple):
            raise InvalidInput(f"not a mount: {value!r}", remedy="it wants a destination, a type, a source and options")
        kind = value.get("type") or ("bind" if {"bind", "rbind"} & set(options) else "none")
        return cls(destination, str(kind), source, tuple(options))

    def to_json(self) -> dict[str, object]:
        """Write it as config.json has it."""
        return {**self._asdict(), "options": list(self.options)}

    @property
    def is_bind(self) -> bool:
        """Whether this shows a part of the host's tree, instead of a file system of its own."""
        return self.type == "bind" or bool({"bind", "rbind"} & set(self.options))

    @property
    def wants_device(self) -> bool:
        """Whether it is made from a device of the host's, which a container's cgroup would not let be opened."""
        return not self.is_bind and (
            self.source.startswith("/dev/") or "loop" in self.options or self.type.startswith("fuse.")
        )

    def open(self) -> int:
        """Make the mount, but attach it nowhere: returns its descriptor, which the caller closes. See fscontext.py.

        With the option `loop`, `source` is a file; a type `fuse.NAME` starts the program that serves it, see fuse.py.
        """
        from labrt.linux import fscontext, loop

        if self.type.startswith("fuse."):
            from labrt.linux import fuse

            return fuse.open_served(self.type, self.source, self.options)
        options = parse_options(self.options)
        data = options.data.split(",") if options.data else []
        if "loop" not in self.options:
            return fscontext.create(self.type, self.source, data, options.attr_set)
        with loop.attached(self.source) as device:
            return fscontext.create(self.type, device, data, options.attr_set)

    def opened(self) -> Mount:
        """Open it, and return what attaches it: in this process, or in one that inherits its descriptors."""
        return self._replace(type="detached", source=str(self.open()), options=())

    def __str__(self) -> str:
        what = f"bind {self.source}" if self.is_bind else self.type
        return f"{what} on {self.destination} ({','.join(self.options) or 'defaults'})"

    def attach(self, root: str = "/") -> None:
        """Make the mount at `destination` below `root`; a missing directory (or file, for a file) is made first.

        Nothing leads out of `root`, symbolic links are resolved within it. KernelError as mount(2).
        """
        options = parse_options(self.options)
        again = MS.REMOUNT in options.set
        target = self._open_target(root, None if again else self._what_it_covers())
        try:
            if again:
                syscalls.mount(self.source, f"/proc/self/fd/{target}", self.type, options.set, options.data or None)
            elif self.is_bind:
                _attach_bind(self, target)
            else:
                _attach_file_system(self, target)
        finally:
            os.close(target)
        below = options.recursive_set or options.recursive_clear
        if options.propagation or (below and not self.is_bind):
            # That descriptor was of what lies under the new mount: the path leads to the mount itself.
            on_top = open_in_root(root, self.destination)
            try:
                if below:
                    set_attributes(on_top, options)
                for flags in options.propagation:
                    syscalls.mount(None, f"/proc/self/fd/{on_top}", None, flags)
            finally:
                os.close(on_top)

    def _open_target(self, root: str, create: str | None) -> int:
        """Open where it goes. For proc and sysfs that is never a link's target.

        It could lie in a volume, where somebody else swaps it for a directory of their own while its files are masked,
        and then back: so CVE-2023-27561 left a /proc unmasked in runc.
        """
        if self.type not in ("proc", "sysfs") and os.path.normpath(self.destination) not in ("/proc", "/sys"):
            return open_in_root(root, self.destination, create=create)
        try:
            return open_in_root(root, self.destination, create=create, links=False)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            remedy = "do not trust whoever made this image"
            raise InvalidConfig(f"{self.destination} is a symbolic link, or behind one", remedy=remedy) from None

    def _what_it_covers(self) -> str:
        if self.type == "detached":
            return "directory" if stat.S_ISDIR(os.fstat(int(self.source)).st_mode) else "file"
        return "file" if self.is_bind and not os.path.isdir(self.source) else "directory"


def set_attributes(mount: int, options: Options) -> None:
    """Give an open mount its options by mount_setattr(2), and those below it what is for them, too."""
    if options.attr_set or options.attr_clear:
        syscalls.mount_setattr(mount, "", AT.EMPTY_PATH, attr_set=options.attr_set, attr_clr=options.attr_clear)
    if options.recursive_set or options.recursive_clear:
        how, to_set, to_clear = AT.EMPTY_PATH | AT.RECURSIVE, options.recursive_set, options.recursive_clear
        syscalls.mount_setattr(mount, "", how, attr_set=to_set, attr_clr=to_clear)


def _attach_bind(mount: Mount, target: int) -> None:
    """Copy the source's mount, give the copy its options, and only then let it be seen: it is never writable first."""
    _attach_and_close(open_bind(mount), target)


def open_bind(mount: Mount) -> int:
    """Make a bind mount with its options, but attach it nowhere; the caller closes the descriptor.

    It is a peer of the source's mount, if that is shared: what is mounted below either one then shows in both.
    """
    options = parse_options(mount.options)
    if options.data:
        raise InvalidInput(f"{mount}: {options.data!r} is no option of a bind mount", remedy="see mount(8)")
    recursive = AT.RECURSIVE if MS.REC in options.set else 0
    tree = syscalls.open_tree(syscalls.AT_FDCWD, mount.source, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | recursive)
    try:
        set_attributes(tree, options)
    except BaseException:
        os.close(tree)
        raise
    return tree


def _attach_file_system(mount: Mount, target: int) -> None:
    if mount.type == "detached":
        attach_detached(int(mount.source), target)
        return
    if mount.wants_device:
        _attach_and_close(mount.open(), target)
        return
    options = parse_options(mount.options)
    if options.copy_up and mount.type == "tmpfs":
        _attach_and_close(_copied_up(mount, options, target), target)
        return
    if mount.type == "overlay" and _attach_overlay(mount, options, target):
        return
    directory, data = _relative(options.data) if mount.type == "overlay" else (None, options.data)
    if directory is None:
        syscalls.mount(mount.source, f"/proc/self/fd/{target}", mount.type, options.set, data or None)
        return
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        syscalls.mount(mount.source, f"/proc/self/fd/{target}", mount.type, options.set, data)
    finally:
        os.fchdir(here)
        os.close(here)


def _copied_up(mount: Mount, options: Options, under: int) -> int:
    """Make a tmpfs that has in it what lies under it, and is attached nowhere yet."""
    from labrt.linux import copyup, fscontext

    data = options.data.split(",") if options.data else []
    fd = fscontext.create("tmpfs", mount.source, data, options.attr_set & ~MOUNT_ATTR.RDONLY)
    try:
        copyup.copy_up(under, fd, looks=not any(word.startswith("mode=") for word in data))
        if options.attr_set & MOUNT_ATTR.RDONLY:
            syscalls.mount_setattr(fd, "", AT.EMPTY_PATH, attr_set=MOUNT_ATTR.RDONLY)
    except BaseException:
        os.close(fd)
        raise
    return fd


def attach_detached(fd: int, target: int) -> None:
    """Attach a detached mount at an open file or directory (O_PATH will do), in this process's mount namespace."""
    syscalls.move_mount(fd, "", target, "", MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH)


def _attach_and_close(fd: int, target: int) -> None:
    try:
        attach_detached(fd, target)
    finally:
        os.close(fd)


def _attach_overlay(mount: Mount, options: Options, target: int) -> bool:
    """Attach an overlay whose layers fsconfig(2) takes one by one. False where the kernel wants them in one string."""
    from labrt.linux import fscontext

    fd = fscontext.overlay(mount.source, options.data.split(","), options.attr_set)
    if fd is None:
        return False
    _attach_and_close(fd, target)
    return True


def _relative(data: str) -> tuple[str | None, str]:
    """Shorten overlay's lowerdir when all options together would not fit the one page that mount(2) reads.

    Returns (directory, options): the options are right for a process whose working directory that is; None: anywhere.
    """
    if len(data) < os.sysconf("SC_PAGE_SIZE") - 1:
        return None, data
    options = dict(part.partition("=")[::2] for part in data.split(","))
    lower = options.get("lowerdir", "").split(":")
    directory = os.path.commonpath(lower)
    options["lowerdir"] = ":".join(os.path.relpath(path, directory) for path in lower)
    return directory, ",".join(f"{key}={value}" if value else key for key, value in options.items())


def open_in_root(root: str, path: str, *, create: str | None = None, links: bool = True) -> int:
    """Open `path` below `root` with O_PATH and return the descriptor; the caller closes it.

    `create` is None, "directory" or "file": what to make, with its parents, where nothing is. Symbolic links, absolute
    ones too, are resolved as a process inside `root` would; without `links` they are an ELOOP, as those of /proc, which
    know no root, always are. See openat2(2), RESOLVE_IN_ROOT.
    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _open_below(top, path, create, 40, _BELOW if links else _BELOW | int(RESOLVE.NO_SYMLINKS))
    finally:
        os.close(top)


_BELOW = int(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
_PROC_SUPER_MAGIC = 0x9FA0  # linux/magic.h


def _open_below(top: int, path: str, create: str | None, links: int, resolve: int) -> int:
    try:
        return _openat2(top, path, resolve)
    except FileNotFoundError:
        parent, name = os.path.split(path.rstrip("/"))
        if create is None or not name or name in (".", ".."):
            raise
    above = _open_below(top, parent or "/", "directory", links, resolve)
    try:
        if syscalls.fstatfs_type(above) == _PROC_SUPER_MAGIC:
            # Nobody makes anything there. And by now it may have a link that was not there: /proc/self/fd/N, our own.
            return _openat2(top, path, resolve)
        if create == "directory":
            os.mkdir(name, 0o755, dir_fd=above)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=above))
    except FileExistsError:
        # A link to where nothing is yet: that is made. Or somebody else made it just now.
        with contextlib.suppress(OSError):
            path = os.path.join(parent or "/", os.readlink(name, dir_fd=above))
            if links:  # as many as the kernel follows
                return _open_below(top, path, create, links - 1, resolve)
        return _openat2(top, path, resolve)
    finally:
        os.close(above)
    return _openat2(top, path, resolve)


def _openat2(top: int, path: str, resolve: int) -> int:
    """Open it with O_PATH. While anybody renames anything, the kernel may not dare to follow a "..": EAGAIN, try again.

    Who renames without end, in a volume, gets an error in the end: never is a step left out for it.
    """
    for _ in range(128):
        with contextlib.suppress(BlockingIOError):
            return syscalls.openat2(top, path, os.O_PATH | os.O_CLOEXEC, resolve=resolve)
    return syscalls.openat2(top, path, os.O_PATH | os.O_CLOEXEC, resolve=resolve)


# For learners and for the demo: mounts that undo themselves -----------------------------------------------------------

_places = itertools.count()


@contextlib.contextmanager
def mounted(mount: Mount) -> Iterator[str]:
    """Make a mount on this host, as a ledger entry; yield its path; take it down at the end of the block."""
    path = os.path.realpath(mount.destination)
    with ledger.recorded("mount", path, make=mount._replace(destination=path).attach, undo=lambda: unmount(path)):
        yield path


def unmount(path: str) -> None:
    """Take a mount down: at once if nobody uses it, else as soon as nobody does any more. Harmless if it is gone."""
    try:
        syscalls.umount2(path)
    except OSError as error:
        if error.errno == errno.EBUSY:
            syscalls.umount2(path, MNT.DETACH)
        elif error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


@contextlib.contextmanager
def _place(target: str | None) -> Iterator[str]:
    """Yield `target`, or a new empty directory that is removed at the end."""
    if target is not None:
        yield target
        return
    import tempfile  # late: it brings half a dozen modules along, and containers need none of them

    made = os.path.join(tempfile.gettempdir(), f"labrt-{os.getpid()}-{next(_places)}")
    with ledger.recorded("directory", made, make=lambda: os.mkdir(made, 0o700), undo=lambda: os.rmdir(made)):
        yield made


@contextlib.contextmanager
def overlay(lower: Sequence[str], target: str | None = None, *, upper: str | None = None) -> Iterator[str]:
    """Unite directories into one tree, and yield its path. See the kernel's filesystems/overlayfs.rst.

    `lower` are the read-only layers, **uppermost first**, as overlayfs wants them. What is written goes to `upper`, a
    directory on a file system other than overlay; None means a tmpfs that is thrown away. `target` is where the union
    is seen; None means a new directory.
    """
    if not lower:
        raise InvalidInput("overlay: no lower directory given", remedy="an empty directory will do as the only one")
    for path in [*lower, *([upper] if upper else [])]:
        if ":" in path or "," in path or "\\" in path:
            raise InvalidInput(f"overlay: {path!r} has a ':', ',' or '\\'", remedy="name it by a symbolic link without")
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(_place(target))
        if upper is None:
            scratch = stack.enter_context(tmpfs(stack.enter_context(_place(None))))
            upper, work = os.path.join(scratch, "upper"), os.path.join(scratch, "work")
            os.mkdir(upper)
        else:
            # overlayfs renames from work to upper, so both must lie on one file system.
            work = upper.rstrip("/") + ".work"
            stack.enter_context(_work_directory(work))
        os.makedirs(work, exist_ok=True)
        # index=off: the same lower directory may be below several overlays at once, as containers' layers are.
        data = [f"lowerdir={':'.join(lower)}", f"upperdir={upper}", f"workdir={work}", "index=off"]
        from labrt.linux import userns

        if not userns.is_first():  # there overlayfs may not write its own attributes, trusted.overlay.*
            data.append("userxattr")
        yield stack.enter_context(mounted(Mount(place, "overlay", "overlay", tuple(data))))


@contextlib.contextmanager
def _work_directory(path: str) -> Iterator[None]:
    """Own overlayfs's scratch directory: in it the kernel leaves one named `work`, with a mode of 0.

    After a removal there is a file in that, too: a whiteout, of which it makes all others as links.
    """
    os.makedirs(path, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            inner = os.path.join(path, "work")
            os.chmod(inner, 0o700)  # for those who are not root
            for name in os.listdir(inner):
                os.unlink(os.path.join(inner, name))
            os.rmdir(inner)
        os.rmdir(path)


def tmpfs(target: str, *, size: str = "64m", mode: int = 0o755) -> contextlib.AbstractContextManager[str]:
    """Mount an empty file system in memory. `size` is in bytes or with k, m, g; `mode` is the root directory's."""
    return mounted(Mount(target, "tmpfs", "tmpfs", ("nosuid", "nodev", f"size={size}", f"mode={mode:o}")))


def bind(source: str, target: str, *, read_only: bool = False) -> contextlib.AbstractContextManager[str]:
    """Show `source` at `target` too, with all mounts below it; read-only, if asked, for all of them."""
    return mounted(Mount(target, "bind", source, ("rbind", *(("rro",) if read_only else ()))))


def set_propagation(path: str, word: str) -> None:
    """Say who sees mounts made below `path`: (r)private, (r)slave, (r)shared, (r)unbindable; r: all mounts below too.

    See mount_namespaces(7), "SHARED SUBTREES".
    """
    if word not in PROPAGATION:
        raise InvalidInput(f"no propagation is called {word!r}", remedy=f"one of {', '.join(PROPAGATION)}")
    syscalls.mount(None, path, None, PROPAGATION[word])
