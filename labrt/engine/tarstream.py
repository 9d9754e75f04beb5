"""Files into a tar stream and out of it again, while somebody may be changing them: the two ends of `cp`.

    pack("/etc", "etc", stream)             etc/, etc/passwd, …
    unpack(stream, "/dest", owners=False)

Neither end trusts the other, nor what lies in its own directory. What is packed keeps the size that its head promises,
whatever is written to it meanwhile; what is unpacked is opened step by step with openat2(2), so that no name and no
symbolic link, not even one that was unpacked just before, leads out of the destination. What a name would replace is
removed first and made anew: so nobody writes through a link that stands in its place. What becomes ours loses its
set-user-ID bits and capabilities: they were not meant for us.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import shutil
import stat
import tarfile
from typing import BinaryIO

from labrt.errors import Conflict, InvalidInput
from labrt.image import pack as packing
from labrt.image.tar import XATTR, is_kept
from labrt.linux import syscalls
from labrt.linux.flags import RESOLVE

for _name in ("ascii", "iso8859-1", "utf-8"):
    codecs.lookup(_name)  # now: where this may be called, nothing can be imported any more

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class _Exactly:
    """A file that has the size it had: cut off if it grows, filled up with zeros if it shrinks."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        data += bytes(min(size, self._left) - len(data))
        self._left -= len(data)
        return data


def pack(path: str, name: str, stream: BinaryIO, *, follow: bool = False) -> None:
    """Write a file, or a directory with all in it, under this name; "." is a directory's content alone.

    With `follow` a symbolic link at `path` is followed. Sockets are left out: nobody would listen to them.
    """
    found = os.stat(path) if follow or name == "." else os.lstat(path)
    first: dict[tuple[int, int], str] = {}  # where a file with several names was met
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        if name != ".":
            _add(archive, path, name, found, first, follow=follow)
        if stat.S_ISDIR(found.st_mode):
            for below, relative, status in packing.walk(path):
                with contextlib.suppress(FileNotFoundError):  # it was removed just now
                    _add(archive, below, os.path.normpath(os.path.join(name, relative)), status, first)


def _add(
    archive: tarfile.TarFile, path: str, name: str, found: os.stat_result, first: dict[tuple[int, int], str],
    *, follow: bool = False,
) -> None:  # fmt: skip
    if stat.S_ISSOCK(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        archive.addfile(packing.entry(path, name, found))
        return
    # NONBLOCK: if a FIFO has come in its place, we do not wait for who writes to it.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:  # a link has come in its place: it is not what was meant
            return
        raise
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return
        info = packing.entry(path, name, status)
        same = first.setdefault((status.st_dev, status.st_ino), name) if status.st_nlink > 1 else name
        if same != name:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, same, 0
        archive.addfile(info, _Exactly(file, info.size))  # type: ignore[arg-type]


def unpack(stream: BinaryIO, directory: str, *, owners: bool = False, owner: tuple[int, int] | None = None) -> None:
    """Unpack into a directory that exists. `owners`: keep them, else all is `owner`'s (None: ours, see above).

    Raises InvalidInput when it is no tar archive, or a name leads out; Conflict where a directory would replace
    something else, or be replaced.
    """
    top = os.open(directory, _STEP)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            made = [(info, _unpack_one(archive, info, top, owners, owner)) for info in archive]
            later = [(info, name) for info, name in made if name]
        for info, name in reversed(later):  # what is put into a directory changes its time
            fd = syscalls.openat2(top, name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, RESOLVE.IN_ROOT)
            os.utime(fd, (info.mtime, info.mtime))
            os.close(fd)
    except tarfile.TarError as error:
        raise InvalidInput(f"this is no tar archive: {error}", remedy="plain, that is: `gunzip -c FILE | …`") from None
    finally:
        os.close(top)


def _unpack_one(
    archive: tarfile.TarFile, info: tarfile.TarInfo, top: int, owners: bool, owner: tuple[int, int] | None
) -> str | None:
    """Make one; return a directory's name, for its time must be set when all is in it."""
    name = os.path.normpath(info.name.lstrip("/") or ".")
    if name.startswith("../") or name == "..":
        raise InvalidInput(f"{info.name!r:.200} leads out of the archive", remedy="do not trust whoever made it")
    if name == ".":
        return None
    parent, leaf = os.path.split(name)
    above = _directory(top, parent)
    try:
        _make(archive, info, top, above, leaf)
        if info.islnk():  # all else is its first name's already; and that may be a symbolic link
            return None
        if owners or owner:
            uid, gid = (info.uid, info.gid) if owners else owner or (-1, -1)
            os.chown(leaf, uid, gid, dir_fd=above, follow_symlinks=False)
        if not info.issym():
            _finish(info, above, leaf, powers=bool(owners or owner))
    finally:
        os.close(above)
    return name if info.isdir() else None


def _directory(top: int, path: str) -> int:
    """Open a directory below `top`, made if it is not there."""
    try:
        return syscalls.openat2(top, path or ".", _STEP, 0, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
    except FileNotFoundError:
        parent, leaf = os.path.split(path)
        above = _directory(top, parent)
        try:
            os.mkdir(leaf, 0o755, dir_fd=above)
        finally:
            os.close(above)
        return _directory(top, path)


def _make(archive: tarfile.TarFile, info: tarfile.TarInfo, top: int, above: int, leaf: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        is_directory = stat.S_ISDIR(os.stat(leaf, dir_fd=above, follow_symlinks=False).st_mode)
        if is_directory and info.isdir():
            return
        if is_directory or info.isdir():
            there = "a directory" if is_directory else "something else"
            raise Conflict(f"{info.name!r:.200}: {there} is in its place", remedy="remove that first")
        os.unlink(leaf, dir_fd=above)
    if info.isdir():
        os.mkdir(leaf, 0o700, dir_fd=above)
    elif info.issym():
        os.symlink(info.linkname, leaf, dir_fd=above)
    elif info.islnk():
        source, old = os.path.split(os.path.normpath(info.linkname.lstrip("/")))
        beside = _directory(top, source)
        try:
            os.link(old, leaf, src_dir_fd=beside, dst_dir_fd=above, follow_symlinks=False)
        finally:
            os.close(beside)
    elif info.isfile():
        content = archive.extractfile(info)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(leaf, flags, 0o600, dir_fd=above), "wb") as file:
            if content is not None:
                shutil.copyfileobj(content, file, 1 << 20)
    elif info.isfifo():
        os.mkfifo(leaf, 0o600, dir_fd=above)
    else:
        kind = stat.S_IFBLK if info.isblk() else stat.S_IFCHR
        os.mknod(leaf, kind | info.mode & 0o777, os.makedev(info.devmajor, info.devminor), dir_fd=above)


def _finish(info: tarfile.TarInfo, above: int, leaf: str, *, powers: bool) -> None:
    """Set mode, attributes and time: after the owner, whose change takes set-user-ID bits away.

    By a descriptor, for chmod(2) follows a link that has come in the file's place. A device is not opened: it has its
    mode from the start. Without `powers`, what would give somebody else's program ours is left out.
    """
    if not (info.isfile() or info.isdir() or info.isfifo()):
        return
    fd = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
    try:
        os.fchmod(fd, info.mode & (0o7777 if powers else 0o1777))
        if info.isfifo():
            return
        for header, value in info.pax_headers.items():
            key = header.removeprefix(XATTR)
            if header.startswith(XATTR) and is_kept(key) and (powers or key != "security.capability"):
                os.setxattr(fd, key, value.encode("utf-8", "surrogateescape"))
        os.utime(fd, (info.mtime, info.mtime))
    finally:
        os.close(fd)
