"""A directory to work in, among labrt's own: removed at the end, with all in it, or by `labrt.reset()`.

    with lab.workspace("by-hand") as directory:         /var/lib/labrt/by-hand
        …

It lies on the disk, not in /tmp, for an overlay's upper directory may not be just anywhere. The ledger knows of it, so
that even after a kill -9 nothing stays behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator

from labrt import paths
from labrt.errors import Conflict, InvalidInput
from labrt.linux import ledger


@contextlib.contextmanager
def workspace(name: str) -> Iterator[str]:
    """Make a directory, and yield its path. Raises Conflict when there is one of this name already."""
    where = paths.default()
    path = os.path.join(where.state, name)
    taken = (where.images, where.layers, where.containers, where.volumes, where.networks, where.cache, paths.progress())
    rooms = {os.path.basename(room) for room in taken}
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name) or name in rooms:
        raise InvalidInput(f"{name!r} is no name for a workspace", remedy='a word, such as "by-hand"')
    os.makedirs(where.state, exist_ok=True)

    def make() -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise Conflict(f"there is a workspace {path} already", remedy="labrt.reset(), or another name") from None

    with ledger.recorded("directory", path, make=make, undo=lambda: shutil.rmtree(path)):
        yield path
