"""A faithful copy of a tree: owners, modes, times, extended attributes, hard links, links, devices and FIFOs.

    copy_tree("/layers/a/diff", "/layers/b/diff")

Single names relative to open directories only, so that a link in the tree is copied and never followed. The bytes go
from file to file inside the kernel, copy_file_range(2), and where the file system can it shares them instead.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from labrt.errors import file_error
from labrt.image.tar import is_kept

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 30
_NO_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def copy_tree(source: str, target: str) -> None:
    """Copy the directory `source` to `target`, which must not exist. As root, owners and devices too. KernelError."""
    os.mkdir(target, 0o700)
    there, here = os.open(source, _DIRECTORY), os.open(target, _DIRECTORY)
    try:
        _Copy(here).directory(there, here, "")
    except OSError as error:
        raise file_error(f"copying {source} to {target}", error.errno or errno.EIO) from error
    finally:
        os.close(there)
        os.close(here)


def copy_node(source: str, target: str) -> None:
    """Copy one thing that is no directory to `target`, which must not exist; a link as a link. OSError.

    The parents of both are trusted. Other names of the file stay with it: the copy has only this one.
    """
    (above, name), (there, new) = os.path.split(source), os.path.split(target)
    with _opened(above, _DIRECTORY) as from_fd, _opened(there, _DIRECTORY) as to_fd:
        found = os.stat(name, dir_fd=from_fd, follow_symlinks=False)
        copy = _Copy(to_fd)
        (copy.file if stat.S_ISREG(found.st_mode) else copy.special)(from_fd, to_fd, name, found, new)


def copy_attributes(source: str, target: str) -> None:
    """Give the directory `target` the owner, mode, extended attributes and times of another. OSError."""
    with _opened(source, _DIRECTORY) as there, _opened(target, _DIRECTORY) as here:
        found = os.fstat(there)
        _Copy(here).attributes(there, here, found)
        os.utime(here, ns=(found.st_atime_ns, found.st_mtime_ns))


class _Copy:
    """One copy under way. `links` says where a file with several names has got its first."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.links: dict[tuple[int, int], str] = {}
        self.as_root = os.geteuid() == 0  # in a user namespace only mapped ids were ever given

    def directory(self, there: int, here: int, path: str) -> None:
        """Copy what is in an open directory, then its own attributes. Layers are at most 256 levels deep."""
        for name in os.listdir(there):
            found = os.stat(name, dir_fd=there, follow_symlinks=False)
            inner = os.path.join(path, name)
            if stat.S_ISDIR(found.st_mode):
                os.mkdir(name, 0o700, dir_fd=here)
                with _opened(name, _DIRECTORY, there) as inner_there, _opened(name, _DIRECTORY, here) as inner_here:
                    self.directory(inner_there, inner_here, inner)
                continue
            first = self.links.setdefault((found.st_dev, found.st_ino), inner) if found.st_nlink > 1 else inner
            if first != inner:
                os.link(first, name, src_dir_fd=self.root, dst_dir_fd=here, follow_symlinks=False)
            elif stat.S_ISREG(found.st_mode):
                self.file(there, here, name, found)
            else:
                self.special(there, here, name, found)
        found = os.fstat(there)
        self.attributes(there, here, found)
        os.utime(here, ns=(found.st_atime_ns, found.st_mtime_ns))

    def file(self, there: int, here: int, name: str, found: os.stat_result, new: str | None = None) -> None:
        """Copy a regular file; `new` is its name here if it gets another."""
        with (
            _opened(name, os.O_RDONLY, there) as source,
            _opened(new or name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, here) as target,
        ):
            _copy_bytes(source, target)
            self.attributes(source, target, found)
            os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))

    def special(self, there: int, here: int, name: str, found: os.stat_result, new: str | None = None) -> None:
        """Copy a symbolic link, a device, a FIFO or a socket."""
        target, name = os.readlink(name, dir_fd=there) if stat.S_ISLNK(found.st_mode) else "", new or name
        if stat.S_ISLNK(found.st_mode):
            os.symlink(target, name, dir_fd=here)
        else:
            os.mknod(name, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev, dir_fd=here)
        if self.as_root:
            os.chown(name, found.st_uid, found.st_gid, dir_fd=here, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=here)
        os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=here, follow_symlinks=False)

    def attributes(self, there: int, here: int, found: os.stat_result) -> None:
        """Owner first: chown takes the set-user-ID bit and file capabilities away."""
        if self.as_root:
            os.chown(here, found.st_uid, found.st_gid)
        os.chmod(here, stat.S_IMODE(found.st_mode))
        for key in filter(is_kept, os.listxattr(there)):
            os.setxattr(here, key, os.getxattr(there, key))


@contextlib.contextmanager
def _opened(name: str, flags: int, directory: int | None = None) -> Iterator[int]:
    fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _copy_bytes(source: int, target: int) -> None:
    """Copy a file's content. Holes stay holes: a layer of a few bytes may have gigabytes of them."""
    found = os.fstat(source)
    if found.st_blocks * 512 >= found.st_size:
        _copy_range(source, target, found.st_size)
        return
    end = 0
    while (start := _next_data(source, end)) is not None:
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(target, start, os.SEEK_SET)
        _copy_range(source, target, end - start)
    os.truncate(target, found.st_size)


def _next_data(source: int, offset: int) -> int | None:
    try:
        return os.lseek(source, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a hole up to the end, or the end itself
            return None
        raise


def _copy_range(source: int, target: int, size: int) -> None:
    """Copy so many bytes (fewer where the file ends before) from where both descriptors stand."""
    try:
        while size and (copied := os.copy_file_range(source, target, min(size, _CHUNK))):
            size -= copied
    except OSError as error:
        if error.errno not in _NO_RANGE:
            raise
        # This file system or kernel cannot: the descriptors stand where it stopped, so go on by hand from there.
        while size and (data := os.read(source, min(size, 1 << 20))):
            size -= len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
