"""What a container changed, and the layer that says so.

    changes(old, new)                  two trees compared: [Change("C", "etc"), Change("A", "etc/new"), …]
    overlay_changes(upper, old, new)   the same, looked for where overlayfs's upper directory has something
    write(new, changes, stream)        these changes as an uncompressed layer

Added, changed and deleted, as `docker diff` says it. Two trees are walked in step and compared: type, owner, mode,
times, attributes and content. Overlayfs knows where to look, for whatever a container touched is in its upper
directory. So the layer has the same bytes on every storage driver, and with it the same digest.

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

    A directory in which something changed counts as changed, too, as it does for docker: a layer that did not have it
    would be unpacked by others with a directory of their own making.
    """  # noqa: D205
    return _complete(_compare(old, new))


def overlay_changes(upper: str, old: str, new: str) -> list[Change]:
    """Return the same for a container on overlayfs, without reading all of both trees: `upper` has all that it touched.

    It may hold more than what changed: a file that was only opened for writing, too.
    """
    return _complete(_compare(old, new, upper))


def _complete(found: Iterable[Change]) -> list[Change]:
    known = {change.path: change for change in found}
    for path in [*known]:
        while (path := os.path.dirname(path)) and path not in known:
            known[path] = Change(CHANGED, path)
    return sorted(known.values(), key=lambda change: change.path.split("/"))


def _compare(old: str, new: str, touched: str = "") -> Iterator[Change]:
    todo = [("", True)]
    while todo:
        directory, known = todo.pop()
        # Not where another thing was: a link there would lead elsewhere.
        before = _names(os.path.join(old, directory)) if known else set()
        after = _names(os.path.join(new, directory))
        for name in before - after:
            path = os.path.join(directory, name)
            if not lower.is_whiteout(os.lstat(os.path.join(old, path))):  # overlayfs's mark, in a layer seen by itself
                yield Change(DELETED, path)
        for name in after & _names(os.path.join(touched, directory)) if touched else after:
            path = os.path.join(directory, name)
            if name not in before:
                yield Change(ADDED, path)
            elif not _same(os.path.join(old, path), os.path.join(new, path)):
                yield Change(CHANGED, path)
            if stat.S_ISDIR(os.lstat(os.path.join(new, path)).st_mode):
                todo.append((path, name in before and stat.S_ISDIR(os.lstat(os.path.join(old, path)).st_mode)))


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
    # A new name of an old file must be a hard link in the layer too, so both names go there. That a name went says "D".
    if not stat.S_ISDIR(two.st_mode) and one.st_nlink < two.st_nlink:
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
    return (*about, found.st_size, found.st_rdev)


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


# Layers --------------------------------------------------------------------------------------------------------------


def write(new: str, found: Iterable[Change], stream: IO[bytes], *, latest: int | None = None) -> None:
    """Write changes as an uncompressed layer: the same bytes for the same changes. `new` is the tree after them.

    No time in it is later than `latest`, in seconds.
    """
    kinds = {change.path: change.kind for change in found}
    gone = [path for path, kind in kinds.items() if kind == DELETED]
    pack.write(new, stream, latest=latest, only=lambda name: name in kinds, removed=gone)
