"""A container's changes: listed, and made into an image.

    changes(container)                        [Change("C", "etc"), Change("A", "etc/motd"), …]
    commit(container, "mine:1")               an image: that of the container, and one more layer

A layer holds what the container wrote, its mount points and the like left out. A container that runs is frozen while
its files are read, as docker does it: or a database would be in the layer with half of a change. Specification: OCI
image-spec, layer.md. Notebook 12.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from labrt.engine import archives, views
from labrt.engine import changes as instructions
from labrt.engine.images import Images
from labrt.errors import Conflict, ImageNotFound, NotSupported
from labrt.image import diff
from labrt.image.config import ImageConfig
from labrt.image.diff import Change
from labrt.image.digest import Digest
from labrt.image.image import Image
from labrt.image.manifest import Manifest, parse
from labrt.image.reference import Reference

if TYPE_CHECKING:
    from labrt.engine.containers import Container


def changes(container: Container) -> list[Change]:
    """Return what the container added (A), changed (C) and deleted (D), sorted by path."""
    return views.look(container, _changes, image=True)


def commit(
    container: Container, reference: str | None = None, *, author: str = "", message: str = "",
    change: Sequence[str] = (), pause: bool = True,
) -> Image:  # fmt: skip
    """Make an image of a container: its image's layers and one with its changes.

    `change` are Dockerfile instructions for the image's config. `pause`: freeze it meanwhile, if it runs and there is a
    freezer; else what it writes in the same moment may be in the layer, or half of it. Without a `reference` the image
    is called localhost/committed:<the first digits of the container's id>. Raises ImageNotFound when its own image is
    gone; one that has only lost its name is found by its id.
    """
    images = Images(container.where)
    with images.layout.lease():
        base = _base(images, container)
        run = instructions.apply(_run(base), change)
        path = os.path.join(images.layout.ingest, f"commit-{os.getpid()}-{os.urandom(4).hex()}")
        try:
            with open(path, "xb") as stream, _still(container) if pause else contextlib.nullcontext():
                views.look(container, _Layer(stream.fileno()), image=True)
            digest = _digest(path)
            layer, diff_id = archives.store_file(images, path, digest, digest)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        name = reference or str(Reference.unnamed("committed", container.id[:12]))
        created_by = " ".join(container.record()["command"])
        return archives.add_image(
            images, [(layer, diff_id, message)], name, run, base=base, author=author, created_by=created_by
        )


def write_layer(container: Container, fd: int, *, hidden: Sequence[str] = (), latest: int | None = None) -> None:
    """Write a container's changes to a descriptor, as an uncompressed layer. Not the places `hidden`, where something
    was mounted and nothing else is; no time later than `latest`, in seconds.
    """  # noqa: D205
    views.look(container, _Layer(fd, [place.strip("/") for place in hidden], latest), image=True)


@contextlib.contextmanager
def _still(container: Container) -> Iterator[None]:
    """Keep a container that runs from running. Who is paused stays so; who is killed in here leaves it paused."""
    frozen = False
    if container.status == "running":
        # NotSupported: no freezer. Conflict: it has just ended, or somebody else has paused it.
        with contextlib.suppress(NotSupported, Conflict):
            container.pause()
            frozen = True
    try:
        yield
    finally:
        if frozen:
            with contextlib.suppress(Conflict):  # somebody else has let it go on, or killed it
                container.unpause()


def _base(images: Images, container: Container) -> Image:
    """Find the image that a container was made from: among those with a name, then by its id among all manifests."""
    for image in images.all():
        if image.id == container.image_id:
            return image
    for digest in images.layout.manifests_of([container.image_id]):
        manifest = parse(images.layout.read(digest))
        if isinstance(manifest, Manifest) and all(images.layout.has(layer.digest) for layer in manifest.layers):
            config = ImageConfig.parse(images.layout.read(container.image_id))
            nameless = Reference("localhost", "nameless", container.image_id.short)
            return Image(nameless, manifest.descriptor(config.platform), manifest, config)
    record = container.record()
    raise ImageNotFound(
        f"the image of container {container.name} is gone", remedy=f"pull {record['image']} again, or use labrt export"
    )


def _run(image: Image) -> dict[str, Any]:
    """Return the "config" object of an image's config, as it stands."""
    return dict(json.loads(image.config.raw).get("config") or {})


def _digest(path: str) -> Digest:
    with open(path, "rb") as file:
        return Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())


def _changes(view: views.View) -> list[Change]:
    """List the changes; in the child that sees both trees."""
    found = (
        diff.overlay_changes(view.upper, view.below, view.root) if view.upper else diff.changes(view.below, view.root)
    )
    found = [change for change in found if not _is_mount_point(change, view)]
    if not any(change.path.startswith("etc/") for change in found) and _only_time(view, "etc"):
        return [change for change in found if change.path != "etc"]  # mount points have come, and changed its time
    return found


class _Layer:
    """What writes the layer, in the child, into a descriptor that it inherits."""

    def __init__(self, fd: int, hidden: Sequence[str] = (), latest: int | None = None) -> None:
        self.fd, self.hidden, self.latest = fd, hidden, latest

    def __call__(self, view: views.View) -> None:
        """Write it."""
        changed = _without(_changes(view), self.hidden, view)
        with open(self.fd, "wb", closefd=False) as stream:
            diff.write(view.root, changed, stream, latest=self.latest)


def _without(changed: list[Change], hidden: Sequence[str], view: views.View) -> list[Change]:
    """Leave out what only had to be there to mount something on it, and what that was in: empty, and added."""
    places = {"/".join(place.split("/")[:depth]) for place in hidden for depth in range(1, place.count("/") + 2)}
    kept = list(changed)
    for change in reversed(changed):  # what is in a directory comes after it
        path = os.path.join(view.root, change.path)
        if change.path in places and change.kind == diff.ADDED and not os.path.islink(path):
            inside = any(other.path.startswith(f"{change.path}/") for other in kept)
            if not inside and (os.path.isdir(path) or os.path.getsize(path) == 0):
                kept.remove(change)
    return kept


def _is_mount_point(change: Change, view: views.View) -> bool:
    """Whether this is an empty file or directory of /dev, /proc or /sys, or of /etc, that only had to be there to mount
    something on it.
    """  # noqa: D205
    path = os.path.join(view.root, change.path)
    if change.path.split("/")[0] in ("dev", "proc", "sys"):
        return True
    if change.path in ("etc/hosts", "etc/hostname", "etc/resolv.conf") and change.kind == diff.ADDED:
        return os.path.isfile(path) and os.path.getsize(path) == 0
    return False


def _only_time(view: views.View, name: str) -> bool:
    """Whether a directory was there before, with the same owner and mode."""
    try:
        old, new = os.lstat(os.path.join(view.below, name)), os.lstat(os.path.join(view.root, name))
    except FileNotFoundError:
        return False
    return (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid)
