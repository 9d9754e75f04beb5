"""Storage drivers: the contract, and which driver serves here.

    driver = open_driver(None, paths.default())               overlay where it works, else vfs; LABRT_STORAGE_DRIVER
    driver.add(chain_ids[: n + 1], stream, diff_ids[n])        one layer, once; for n = 0, 1, 2, … base layer first
    mounts = driver.prepare("c1", chain_ids)                   a writable layer, and the mounts that make the root
    driver.remove("c1")

A driver is whatever keeps `Driver`'s promises; tests/storage/conformance holds every one to them. The mounts that it
returns are made by whoever starts the container, in the container's own mount namespace: nothing is mounted on the
host, so nothing can stay behind there. Notebook 11.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from labrt.errors import InvalidInput, NotSupported
from labrt.image import files
from labrt.image.digest import Digest
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.shapes import Protocol

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import ClassVar

    from labrt.image.compression import Readable
    from labrt.storage.directories import Directories

NAMES = ("overlay", "vfs", "btrfs", "devicemapper", "aufs")
VARIABLE = "LABRT_STORAGE_DRIVER"


class Driver(Protocol):
    """What keeps layers and containers' roots. Layers are named by chain id: equal names are equal trees.

    Every method may be called by several processes at once, and a process that is killed in one leaves nothing that
    can be taken for a whole layer. Chain ids come base first.
    """

    name: ClassVar[str]

    def has(self, chain_id: Digest) -> bool:
        """Whether this layer is here, whole."""
        ...

    def add(self, chain_ids: Sequence[Digest], stream: Readable, diff_id: Digest) -> None:
        """Unpack the last of these layers; the others are here. A layer that is here already costs nothing.

        Raises DigestMismatch when the uncompressed stream is not `diff_id`, UnsafeLayer when it is hostile or broken,
        NotFound when a layer below is absent, KernelError (ENOSPC). Nothing is left then.
        """
        ...

    def prepare(self, container_id: str, chain_ids: Sequence[Digest], *, durable: bool = True) -> list[Mount]:
        """Make a container's writable layer on these layers (none is fine), and return its mounts as `mounts` does.

        Not `durable`: it need not survive a power cut, as that of a container which is removed at its end anyway.
        Raises Conflict when the container is here already, NotFound when a layer is absent.
        """
        ...

    def mounts(self, container_id: str) -> list[Mount]:
        """Return the mounts that make a container's root, to be made in order; the root itself has destination "/".

        Raises ContainerNotFound.
        """
        ...

    def remove(self, container_id: str) -> None:
        """Remove a container's writable layer, which nobody has mounted any more. Harmless when it is not here."""
        ...

    def remove_layer(self, chain_id: Digest) -> None:
        """Remove a layer. Raises Conflict while a container or another layer stands on it, NotFound."""
        ...

    def layers(self) -> list[Digest]:
        """Return the chain ids of all layers, sorted."""
        ...

    def containers(self) -> list[str]:
        """Return the ids of all containers that have a writable layer, sorted."""
        ...

    def usage(self, what: Digest | str) -> int:
        """Return how many bytes of disk a layer (by chain id) or a container (by id) takes for itself."""
        ...


def open_driver(name: str | None, paths: Paths) -> Driver:
    """Open a driver by name, or with None the one that serves here: what LABRT_STORAGE_DRIVER names, else the one that
    was chosen the first time: overlay if it works, else vfs.

    That choice is kept in `layers/driver`, because another driver would not see the layers that are there. What the
    variable names is not kept: each driver has its own layers and containers, and finds them again when it is named
    again. Raises NotSupported when the named driver does not work here, with the reason.
    """  # noqa: D205
    if name is None:
        name = os.environ.get(VARIABLE)
        if not name:
            return _kind(_chosen(paths))(paths)
        if name in NAMES and os.path.isdir(os.path.join(paths.layers, name)):
            return _kind(name)(paths)  # it has worked here already
    if name not in NAMES:
        raise InvalidInput(f"there is no storage driver {name!r:.40}", remedy=f"choose one of {', '.join(NAMES)}")
    kind = _kind(name)
    reason = kind.can_use(paths)
    if reason is not None:
        raise NotSupported(f"the storage driver {name} does not work here: {reason}", remedy="vfs works everywhere")
    return kind(paths)


def opened(paths: Paths) -> list[Driver]:
    """Open each driver that has been used here, and no other."""
    return [_kind(name)(paths) for name in NAMES if os.path.isdir(os.path.join(paths.layers, name))]


def _kind(name: str) -> type[Directories]:
    """Import the one that is used, and no other."""
    if name == "overlay":
        from labrt.storage.overlay import Overlay

        return Overlay
    if name == "btrfs":
        from labrt.storage.btrfs import Btrfs

        return Btrfs
    if name == "devicemapper":
        from labrt.storage.devicemapper import DeviceMapper

        return DeviceMapper
    if name == "aufs":
        from labrt.storage.aufs import Aufs

        return Aufs
    from labrt.storage.vfs import Vfs

    return Vfs


def _chosen(paths: Paths) -> str:
    note = os.path.join(paths.layers, "driver")
    with contextlib.suppress(FileNotFoundError), open(note) as file:
        name = file.read().strip()
        if name in NAMES:
            return name
    name = "overlay" if _kind("overlay").can_use(paths) is None else "vfs"
    os.makedirs(paths.layers, exist_ok=True)
    files.replace(note, name.encode())
    return name
