"""The program behind an AUFS root: FUSE asks, aufs_rules.py knows. One process per mount, gone with the mount.

    python -m labrt.storage.aufs_server FD LEDGER UPPER LAYER…       FD: /dev/fuse, mounted already; highest first

libfuse turns the kernel's questions into one method call each, with the path below the root. A single thread answers
them one after the other, so that between a look and a deed nobody changes anything: two rules never meet half-way.
The library is mfusepy: alive, one file of plain Python for all of 3.11 to 3.14, over Debian's libfuse3; pyfuse3 has no
wheels, and would have to be compiled on every student's machine.

Not as in a kernel's file system: who opened a lower file for reading before it was copied up goes on reading the lower
one (overlayfs is the same), hard links part at copy-up, and rename(2) can exchange nothing.
See fuse(4), the kernel's filesystems/fuse.rst, libfuse's fuse.h. Notebook 11.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any

from labrt.storage.aufs_rules import Union

# In utimensat(2)'s nanoseconds: "now" and "leave as it is".
_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2
_FIELDS = ("mode", "ino", "nlink", "uid", "gid", "size", "rdev", "blocks", "blksize")
_UNKNOWN = 0xFFFF_FFFF
# What says what to do with a descriptor, and not with a name: O_CREAT and the like have been seen to already.
_OPEN_KEPT = os.O_ACCMODE | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_SYNC | os.O_DSYNC


class AufsOperations:
    """libfuse's questions, in the order of fuse.h. Each returns, or raises OSError with the errno to answer."""

    use_ns = True

    def __init__(self, union: Union, who: Callable[[], tuple[int, int, int]]) -> None:
        self.union = union
        self.who = who
        self.directories: dict[int, str] = {}
        self.next_directory = 0

    # Looking

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, Any]:
        """stat(2)."""
        found = os.fstat(fh) if fh is not None else self.union.find(path or "/").status
        status = {f"st_{field}": getattr(found, f"st_{field}") for field in _FIELDS}
        return status | {f"st_{kind}time": getattr(found, f"st_{kind}time_ns") for kind in "amc"}

    def readlink(self, path: str) -> str:
        """readlink(2)."""
        return os.readlink(self.union.find(path).path)

    def opendir(self, path: str) -> int:
        """opendir(3): remember which directory it was."""
        self.next_directory += 1
        self.directories[self.next_directory] = path
        return self.next_directory

    def readdir(self, path: str | None, fh: int) -> list[tuple[str, dict[str, int], int]]:
        """readdir(3). An inode number of 0 would say that there is no such entry."""
        entries = {".": _UNKNOWN, "..": _UNKNOWN} | self.union.entries(self.directories[fh])
        return [(name, {"st_ino": number, "st_mode": 0}, 0) for name, number in entries.items()]

    def releasedir(self, path: str | None, fh: int) -> int:
        """closedir(3)."""
        del self.directories[fh]
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        """statfs(2): the room is that of the branch which is written to."""
        found = os.statvfs(self.union.branches[0])
        names = ("bavail", "bfree", "blocks", "bsize", "favail", "ffree", "files", "flag", "frsize", "namemax")
        return {f"f_{name}": getattr(found, f"f_{name}") for name in names}

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """getxattr(2), of a link the link's own."""
        return os.getxattr(self.union.find(path).path, name, follow_symlinks=False)

    def listxattr(self, path: str) -> list[str]:
        """listxattr(2)."""
        return os.listxattr(self.union.find(path).path, follow_symlinks=False)

    # Open files

    def open(self, path: str, flags: int) -> int:
        """open(2) of what is there: for writing, in the highest branch."""
        writes = flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC
        real = self.union.copy_up(path) if writes else self.union.find(path).path
        return os.open(real, flags & (_OPEN_KEPT | os.O_TRUNC) | os.O_NOFOLLOW | os.O_CLOEXEC)

    def create(self, path: str, mode: int, flags: int) -> int:
        """open(2) with O_CREAT of what is not there."""
        real = self.union.upper(path)
        fd = os.open(real, flags & _OPEN_KEPT | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._own(real, mode)
            self.union.reveal(path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        """pread(2)."""
        return os.pread(fh, size, offset)

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        """pwrite(2)."""
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        """truncate(2) and ftruncate(2)."""
        os.truncate(fh if fh is not None else self.union.copy_up(path or "/"), length)
        return 0

    def flush(self, path: str | None, fh: int) -> int:
        """close(2) of one of maybe several descriptors."""
        os.close(os.dup(fh))  # an error that the file system kept for close(2) comes now
        return 0

    def release(self, path: str | None, fh: int) -> int:
        """close(2) of the last one."""
        os.close(fh)
        return 0

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        """fsync(2)."""
        (os.fdatasync if datasync else os.fsync)(fh)
        return 0

    # New names

    def mknod(self, path: str, mode: int, dev: int) -> int:
        """mknod(2), for regular files, too."""
        real = self.union.upper(path)
        os.mknod(real, stat.S_IFMT(mode) | 0o600, dev)
        return self._new(path, real, mode)

    def mkdir(self, path: str, mode: int) -> int:
        """mkdir(2)."""
        real = self.union.make_directory(path, 0o700)
        self._own(real, stat.S_IFDIR | mode)
        return 0

    def symlink(self, path: str, target: str) -> int:
        """symlink(2)."""
        real = self.union.upper(path)
        os.symlink(target, real)
        return self._new(path, real, None)

    def link(self, path: str, source: str) -> int:
        """link(2): both names are in the highest branch then."""
        os.link(self.union.copy_up(source), self.union.upper(path), follow_symlinks=False)
        self.union.reveal(path)
        return 0

    def rename(self, old: str, new: str) -> int:
        """rename(2)."""
        self.union.rename(old, new)
        return 0

    def unlink(self, path: str) -> int:
        """unlink(2)."""
        self.union.remove_file(path)
        return 0

    def rmdir(self, path: str) -> int:
        """rmdir(2)."""
        self.union.remove_directory(path)
        return 0

    def _new(self, path: str, real: str, mode: int | None) -> int:
        self._own(real, mode)
        self.union.reveal(path)
        return 0

    def _own(self, real: str, mode: int | None) -> None:
        """Make it the caller's, as the kernel would: below a set-group-ID directory it has that one's group."""
        uid, gid, _ = self.who()
        above = os.lstat(os.path.dirname(real))
        inherits = above.st_mode & stat.S_ISGID
        os.chown(real, uid, above.st_gid if inherits else gid, follow_symlinks=False)
        if mode is not None:
            os.chmod(real, stat.S_IMODE(mode) | (stat.S_ISGID if inherits and stat.S_ISDIR(mode) else 0))

    # Changed attributes

    def chmod(self, path: str, mode: int) -> int:
        """chmod(2)."""
        os.chmod(self.union.copy_up(path), stat.S_IMODE(mode))
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """lchown(2)."""
        os.chown(self.union.copy_up(path), uid, gid, follow_symlinks=False)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """utimensat(2)."""
        real = self.union.copy_up(path)
        if times is not None:
            import time

            found = os.lstat(real)
            usual = (found.st_atime_ns, found.st_mtime_ns)
            times = (_instant(times[0], usual[0], time.time_ns()), _instant(times[1], usual[1], time.time_ns()))
            os.utime(real, ns=times, follow_symlinks=False)
        else:
            os.utime(real, follow_symlinks=False)
        return 0

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> int:
        """setxattr(2)."""
        os.setxattr(self.union.copy_up(path), name, value, options, follow_symlinks=False)
        return 0

    def removexattr(self, path: str, name: str) -> int:
        """removexattr(2)."""
        os.removexattr(self.union.copy_up(path), name, follow_symlinks=False)
        return 0

    def destroy(self, path: str) -> None:
        """Nothing to do: everything has been written through."""


def _instant(wanted: int, usual: int, now: int) -> int:
    return {_NOW: now, _OMIT: usual}.get(wanted, wanted)


def _leave_mounts() -> None:
    """Move to a mount namespace without the mounts of this kind: we would keep them, and so ourselves, for ever."""
    from labrt.linux import mounts, procfs, syscalls
    from labrt.linux.flags import CLONE, MNT

    syscalls.unshare(CLONE.NEWNS)
    mounts.set_propagation("/", "rprivate")
    for mount in procfs.mountinfo():
        if mount.fstype == "fuse.aufs":
            with contextlib.suppress(OSError):
                syscalls.umount2(mount.mount_point, MNT.DETACH)


def main(arguments: Sequence[str]) -> int:
    """Serve until the file system is gone. Returns 0, or 1 when libfuse could not."""
    from labrt.linux import ledger, process

    device, place, *branches = arguments
    entry = ledger.record("process", str(os.getpid()), directory=place, starttime=str(process.start_time() or 0))
    try:
        _leave_mounts()
        os.umask(0)
        _serve(int(device), branches)
    except RuntimeError:  # what mfusepy says about libfuse's exit status
        return 1
    finally:
        ledger.strike(entry)
    return 0


def _serve(device: int, branches: Sequence[str]) -> None:
    os.environ["FUSE_LIBRARY_NAME"] = "fuse3"  # where libfuse 2 is installed, too, mfusepy would take that
    import mfusepy

    class Fuse(mfusepy.FUSE):  # type: ignore[misc]
        def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
            """renameat2(2). RENAME_NOREPLACE the kernel has seen to; to exchange is more than we can."""
            return -errno.EINVAL if flags & ~1 else self.rename_fuse_2(old, new)

    operations = AufsOperations(Union(branches), mfusepy.fuse_get_context)
    # use_ino: inode numbers are the branches' own. attr_timeout=0: two names of one file are two files to the kernel
    # here, and what it remembers of one would be wrong as soon as the other is changed.
    Fuse(operations, f"/dev/fd/{device}", foreground=True, nothreads=True, use_ino=True, attr_timeout=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
