"""The vfs driver: every layer is a full copy of the one below, changed in place; a container is one more copy.

Slow and large, and right on any file system: nothing is asked of the kernel but a bind mount. It is what the others are
measured against, and the plainest answer to the question what a storage driver must do. See copy_file_range(2).
Notebook 11.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labrt.image.digest import Digest
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage.copy import copy_tree
from labrt.storage.directories import Directories

if TYPE_CHECKING:
    from labrt.image.compression import Readable
    from labrt.image.layer import Applied


class Vfs(Directories):
    """Layers as full copies."""

    name = "vfs"

    @staticmethod
    def can_use(paths: Paths) -> str | None:
        """Return None when the layers' directory can be written, else the reason why not. It is tried."""
        probe = os.path.join(paths.layers, f".try-{os.urandom(4).hex()}")
        try:
            os.makedirs(probe)
            os.rmdir(probe)
        except OSError as error:
            return str(error)
        return None

    def _unpack(self, target: str, below: Sequence[Digest], stream: Readable) -> Applied:
        from labrt.storage import unpacking

        self._copy(target, below)
        return unpacking.apply(stream, target, whiteouts="delete")

    def _make_root(self, container: str, chain_ids: Sequence[Digest]) -> None:
        # Copied beside, then renamed: `mounts` of a half-copied root would start a container with half its files.
        self._copy(os.path.join(container, "copying"), chain_ids)
        os.rename(os.path.join(container, "copying"), os.path.join(container, "root"))

    def _mounts(self, container: str, chain_ids: Sequence[Digest]) -> list[Mount]:
        return [Mount("/", "bind", os.path.join(container, "root"), ("bind",))]

    def _copy(self, target: str, chain_ids: Sequence[Digest]) -> None:
        if chain_ids:
            copy_tree(self.diff(chain_ids[-1]), target)
        else:
            os.mkdir(target, 0o755)
            os.chmod(target, 0o755)  # whatever the umask says
