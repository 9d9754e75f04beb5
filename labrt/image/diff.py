"""What a container changed, and the layer that says so.

    changes(old, new)                  two trees compared: [Change("C", "etc"), Change("A", "etc/new"), …]
    overlay_changes(upper, old)        the same, read off overlayfs's upper directory
    write(new, changes, stream)        these changes as an uncompressed layer

Added, changed and deleted, as `docker diff` says it. Where layers are copies of each other (vfs), two trees are walked
in step and compared: type, owner, mode, times, attributes and content. Overlayfs knows by itself: whatever is in the
upper directory was written by the container, a device 0:0 there is what it removed (pack.write makes the layer of it).

Specification: OCI image-spec, layer.md, "Determining Changes". Notebook 12.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from labrt.image import lower, pack
from labrt.image.tar import is_kept

_CHUNK = 1 << 20
ADDED, CHANGED, DELETED = "A", "C", "D"


class Change(NamedTuple):
    """`kind` is "A" (added), "C" (changed) or "D" (deleted); `path` begins at the root, without a slash."""

    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind} /{self.path}"


def changes(old: str, new: str) -> list[Change]:
    """Compare two trees; return what became of `old` in `new`, sorted by path. What is below a deleted directory goes
    without saying; what is below an added one does not.
    """  # noqa: D205
    return sorted(_compare(old, new), key=lambda change: change.path.split("/"))


def _compare(old: str, new: str) -> Iterator[Change]:
    todo = [""]
    while todo:
        directory = todo.pop()
        before, after = _names(os.path.join(old, directory)), _names(os.path.join(new, directory))
        for name in before - after:
            yield Change(DELETED, os.path.join(directory, name))
        for name in after:
            path = os.path.join(directory, name)
            found = os.lstat(os.path.join(new, path))
            if name not in before:
                yield Change(ADDED, path)
            elif not _same(os.path.join(old, path), os.path.join(new, path)):
                yield Change(CHANGED, path)
            if stat.S_ISDIR(found.st_mode):
                todo.append(path)


def _names(directory: str) -> set[str]:
    """Return the names in a directory; none where there is no directory. A link to one is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if stat.S_ISDIR(os.lstat(directory).st_mode):
            return set(os.listdir(directory))
    return set()


def _same(old: str, new: str) -> bool:
    one, two = os.lstat(old), os.lstat(new)
    if _about(one) != _about(two):
        return False
    if stat.S_ISLNK(one.st_mode):
        return os.readlink(old) == os.readlink(new)
    if _attributes(old) != _attributes(new):
        return False
    # Size and time can be forged, with touch -r or cp -p, so the content has the last word.
    return not stat.S_ISREG(one.st_mode) or _same_content(old, new)


def _about(found: os.stat_result) -> tuple[int, ...]:
    about = (found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns)
    if stat.S_ISDIR(found.st_mode):
        return about
    # The number of links: a new name of an old file must be a hard link in the layer too, so both names go there.
    return (*about, found.st_nlink, found.st_size, found.st_rdev)


def _attributes(path: str) -> dict[str, bytes]:
    names = filter(is_kept, os.listxattr(path, follow_symlinks=False))
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _same_content(old: str, new: str) -> bool:
    with open(old, "rb") as one, open(new, "rb") as two:
        while True:
            left, right = one.read(_CHUNK), two.read(_CHUNK)
            if left != right:
                return False
            if not left:
                return True


# Overlayfs -----------------------------------------------------------------------------------------------------------


def overlay_changes(upper: str, old: str) -> list[Change]:
    """Read a container's changes off overlayfs's upper directory. `old` is the root of its image, to tell new from old.

    A file that was opened for writing counts as changed, whatever was written: overlayfs copied it up.
    """
    return sorted(_overlay(upper, old), key=lambda change: change.path.split("/"))


def _overlay(upper: str, old: str) -> Iterator[Change]:
    for path, name, found in pack.walk(upper):
        if lower.is_whiteout(found):
            yield Change(DELETED, name)
            continue
        there = os.path.join(old, name)
        yield Change(CHANGED if _is_there(old, name) else ADDED, name)
        if stat.S_ISDIR(found.st_mode) and lower.is_opaque(path):
            for gone in _names(there) - set(os.listdir(path)):
                yield Change(DELETED, os.path.join(name, gone))


def _is_there(root: str, name: str) -> bool:
    """Whether the root has this very path: none of its directories may be a link."""
    parts = name.split("/")
    parents = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    try:
        return all(stat.S_ISDIR(os.lstat(os.path.join(root, each)).st_mode) for each in parents) and bool(
            os.lstat(os.path.join(root, name))
        )
    except FileNotFoundError:
        return False


# Layers --------------------------------------------------------------------------------------------------------------


def write(new: str, found: Iterable[Change], stream: IO[bytes], *, latest: int | None = None) -> None:
    """Write changes as an uncompressed layer: the same bytes for the same changes. `new` is the tree after them.

    No time in it is later than `latest`, in seconds.
    """
    kinds = {change.path: change.kind for change in found}
    gone = [path for path, kind in kinds.items() if kind == DELETED]
    pack.write(new, stream, latest=latest, only=lambda name: name in kinds, removed=gone)
