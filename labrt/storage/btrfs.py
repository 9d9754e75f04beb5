"""The btrfs driver: a layer is a snapshot of the one below, changed in place; a container is one more snapshot.

    layers/btrfs/disk                where the layers' place is on another file system: a sparse file with a Btrfs in it
    layers/<hex>/diff                a subvolume, with all the files of its own and of the layers below
    containers/<id>/root             a subvolume: what the container sees

Like vfs, but copies cost nothing, and what two trees have in common is on the disk once. The file is mounted by nobody
on the host: this process has a mount that is attached nowhere, behind a descriptor, and each container has its own. It
has a loop device as long as one of these is open. See btrfs(5), loop(4), labrt/linux/btrfs.py. Notebook 11.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labrt.image import files
from labrt.image.digest import Digest
from labrt.linux import btrfs, fscontext, ledger
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage import disks
from labrt.storage.directories import Directories, noted
from labrt.storage.workshop import is_host_root

if TYPE_CHECKING:
    from labrt.image.compression import Readable
    from labrt.image.layer import Applied


class Btrfs(Directories):
    """Layers as snapshots."""

    name = "btrfs"
    size: int | None = None  # of the disk that is made, in bytes; None: what suits the room that there is

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths)
        self.disk = os.path.join(self.place, "disk")
        self.ledger = paths.ledger
        self._mount: int | None = None

    @staticmethod
    def can_use(paths: Paths) -> str | None:
        """Return None when it works here, else what is missing: of the kernel, of this user, or a program."""
        if not is_host_root():
            return "it wants root, to mount a file system on a device"
        if not fscontext.known("btrfs"):
            return "this kernel has no btrfs (nor its module)"
        if btrfs.is_btrfs(disks.existing(paths.layers)):
            return None
        return disks.can_make("mkfs.btrfs", "btrfs-progs")

    # The disk ---------------------------------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """Where layers, containers and building are: a path through our own mount, if they are on a disk in a file."""
        if self._mount is None and os.path.exists(self.disk):
            self._mount = self._open()
        return self.place if self._mount is None else f"/proc/self/fd/{self._mount}"

    def _open(self) -> int:
        # The loop device goes with the mount, and that with us: the entry is only there so that nobody has to wonder.
        entry = ledger.record("loop", self.disk, directory=self.ledger)
        try:
            mount = Mount("/", "btrfs", self.disk, ("loop",)).open()
        except BaseException:
            ledger.strike(entry)
            raise
        weakref.finalize(self, _close, mount, entry)
        return mount

    def _make(self) -> None:
        os.makedirs(self.place, 0o700, exist_ok=True)
        if not btrfs.is_btrfs(self.place) and not os.path.exists(self.disk):
            with files.locked(os.path.join(self.place, ".disk")):
                if not os.path.exists(self.disk):
                    self._make_disk()
        super()._make()

    def _make_disk(self) -> None:
        """Make a file with a file system in it. It is sparse: it takes the room of what is in it, not of its size."""
        new = f"{self.disk}.new"
        disks.make(new, self.size or disks.size(self.place))
        try:
            disks.make_file_system(["mkfs.btrfs", "-q", "-f", "-L", "labrt", new], beside=self.place)
            os.rename(new, self.disk)
        except BaseException:
            os.unlink(new)
            raise

    # The contract -----------------------------------------------------------------------------------------------------

    def _unpack(self, target: str, below: Sequence[Digest], stream: Readable) -> Applied:
        from labrt.storage import unpacking

        self._snapshot(target, below)
        applied = unpacking.apply(stream, target, whiteouts="delete")
        # Later, when others stand on it, nothing of it is its own any more: now is the time to look.
        files.replace(os.path.join(os.path.dirname(target), "size"), str(btrfs.exclusive(target)).encode())
        return applied

    def _make_root(self, container: str, chain_ids: Sequence[Digest]) -> None:
        self._snapshot(os.path.join(container, "root"), chain_ids)

    def _snapshot(self, target: str, chain_ids: Sequence[Digest]) -> None:
        if chain_ids:
            btrfs.snapshot(self.diff(chain_ids[-1]), target)
        else:
            btrfs.create(target)
            os.chmod(target, 0o755)  # whatever the umask says

    def _mounts(self, container: str, chain_ids: Sequence[Digest]) -> list[Mount]:
        root = os.path.join(container, "root")
        if self._mount is None:
            return [Mount("/", "bind", root, ("bind",))]
        return [Mount("/", "btrfs", self.disk, ("loop", f"subvol=/{os.path.relpath(root, self.root)}"))]

    def _undo(self, building: str) -> None:
        for name in ("diff", "root"):
            if btrfs.is_subvolume(os.path.join(building, name)):
                btrfs.delete(os.path.join(building, name))

    def usage(self, what: Digest | str) -> int:
        """Return how many bytes of disk a layer takes beyond those below, or a container beyond its image."""
        path = self._existing(what)
        size = noted(os.path.join(path, "size")) if isinstance(what, Digest) else None
        return btrfs.exclusive(path) if size is None else size


def _close(mount: int, entry: ledger.Entry) -> None:
    with contextlib.suppress(OSError):
        os.close(mount)
    if entry.made_by == os.getpid():  # a child that was forked has a copy of the descriptor, and no business here
        ledger.strike(entry)
