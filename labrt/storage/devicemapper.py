"""The devicemapper driver: a layer is a disk of its own, a thin snapshot of the disk below; a container is one more.

    layers/devicemapper/{data,metadata}      sparse files, each a loop device: what the pool is made of
    layers/<hex>/device                      the number of a layer's disk in the pool
    containers/<id>/device                   that of a container's

A snapshot shares all blocks (of 64 KiB) with what it was made from, until one of both writes. Each disk has a file
system, ext4, so a container does not share the page cache with another: what it costs to know nothing of files.

Disks are only there while somebody uses them: a layer's while it is unpacked, a container's from its first `mounts` to
its removal. The pool goes with the last of them, and its loop devices with it. See linux/devmapper.py, notebook 11.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from labrt.errors import Conflict, NotFound
from labrt.image import files
from labrt.image.digest import Digest
from labrt.linux import devmapper, fscontext, ledger, loop
from labrt.linux.devmapper import Target
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage import disks
from labrt.storage.directories import Directories, noted
from labrt.storage.workshop import is_host_root

if TYPE_CHECKING:
    from labrt.image.compression import Readable
    from labrt.image.layer import Applied

BASE = 0  # the disk that all others come from: an empty file system
BLOCK = 128  # sectors: 64 KiB, the least that a pool gives
METADATA = 128 << 20  # bytes; sparse, too


class DeviceMapper(Directories):
    """Layers as thin snapshots."""

    name = "devicemapper"
    size: int | None = None  # of the pool, in bytes; None: what suits the room that there is
    disk_size = 10 << 30  # of each disk, in bytes; only what is written takes room

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths)
        self.ledger = paths.ledger
        # So that two labrts on one machine do not meet.
        self.prefix = f"labrt-{hashlib.sha256(os.path.realpath(self.place).encode()).hexdigest()[:12]}"
        self.pool = f"{self.prefix}-pool"

    @staticmethod
    def can_use(paths: Paths) -> str | None:
        """Return None when it works here, else what is missing: of the kernel, of this user, or a program."""
        if not is_host_root():
            return "it wants root, to make block devices"
        for target in ("thin-pool", "thin"):
            if reason := devmapper.can_use(target):
                return reason
        if not fscontext.known("ext4"):
            return "this kernel has no ext4"
        return disks.can_make("mkfs.ext4", "e2fsprogs")

    # The pool ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open_pool(self) -> Iterator[str]:
        """Have the pool for a block: made if it is not there, removed if nobody needs it any more. Yields its path."""
        os.makedirs(self.place, 0o700, exist_ok=True)
        with files.locked(os.path.join(self.place, ".pool")):
            path = (devmapper.find(self.pool) or self._make_pool()).path
            held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # open, it is nobody's to remove
        try:
            self._need_base(path)
            yield path
        finally:
            os.close(held)
            self._close_pool()

    def _close_pool(self) -> None:
        with files.locked(os.path.join(self.place, ".pool")):
            if devmapper.try_remove(self.pool):
                self._strike(self.pool)

    def _make_pool(self) -> devmapper.Device:
        data, metadata = (os.path.join(self.place, name) for name in ("data", "metadata"))
        if not os.path.exists(data):
            disks.need_room(self.place)
        entry = self._record(self.pool)
        for path, size in ((data, self.size or disks.size(self.place)), (metadata, METADATA)):
            if not os.path.exists(path):
                disks.make(path, size)
        try:
            with loop.attached(data) as blocks, loop.attached(metadata) as index:
                sectors = os.path.getsize(data) // 512 // BLOCK * BLOCK
                # skip_block_zeroing: a file system does not read what it has not written.
                options = f"{index} {blocks} {BLOCK} 0 2 skip_block_zeroing error_if_no_space"
                return devmapper.create(self.pool, [Target(0, sectors, "thin-pool", options)])
        except BaseException:
            ledger.strike(entry)
            raise

    def _need_base(self, pool: str) -> None:
        """Make the empty file system, once: under a lock, and noted when it is done."""
        done = os.path.join(self.place, "base")
        if os.path.exists(done):
            return
        with files.locked(os.path.join(self.place, ".base")):
            if os.path.exists(done):
                return
            self._delete(BASE)  # of one who was killed here
            devmapper.message(self.pool, f"create_thin {BASE}")
            with self._active(pool, BASE) as device:
                command = ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", device]
                disks.make_file_system(command, beside=self.place)
                with self._mounted(device) as root:
                    os.rmdir(os.path.join(root, "lost+found"))
                    os.chmod(root, 0o755)
            files.replace(done, b"ext4\n")

    # Disks ------------------------------------------------------------------------------------------------------------

    def _name(self, number: int) -> str:
        return f"{self.prefix}-{number}"

    def _activate(self, pool: str, number: int) -> str:
        name = self._name(number)
        found = devmapper.find(name)
        if found is None:
            entry = self._record(name)
            try:
                table = [Target(0, self.disk_size // 512, "thin", f"{pool} {number}")]
                found = devmapper.create(name, table)
            except BaseException:
                ledger.strike(entry)
                raise
        return found.path

    def _deactivate(self, number: int) -> None:
        if devmapper.remove(self._name(number)):
            self._strike(self._name(number))

    @contextlib.contextmanager
    def _active(self, pool: str, number: int) -> Iterator[str]:
        try:
            yield self._activate(pool, number)
        finally:
            self._deactivate(number)

    @contextlib.contextmanager
    def _mounted(self, device: str) -> Iterator[str]:
        """Mount a disk, attached nowhere; yield a path to its root through our descriptor."""
        mount = Mount("/", "ext4", device, ("discard",)).open()
        try:
            yield f"/proc/self/fd/{mount}"
        finally:
            os.close(mount)

    def _new(self, directory: str, below: Sequence[Digest]) -> int:
        """Make a snapshot of the topmost layer's disk. Its number is noted first: what is noted, is deleted with it."""
        origin = self._number(self._layer(below[-1])) if below else BASE
        if origin is None:
            raise NotFound(f"layer {below[-1].short} has no disk here", remedy="remove the image, and pull it again")
        with files.locked(os.path.join(self.place, ".next")):
            note = os.path.join(self.place, "next")
            number = noted(note) or BASE + 1
            files.replace(note, str(number + 1).encode())
            files.replace(os.path.join(directory, "device"), str(number).encode())
        devmapper.message(self.pool, f"create_snap {number} {origin}")
        return number

    def _number(self, directory: str) -> int | None:
        return noted(os.path.join(directory, "device"))

    def _delete(self, number: int) -> None:
        self._deactivate(number)
        try:
            devmapper.message(self.pool, f"delete {number}")
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise Conflict(f"disk {number} is still mounted somewhere", remedy="labrt ps; labrt reset") from error
            if error.errno not in (errno.ENODATA, errno.EINVAL, errno.ENOENT):  # it was never made
                raise

    # The contract -----------------------------------------------------------------------------------------------------

    def _unpack(self, target: str, below: Sequence[Digest], stream: Readable) -> Applied:
        from labrt.storage import unpacking

        building = os.path.dirname(target)
        with self._open_pool() as pool:
            number = self._new(building, below)
            with self._active(pool, number) as device:
                with self._mounted(device) as root:
                    applied = unpacking.apply(stream, root, whiteouts="delete")
                size = self._mapped(number) - self._size(below)
            files.replace(os.path.join(building, "size"), str(size).encode())
        return applied

    def _size(self, layers: Sequence[Digest]) -> int:
        return sum(noted(os.path.join(self._layer(chain_id), "size")) or 0 for chain_id in layers)

    def _mapped(self, number: int) -> int:
        """Return how many bytes a disk has ever written, its origins' included. It must be active."""
        word = devmapper.status(self._name(number))[0].parameters.split()[0]
        return int(word) * 512 if word.isdecimal() else 0

    def _make_root(self, container: str, chain_ids: Sequence[Digest]) -> None:
        with self._open_pool():
            self._new(container, chain_ids)

    def _mounts(self, container: str, chain_ids: Sequence[Digest]) -> list[Mount]:
        number = self._number(container)
        if number is None:
            raise NotFound(f"{container} has no disk", remedy="remove the container")
        with self._open_pool() as pool:
            return [Mount("/", "ext4", self._activate(pool, number), ("discard",))]

    def _undo(self, building: str) -> None:
        number = self._number(building)
        if number is not None:
            with self._open_pool():
                self._delete(number)
            os.unlink(os.path.join(building, "device"))

    def usage(self, what: Digest | str) -> int:
        """Return how many bytes a layer has written beyond those below, or a container beyond its image."""
        path = self._existing(what)
        if isinstance(what, Digest):
            return self._size([what])
        number = self._number(path)
        if number is None:
            return 0
        layers = [Digest.parse(each) for each in self._about(what)["chain_ids"]]
        active = devmapper.find(self._name(number)) is not None
        with self._open_pool() as pool, contextlib.nullcontext() if active else self._active(pool, number):
            return max(0, self._mapped(number) - self._size(layers))

    # The ledger -------------------------------------------------------------------------------------------------------

    def _record(self, name: str) -> ledger.Entry:
        return ledger.record("dm", name, directory=self.ledger)

    def _strike(self, name: str) -> None:
        ledger.strike_all("dm", name, directory=self.ledger)
