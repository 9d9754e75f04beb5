"""What takes room, and what of it nobody needs: disk usage and its clearing.

    usage()                  [Usage("Images", total=2, active=1, size=…, reclaimable=…), …]
    prune()                  stopped containers; images without a name; layers, blobs and broken-off downloads that
                             nothing leads to; what builds remember and no image has; networks without a container
    prune(all=True)          also images that no container is made from, and all that builds remember
    prune_containers(), prune_images(all=…)          of these, the one part

A named image needs its layers and blobs, a container its layers, and the manifest and config that it was made from even
when they have lost their name. What is being pulled or loaded needs everything: prune holds the layout alone, and is a
Conflict while anyone else holds a lease.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from labrt import paths
from labrt.engine.containers import Container, Containers
from labrt.engine.images import Images
from labrt.engine.views import PREFIX
from labrt.errors import Conflict, NotFound
from labrt.image.digest import Digest
from labrt.image.image import Image, human
from labrt.image.layout import Layout
from labrt.image.tree import remove_path
from labrt.storage.workshop import disk_usage

_FRESH = 60  # seconds in which a container that was created and never started may still be about to be


class Usage(NamedTuple):
    """One kind of thing on disk: how many there are and are in use, their bytes, and the bytes that could go."""

    kind: str
    total: int
    active: int
    size: int
    reclaimable: int


@dataclass
class Pruned:
    """What went: ids of containers, names of images, chain ids, digests, steps of builds, networks; bytes in all."""

    containers: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    layers: list[Digest] = field(default_factory=list)
    blobs: list[Digest] = field(default_factory=list)
    caches: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    freed: int = 0

    def __repr__(self) -> str:
        counts = f"{len(self.containers)} containers, {len(self.images)} images, {len(self.layers)} layers"
        return f"<Pruned {counts}, {len(self.blobs)} blobs: {human(self.freed)}>"


def usage(where: paths.Paths | None = None) -> list[Usage]:
    """Return what images (their blobs), unpacked layers, containers and broken-off downloads take; count networks."""
    images, containers = Images(where), Containers(where).list(all=True)
    partial = _partial(images.layout)
    networks = _networks(images.where, containers)
    return [_images(images, containers), _layers(images), _containers(images, containers), networks, _cached(images),
            partial]  # fmt: skip


def _images(images: Images, containers: list[Container]) -> Usage:
    used = {container.image_id for container in containers}
    every = images.all()
    cached = images.build_cache.blobs() - _blobs_of(every)  # these are counted as the builds'
    blobs = [digest for digest in images.layout.blobs() if digest not in cached]
    sizes = {digest: _size(images.layout.blob_path(digest)) for digest in blobs}
    needed = {
        part.digest for image in every if image.id in used for part in (image.manifest.config, *image.manifest.layers)
    } | {image.descriptor.digest for image in every if image.id in used}
    active = {image.id for image in every if image.id in used}
    size = sum(sizes.values())
    free = sum(size for digest, size in sizes.items() if digest not in needed)
    return Usage("Images", len({image.id for image in every}), len(active), size, free)


def _blobs_of(every: Iterable[Image]) -> set[Digest]:
    """Return the layers that images have."""
    return {layer.digest for image in every for layer in image.manifest.layers}


def _cached(images: Images) -> Usage:
    """Steps of builds with a layer, and the directories of RUN --mount=type=cache. Active: an image has that layer."""
    cache, named = images.build_cache, _blobs_of(images.all())
    blobs = cache.blobs()
    own = sum(_size(images.layout.blob_path(digest)) for digest in blobs - named) + disk_usage(cache.mounts)
    return Usage("Build cache", len(blobs) + len(_names(cache.mounts)), len(blobs & named), own, own)


def _layers(images: Images) -> Usage:
    layers = images.driver.layers()
    named = _named(images)
    sizes = {layer: _of(images, layer) for layer in layers}
    return Usage(
        "Layers",
        len(layers),
        len(named & set(layers)),
        sum(sizes.values()),
        sum(size for layer, size in sizes.items() if layer not in named),
    )


def _containers(images: Images, containers: list[Container]) -> Usage:
    sizes = {container.id: _of(images, container.id) for container in containers}
    running = {container.id for container in containers if container.status == "running"}
    stopped = sum(size for id, size in sizes.items() if id not in running)
    return Usage("Containers", len(sizes), len(running), sum(sizes.values()), stopped)


def _networks(where: paths.Paths, containers: list[Container]) -> Usage:
    """Count them. They take no room but for one small file each; active: a container is in it, or would be."""
    names = [name for name in _names(where.networks) if os.path.isdir(os.path.join(where.networks, name))]
    if not names:
        return Usage("Networks", 0, 0, 0, 0)
    from labrt.engine.networks import names_of

    used = {name for container in containers for name in names_of(container)}
    return Usage("Networks", len(names), len(used & {*names}), 0, 0)


def _prune_networks(where: paths.Paths, gone: Pruned) -> None:
    """Remove those that no container is in, but the default one."""
    if _names(where.networks):
        from labrt.engine.networks import Networks

        gone.networks += Networks(where).prune()


def _partial(layout: Layout) -> Usage:
    sizes = [_size(os.path.join(layout.ingest, name)) for name in _names(layout.ingest)]
    return Usage("Partial downloads", len(sizes), 0, sum(sizes), sum(sizes))


def prune(where: paths.Paths | None = None, *, all: bool = False) -> Pruned:
    """Remove what nobody needs; with `all` also images that no container is made from. Containers that run stay.

    One that was created within the last minute and never started stays, too: `labrt run` may be about to start it.
    Raises Conflict, before anything is removed, while somebody pulls or loads.
    """
    images = Images(where)
    gone = Pruned()
    with images.layout.alone():
        _prune_containers(images, gone)
        _prune_networks(images.where, gone)
        _prune_images(images, gone, all=all)
        _prune_cache(images, gone, all=all)
        gone.freed += _partial(images.layout).size
        _sweep(images, gone, partial=True)
    return gone


def prune_containers(where: paths.Paths | None = None) -> Pruned:
    """Remove the containers that `prune` would remove, and nothing else."""
    gone = Pruned()
    _prune_containers(Images(where), gone)
    return gone


def prune_images(where: paths.Paths | None = None, *, all: bool = False) -> Pruned:
    """Remove images without a name that no container is made from, with `all` those that have one, and their data.

    What builds remember stays. Raises Conflict while somebody pulls or loads.
    """
    images = Images(where)
    gone = Pruned()
    with images.layout.alone():
        _prune_images(images, gone, all=all)
        _sweep(images, gone, partial=False)
    return gone


def _sweep(images: Images, gone: Pruned, *, partial: bool) -> None:
    """Remove the layers and blobs that nothing leads to any more, and what downloads that broke off have left."""
    _prune_views(images)
    _prune_layers(images, gone)
    sizes = {digest: _size(images.layout.blob_path(digest)) for digest in images.layout.blobs()}
    users = Containers(images.where).image_ids()
    kept = [*images.layout.manifests_of(users), *images.build_cache.blobs()]
    gone.blobs = images.layout.sweep(kept, partial=partial)
    gone.freed += sum(sizes.get(digest, 0) for digest in gone.blobs)


def _prune_containers(images: Images, gone: Pruned) -> None:
    for container in Containers(images.where).list(all=True):
        with contextlib.suppress(NotFound, Conflict):  # it has just been removed, or started
            old = time.time() - container.record()["created"] > _FRESH
            if container.status == "exited" or (container.status == "created" and old):
                size = _of(images, container.id)
                container.remove()
                gone.containers.append(container.id)
                gone.freed += size


def _prune_images(images: Images, gone: Pruned, *, all: bool) -> None:
    users = Containers(images.where).image_ids()
    for image in images.all():
        if image.id not in users and (all or image.reference.is_unnamed):
            images.layout.untag(image.reference)
            gone.images.append(image.reference.familiar)


def _prune_views(images: Images) -> None:
    """Remove the containers that a killed look at an image has left."""
    for name in images.driver.containers():
        if name.startswith(PREFIX) and not os.path.exists(f"/proc/{name.split('-')[1]}"):
            images.driver.remove(name)


def _prune_cache(images: Images, gone: Pruned, *, all: bool) -> None:
    """Forget steps of builds whose layer no image has, or all; with these the directories of their caches go, too."""
    cache, named = images.build_cache, _blobs_of(images.all())
    for key, record in [*cache.records()]:
        if all or (record.layer is not None and record.layer.digest not in named):
            cache.forget(key)
            gone.caches.append(key[:12])
    if all:
        gone.freed += disk_usage(cache.mounts)
        remove_path(cache.mounts)


def _prune_layers(images: Images, gone: Pruned) -> None:
    """Remove layers from the top down: one that has become the topmost goes in the next round."""
    todo = set(images.driver.layers()) - _named(images)
    removed = True
    while removed:
        removed = False
        for layer in sorted(todo):
            size = _of(images, layer)
            with contextlib.suppress(Conflict, NotFound):  # a container or another layer stands on it
                images.driver.remove_layer(layer)
                gone.layers.append(layer)
                gone.freed += size
                removed = True
        todo -= set(gone.layers)


def _named(images: Images) -> set[Digest]:
    """Return the chain ids of images that have a name. Of an index, those of the image that Images.all lists."""
    return {chain for image in images.all() for chain in image.config.chain_ids}


def _of(images: Images, what: Digest | str) -> int:
    with contextlib.suppress(NotFound):
        return images.driver.usage(what)
    return 0


def _size(path: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_size
    return 0


def _names(path: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(path)
    return []
