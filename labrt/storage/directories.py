"""The parts that all drivers share: layers and containers as directories, which appear whole or not at all.

    layers/<hex>/            one per chain id: layer.json, and diff/ with its files
    containers/<id>/         one per container: container.json with its layers, and what the driver puts there
    building/                layers being unpacked, and whatever is being deleted

A layer is unpacked in `building/<hex>`, and a rename makes it a layer; deleting begins with a rename back. So nothing
half made or half deleted is ever found under its name, whoever is killed when; see workshop.py.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence

from labrt.errors import Conflict, ContainerNotFound, DigestMismatch, InvalidInput, LabrtError, NotFound, file_error
from labrt.image import files
from labrt.image.digest import Digest
from labrt.image.tree import remove_path
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage.workshop import Workshop, disk_usage, names

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from labrt.image.compression import Readable
    from labrt.image.layer import Applied

_CONTAINER_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class Directories(abc.ABC):
    """A driver, but for how a layer is unpacked onto others and how a container's root is put together."""

    name: ClassVar[str]

    def __init__(self, paths: Paths) -> None:
        self.place = os.path.join(paths.layers, self.name)

    @property
    def root(self) -> str:
        """Where layers, containers and building are."""
        return self.place

    @property
    def workshop(self) -> Workshop:
        """Where they are made and deleted."""
        return Workshop(os.path.join(self.root, "building"), self._undo)

    @staticmethod
    @abc.abstractmethod
    def can_use(paths: Paths) -> str | None:
        """Return None when the driver works on the layers' place, else the reason why not. It is tried, not guessed."""

    # What a driver adds -----------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _unpack(self, target: str, below: Sequence[Digest], stream: Readable) -> Applied:
        """Make the directory `target` and unpack a layer into it, on the layers `below` (base first)."""

    @abc.abstractmethod
    def _make_root(self, container: str, chain_ids: Sequence[Digest]) -> None:
        """Make what the container writes to, in its directory `container`."""

    @abc.abstractmethod
    def _mounts(self, container: str, chain_ids: Sequence[Digest]) -> list[Mount]:
        """Return the mounts that make the container's root."""

    def _published(self, chain_id: Digest) -> None:  # noqa: B027 - most drivers have nothing to do here
        """Do what is to be done before a layer gets its name."""

    def _unpublished(self, chain_id: Digest) -> None:  # noqa: B027
        """Undo it, after the layer has lost its name."""

    def _undo(self, building: str) -> None:  # noqa: B027
        """Take down what a driver has in a directory of the workshop, before that is removed."""

    # Layers -----------------------------------------------------------------------------------------------------------

    def diff(self, chain_id: Digest) -> str:
        """Return the directory with a layer's files."""
        return os.path.join(self._layer(chain_id), "diff")

    def has(self, chain_id: Digest) -> bool:
        """Whether this layer is here, whole."""
        return os.path.isdir(self._layer(chain_id))

    def add(self, chain_ids: Sequence[Digest], stream: Readable, diff_id: Digest) -> None:
        """Unpack the last of these layers; see Driver."""
        *below, chain_id = chain_ids
        if self.has(chain_id):
            return
        self._need(below)
        self._make()
        self.workshop.sweep()
        with self.workshop.claimed(chain_id.hex, lambda: self.has(chain_id)) as building:
            if building is not None:
                try:
                    with _explained(f"unpacking layer {chain_id.short}"):
                        self._build(building, below, chain_id, stream, diff_id)
                except BaseException:
                    self.workshop.remove(building)
                    raise

    def _build(
        self, building: str, below: Sequence[Digest], chain_id: Digest, stream: Readable, diff_id: Digest
    ) -> None:
        target = os.path.join(building, "diff")
        self._undo(building)  # of one who was killed here
        remove_path(target)
        applied = self._unpack(target, below, stream)
        if applied.diff_id != diff_id:
            raise DigestMismatch(
                f"the layer's diff id is {applied.diff_id}, not {diff_id} as the image's config says",
                remedy="pull the image again; if it stays so, the image is broken",
            )
        about = {"parent": str(below[-1]) if below else None, "diff_id": str(diff_id), "size": applied.size}
        _write(os.path.join(building, "layer.json"), about)
        with self._locked():
            self._need(below)  # a layer below may have been removed meanwhile
            self._published(chain_id)
            os.rename(building, self._layer(chain_id))

    def remove_layer(self, chain_id: Digest) -> None:
        """Remove a layer; see Driver."""
        self._need([chain_id])
        with self._locked():
            users = [name for name in self.containers() if str(chain_id) in self._about(name).get("chain_ids", ())]
            if users:
                raise Conflict(f"layer {chain_id.short} is used by container {users[0]}", remedy="remove that first")
            for other in self.layers():
                if _read(os.path.join(self._layer(other), "layer.json")).get("parent") == str(chain_id):
                    raise Conflict(f"layer {other.short} stands on {chain_id.short}", remedy="remove that first")
            self.workshop.discard(self._layer(chain_id))
            self._unpublished(chain_id)
        self.workshop.sweep()

    def layers(self) -> list[Digest]:
        """Return the chain ids of all layers, sorted."""
        return sorted(Digest.parse(f"sha256:{name}") for name in names(os.path.join(self.root, "layers")))

    # Containers -------------------------------------------------------------------------------------------------------

    def prepare(self, container_id: str, chain_ids: Sequence[Digest], *, durable: bool = True) -> list[Mount]:
        """Make a container's writable layer; see Driver."""
        self._container(container_id)  # refused before anything is made
        self._make()
        container = self._container(container_id)
        with _explained(f"making the root of container {container_id}"):
            try:
                with self._locked():
                    self._need(chain_ids)
                    os.mkdir(container, 0o700)
                    about = {"chain_ids": [*map(str, chain_ids)]}
                    _write(os.path.join(container, "container.json"), about, durable=durable)
            except FileExistsError:
                raise Conflict(f"container {container_id} has a root already", remedy="choose another id") from None
            except OSError:
                self.remove(container_id)
                raise
            try:
                self._make_root(container, chain_ids)
            except BaseException:
                self.remove(container_id)
                raise
        return self.mounts(container_id)

    def mounts(self, container_id: str) -> list[Mount]:
        """Return the mounts that make a container's root; see Driver."""
        container = self._container(container_id)
        about = self._about(container_id)
        if "chain_ids" not in about:
            raise ContainerNotFound(f"container {container_id} has no root here", remedy="prepare it first")
        return self._mounts(container, [Digest.parse(each) for each in about["chain_ids"]])

    def remove(self, container_id: str) -> None:
        """Remove a container's writable layer; see Driver."""
        container = self._container(container_id)
        if os.path.isdir(container):
            self.workshop.discard(container)
            self.workshop.sweep()

    def containers(self) -> list[str]:
        """Return the ids of all containers that have a writable layer, sorted."""
        return names(os.path.join(self.root, "containers"))

    def usage(self, what: Digest | str) -> int:
        """Return how many bytes of disk a layer or a container takes for itself. Files linked twice count once."""
        return disk_usage(self._existing(what))

    # Housekeeping -----------------------------------------------------------------------------------------------------

    def _layer(self, chain_id: Digest) -> str:
        return os.path.join(self.root, "layers", chain_id.hex)

    def _container(self, container_id: str) -> str:
        if not _CONTAINER_ID.fullmatch(container_id):
            raise InvalidInput(f"{container_id!r:.80} is no container id", remedy="letters, digits, '_', '.' and '-'")
        return os.path.join(self.root, "containers", container_id)

    def _existing(self, what: Digest | str) -> str:
        path = self._layer(what) if isinstance(what, Digest) else self._container(what)
        if not os.path.isdir(path):
            raise NotFound(f"{what} is not here")
        return path

    def _about(self, container_id: str) -> dict[str, Any]:
        return _read(os.path.join(self._container(container_id), "container.json"))

    def _need(self, chain_ids: Sequence[Digest]) -> None:
        for chain_id in chain_ids:
            if not self.has(chain_id):
                raise NotFound(f"layer {chain_id.short} is not here", remedy="add the layers in order, base first")

    def _make(self) -> None:
        if not os.path.isdir(os.path.join(self.root, "building")):
            # Layers hold set-user-ID programs of images: nobody but the owner may reach them from the host.
            os.makedirs(self.root, exist_ok=True)
            os.chmod(self.root, 0o700)
            for name in ("layers", "containers", "building"):
                os.makedirs(os.path.join(self.root, name), exist_ok=True)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold off other processes while layers and containers get or lose their names."""
        return files.locked(os.path.join(self.root, ".lock"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.root} {len(self.layers())} layers, {len(self.containers())} containers>"


def new_root(path: str, like: str | None) -> None:
    """Make a directory with another's owner, mode and mtime; None is root's, 0755."""
    os.mkdir(path, 0o755)
    os.chmod(path, 0o755)
    if like is not None:
        found = os.stat(like)
        if os.geteuid() == 0:  # of a user namespace, too: whatever is here is of an id that exists in there
            os.chown(path, found.st_uid, found.st_gid)
        os.chmod(path, stat.S_IMODE(found.st_mode))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what the operating system raises into a KernelError that says what was being done."""
    try:
        yield
    except OSError as error:
        if isinstance(error, LabrtError):
            raise
        raise file_error(what, error.errno or errno.EIO) from error


def _read(path: str) -> dict[str, Any]:
    """Read a small JSON object; {} where it is absent, or emptied by a power cut as nobody waited for the disk."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(path, "rb") as file:
        return dict(json.load(file))
    return {}


def noted(path: str) -> int | None:
    """Read a number that a driver has noted; None where there is none, or a power cut has emptied the file."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(path) as file:
        return int(file.read())
    return None


def _write(path: str, value: dict[str, Any], *, durable: bool = True) -> None:
    files.replace(path, json.dumps(value).encode(), durable=durable)
