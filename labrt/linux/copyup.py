"""Copying a tree of files between two open directories, where somebody else may write to the first meanwhile.

    copy_up(source, target)     both are descriptors; owners, modes, times and extended attributes come along

For `tmpcopyup`, an option of container mounts: a tmpfs that begins with the files that it hides. They may be a
volume's, in use by another container, so no name is followed twice: each file is opened once, without following
links, and what it is then is asked of the descriptor. Sockets are left out: nobody listens on a copy. See openat(2).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat


def copy_up(source: int, target: int, *, looks: bool = True) -> None:
    """Copy all that is in the directory `source` into the empty directory `target`; `looks`: and its owner and mode."""
    _copy_entries(source, target)
    if looks:
        _copy_looks(source, target, os.fstat(source))


def _copy_entries(source: int, target: int) -> None:
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for name in os.listdir(reading):
            with contextlib.suppress(FileNotFoundError):  # it has gone since
                _copy(name, reading, target)
    finally:
        os.close(reading)


def _copy(name: str, source: int, target: int) -> None:
    info = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
    elif kind in (stat.S_IFREG, stat.S_IFDIR):
        _copy_opened(name, source, target, kind == stat.S_IFDIR)
    elif kind != stat.S_IFSOCK:
        os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=target)


def _copy_opened(name: str, source: int, target: int, directory: bool) -> None:
    # O_NONBLOCK: should it have become a FIFO meanwhile, nobody would ever write to it.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_DIRECTORY if directory else 0)
    old = os.open(name, flags, dir_fd=source)
    try:
        if directory:
            os.mkdir(name, 0o700, dir_fd=target)
            new = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
        else:
            new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            if directory:
                _copy_entries(old, new)
            else:
                with open(old, "rb", closefd=False) as reader, open(new, "wb", closefd=False) as writer:
                    shutil.copyfileobj(reader, writer, 1 << 20)
            _copy_looks(old, new, os.fstat(old))
        finally:
            os.close(new)
    finally:
        os.close(old)


def _copy_looks(old: int, new: int, info: os.stat_result) -> None:
    """Give a copy its owner, mode, attributes and times, in the order in which one would undo another."""
    # Through /proc: the descriptors may be O_PATH, which fchown(2) and its like refuse.
    path, of = f"/proc/self/fd/{new}", f"/proc/self/fd/{old}"
    os.chown(path, info.st_uid, info.st_gid)
    os.chmod(path, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(of):
        with contextlib.suppress(OSError):  # tmpfs has no user.* before Linux 6.6
            os.setxattr(path, name, os.getxattr(of, name))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
