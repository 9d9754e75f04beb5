"""Btrfs: subvolumes and snapshots.

    btrfs.create("/mnt/a")                a subvolume: a directory with a tree of its own
    btrfs.snapshot("/mnt/a", "/mnt/b")    the same tree under a second name, at once, whatever its size
    btrfs.delete("/mnt/b")

A snapshot shares all blocks with what it was made from. What is written in one of them later goes to new blocks, so
neither sees the other's changes: copy on write, block by block, where overlayfs copies whole files.

See btrfs-subvolume(8), the kernel's include/uapi/linux/btrfs.h, filesystems/fiemap.rst. Notebook 11.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator

from labrt.errors import InvalidInput, file_error

# _IOW(0x94, number, 4096 bytes), as x86-64 and arm64 (and all that use asm-generic/ioctl.h) put it together.
_SUBVOL_CREATE = 0x5000_940E
_SNAP_DESTROY = 0x5000_940F
_SNAP_CREATE_V2 = 0x5000_9417
_FS_INFO = 0x8400_941F  # _IOR, 1024 bytes
_FIEMAP = 0xC020_660B

# struct btrfs_ioctl_vol_args: fd, name; ..._v2: fd, transid, flags, 32 unused bytes, name.
_ARGS = struct.Struct("=q4088s")
_ARGS_V2 = struct.Struct("=qQQ32x4040s")
# struct fiemap: start, length, flags, mapped_extents, extent_count, reserved; fiemap_extent: logical, physical, length,
# 2 reserved, flags, 3 reserved.
_MAP = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQ16xI12x")
_SYNC, _LAST, _INLINE, _SHARED = 1, 0x1, 0x200, 0x2000
_EXTENTS = 256


def is_btrfs(path: str) -> bool:
    """Whether a directory is on Btrfs; False too when it is not there."""
    try:
        with _opened(path) as fd:
            fcntl.ioctl(fd, _FS_INFO, bytearray(1024))
    except OSError:
        return False
    return True


def create(path: str) -> None:
    """Make an empty subvolume. KernelError (EEXIST, ENOSPC, ENOTTY where this is no Btrfs)."""
    _call("BTRFS_IOC_SUBVOL_CREATE", _SUBVOL_CREATE, path, lambda name: _ARGS.pack(0, name))


def snapshot(source: str, path: str) -> None:
    """Make a writable snapshot of the subvolume `source`. Subvolumes in it are empty directories there. KernelError."""
    with _opened(source) as fd:
        _call("BTRFS_IOC_SNAP_CREATE_V2", _SNAP_CREATE_V2, path, lambda name: _ARGS_V2.pack(fd, 0, 0, name))


def delete(path: str) -> None:
    """Delete a subvolume with all its files, at once; the kernel frees their blocks later. KernelError (ENOENT)."""
    _call("BTRFS_IOC_SNAP_DESTROY", _SNAP_DESTROY, path, lambda name: _ARGS.pack(0, name))


def is_subvolume(path: str) -> bool:
    """Whether a path is the root of a subvolume: on Btrfs, that is the inode 256, always."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_ino == 256 and is_btrfs(path)


def _call(shown: str, number: int, path: str, arguments: object) -> None:
    above, name = os.path.split(os.path.abspath(path))
    raw = os.fsencode(name)
    if not raw or len(raw) > 255:
        raise InvalidInput(f"{path!r:.300} cannot be a subvolume's name")
    try:
        with _opened(above) as fd:
            fcntl.ioctl(fd, number, bytearray(arguments(raw)))  # type: ignore[operator]
    except OSError as error:
        raise file_error(f"{shown}({path!r})", error.errno or errno.EIO) from error


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def exclusive(path: str) -> int:
    """Return how many bytes on disk the files below `path` have for themselves: shared with no snapshot and no clone.

    Files of a few bytes lie among the metadata and count nothing.
    """
    total, todo = 0, [path]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        total += _exclusive(entry.path)
    return total


def _exclusive(path: str) -> int:
    total = start = 0
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while True:
            buffer = bytearray(_MAP.size + _EXTENTS * _EXTENT.size)
            _MAP.pack_into(buffer, 0, start, (1 << 64) - 1 - start, _SYNC, 0, _EXTENTS, 0)
            fcntl.ioctl(fd, _FIEMAP, buffer)
            count = _MAP.unpack_from(buffer)[3]
            for number in range(count):
                logical, _, length, flags = _EXTENT.unpack_from(buffer, _MAP.size + number * _EXTENT.size)
                total += 0 if flags & (_SHARED | _INLINE) else length
                start = logical + length
                if flags & _LAST:
                    return total
            if not count:
                return total
    finally:
        os.close(fd)
