"""What lower layers have at a path, where a layer is unpacked on its own, for overlayfs or AUFS.

A layer may write usr/bin/x without saying what usr and usr/bin are like, because an earlier layer did. Were they made
anew with default owner and mode, overlayfs would show those. So they are looked up below, as overlayfs merges: highest
layer first, a whiteout or an opaque directory ends the search.

See the kernel's filesystems/overlayfs.rst. Notebook 10.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from labrt.image.whiteouts import OPAQUE, OPAQUE_NAME, PREFIX


def find(lowers: Sequence[str], names: Sequence[str]) -> os.stat_result | str | None:
    """Return a directory's status, a symbolic link's target, or None for anything else. `lowers` has the highest first.

    `names` are physical: of a link, the caller follows the target and asks again.
    """
    for lower in lowers:
        path = lower
        for number, name in enumerate(names, start=1):
            # An archive can make no file .wh.NAME, so where there is one it is AUFS's mark.
            marks = (os.path.join(path, mark) for mark in (OPAQUE_NAME, PREFIX + name))
            opaque = is_opaque(path) or any(map(os.path.lexists, marks))
            path = os.path.join(path, name)
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                if opaque:
                    return None
                break
            if number == len(names) and stat.S_ISLNK(found.st_mode):
                return os.readlink(path)
            if not stat.S_ISDIR(found.st_mode):
                return None
            if number == len(names):
                return found
    return None


def is_opaque(path: str) -> bool:
    """Whether overlayfs shows nothing of the layers below this directory. Lists no attribute: one may be unreadable."""
    for name in OPAQUE:
        with contextlib.suppress(OSError):
            if os.getxattr(path, name, follow_symlinks=False) == b"y":
                return True
    return False


def is_whiteout(found: os.stat_result) -> bool:
    """Whether this is overlayfs's mark for "removed": a character device with the number 0:0."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
