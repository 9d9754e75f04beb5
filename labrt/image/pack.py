"""A directory into a layer: the same tree gives the same bytes, and so the same digest.

    data = pack.create("/some/directory")              bytes of a tar archive
    pack.write("/some/directory", stream, mtime=0)      the same onto a stream

Entries are sorted, names of users left out, and with `mtime` all times are the same; nothing depends on when, where
or by whom it was made. Overlayfs's marks become the whiteouts that image layers have, so that a container's upper
directory can be packed as it is. Specification: OCI image-spec, layer.md, "Representing Changes". Notebook 12.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile  # for writing: what we write is no stranger's
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from labrt.image import lower
from labrt.image.tar import XATTR, is_kept
from labrt.image.whiteouts import OPAQUE_NAME, PREFIX

_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE, stat.S_IFIFO: tarfile.FIFOTYPE,
}  # fmt: skip


def create(directory: str, *, mtime: int | None = None, owner: tuple[int, int] | None = None) -> bytes:
    """Return an uncompressed tar archive of what is in `directory`; see `write`."""
    buffer = io.BytesIO()
    write(directory, buffer, mtime=mtime, owner=owner)
    return buffer.getvalue()


def write(
    directory: str,
    stream: IO[bytes],
    *,
    mtime: int | None = None,
    latest: int | None = None,
    owner: tuple[int, int] | None = None,
    only: Callable[[str], bool] = bool,
    removed: Iterable[str] = (),
) -> None:
    """Write an uncompressed tar archive of what is in `directory`, parents before children, sorted by name.

    `mtime` in seconds and `owner` (uid, gid) are for all entries; None takes each file's own, but no time later than
    `latest`. Sockets are left out: they mean something only to the process that made them. `only` says which names to
    write (all have one, so `bool` is all of them), `removed` for which names to write whiteouts. Whiteouts come first:
    they speak of lower layers.
    """
    first: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(removed):
            archive.addfile(_whiteout(name))
        for path, name, found in walk(directory):
            if stat.S_ISSOCK(found.st_mode) or not only(name):
                continue
            if lower.is_whiteout(found):
                archive.addfile(_whiteout(name))
                continue
            info = entry(path, name, found, mtime, owner)
            if latest is not None and info.mtime >= latest:
                info.mtime = latest
                info.pax_headers = {key: value for key, value in info.pax_headers.items() if key != "mtime"}
            same = first.setdefault((found.st_dev, found.st_ino), name)
            if same != name and not info.isdir():
                info.type, info.linkname, info.size = tarfile.LNKTYPE, same, 0
            if info.isreg():
                with open(path, "rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)
            if info.isdir() and lower.is_opaque(path):
                archive.addfile(_marker(os.path.join(name, OPAQUE_NAME)))


def walk(directory: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield path, name in the archive and status of all that is in the directory, parents first, siblings sorted."""
    todo = [(os.path.join(directory, name), name) for name in sorted(os.listdir(directory), reverse=True)]
    while todo:
        path, name = todo.pop()
        found = os.lstat(path)
        yield path, name, found
        if stat.S_ISDIR(found.st_mode):
            children = sorted(os.listdir(path), reverse=True)
            todo += [(os.path.join(path, child), os.path.join(name, child)) for child in children]


def entry(
    path: str, name: str, found: os.stat_result, mtime: int | None = None, owner: tuple[int, int] | None = None
) -> tarfile.TarInfo:
    """Describe a file for an archive, with its extended attributes; its content is to follow."""
    info = bare(name, found)
    info.uid, info.gid = owner or (info.uid, info.gid)
    info.mtime = info.mtime if mtime is None else mtime
    if info.isreg():
        info.size = found.st_size
    elif info.issym():
        info.linkname = os.readlink(path)
    exact = {"mtime": _seconds(found.st_mtime_ns)} if mtime is None and found.st_mtime_ns % 10**9 else {}
    info.pax_headers = exact if info.issym() else {**exact, **attributes(path)}
    return info


def bare(name: str, found: os.stat_result) -> tarfile.TarInfo:
    """Describe a file by its status alone: kind, mode, owner, time in whole seconds, a device's numbers."""
    info = tarfile.TarInfo(name)
    info.type = _TYPES[stat.S_IFMT(found.st_mode)]
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), found.st_mtime_ns // 10**9
    info.uid, info.gid = found.st_uid, found.st_gid
    if info.isdev():
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return info


def attributes(where: str | int) -> dict[str, str]:
    """Return the extended attributes that belong to a layer, as a pax header has them. Of a link, the link's own."""
    follow = isinstance(where, int)  # the system refuses to be told not to follow a descriptor
    keys = filter(is_kept, sorted(os.listxattr(where, follow_symlinks=follow)))
    values = {key: os.getxattr(where, key, follow_symlinks=follow) for key in keys}
    return {XATTR + key: value.decode("utf-8", "surrogateescape") for key, value in values.items()}


def _seconds(nanoseconds: int) -> str:
    """Write a time as pax does, in decimal: half a second before 1970 is -0.5, and not -1 and a half."""
    whole, fraction = divmod(abs(nanoseconds), 10**9)
    return f"{'-' if nanoseconds < 0 else ''}{whole}.{fraction:09d}"


def _whiteout(name: str) -> tarfile.TarInfo:
    parent, removed = os.path.split(name)
    return _marker(os.path.join(parent, PREFIX + removed))


def _marker(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = 0o600
    return info
