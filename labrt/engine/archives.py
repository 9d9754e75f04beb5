"""Images and containers as files: saved, loaded, imported, exported.

    save(["busybox"], stream)            an archive that docker, podman and skopeo load
    load(stream)                         the other way: [Image, …], unpacked and named
    import_root(stream, "mine:1")        a tar archive of a root file system becomes an image of one layer
    export(container, stream)            what a container sees as its root becomes a tar archive

All stream; none needs memory for more than one document. What fails leaves nothing. Notebook 12.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from labrt.engine.images import Images, Listener
from labrt.image import descriptor as types
from labrt.image import pack
from labrt.image.compression import Readable
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.image import Image
from labrt.image.platform import Platform
from labrt.image.reference import Reference

if TYPE_CHECKING:
    from labrt import paths
    from labrt.engine.containers import Container
    from labrt.engine.views import View


def save(
    names: Sequence[str], stream: IO[bytes], *, form: str = "docker", platform: Platform | None = None,
    where: paths.Paths | None = None,
) -> None:  # fmt: skip
    """Write images, by name or id, as one archive of this `form`: docker or oci. Raises ImageNotFound before it writes.

    `platform` None is this machine; only that image of an index is saved.
    """
    from labrt.image import archive

    images = Images(where)
    found = [images.find(name, platform) for name in names]
    archive.save(found, stream, images.layout, form=form)


def load(
    stream: Readable, *, on_event: Listener | None = None, where: paths.Paths | None = None
) -> list[Image]:
    """Bring in all images of an archive, unpack them and let them have their names. All or none get a name."""
    from labrt.image.load import load as read

    images = Images(where)
    with images.layout.lease():  # from the first blob to the last name, nothing of this is garbage
        found = read(stream, images.layout)
        for loaded in found:
            images.unpack(loaded.image, on_event=on_event)
        for loaded in found:
            images.layout.tag(loaded.reference, loaded.descriptor)
    return [loaded.image for loaded in found]


def import_root(
    stream: Readable, reference: str | None = None, *, message: str = "", config: dict[str, Any] | None = None,
    platform: Platform | None = None, where: paths.Paths | None = None,
) -> Image:  # fmt: skip
    """Make an image of one layer, which is this tar archive (plain, gzip or zstd).

    `config` is the "config" object of the image's config: Env, Cmd, Entrypoint, … Without a `reference` the image is
    called localhost/imported:<the first digits of its id>. Raises UnsafeLayer when the archive is no tar, or hostile.
    """
    images = Images(where)
    with images.layout.lease():
        layer, diff_id = _store_layer(images, stream)
        return add_image(images, [(layer, diff_id, message or "Imported")], reference, config or {}, platform)


def _store_layer(images: Images, stream: Readable) -> tuple[Descriptor, Digest]:
    """Store a layer's bytes as they come; return what points to them and the diff id."""
    from labrt.image.compression import Source

    path = os.path.join(images.layout.ingest, f"import-{os.getpid()}-{os.urandom(4).hex()}")
    tee = _Tee(stream, path)
    try:
        with tee:
            source = Source(tee)
            source.drain()
            tee.rest()
        return store_file(images, path, Digest("sha256", tee.hasher.hexdigest()), source.diff_id)
    finally:
        os.unlink(path)


def store_file(images: Images, path: str, digest: Digest, diff_id: Digest) -> tuple[Descriptor, Digest]:
    """Make a file a blob of the store, as a layer; the file itself stays where it is."""
    with open(path, "rb") as file:
        head = file.read(4)
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        with images.layout.writer(digest, size) as writer:
            file.seek(writer.offset)
            while chunk := file.read(1 << 20):
                writer.write(chunk)
    gzip, zstd = head.startswith(b"\x1f\x8b"), head == b"\x28\xb5\x2f\xfd"
    kind = types.OCI_LAYER_GZIP if gzip else types.OCI_LAYER_ZSTD if zstd else types.OCI_LAYER
    return Descriptor(kind, digest, size), diff_id


class _Tee:
    """A stream whose bytes are kept in a file, and hashed, while somebody else reads them."""

    def __init__(self, stream: Readable, path: str) -> None:
        self.stream = stream
        self.file = open(path, "xb")  # noqa: SIM115 - closed by __exit__
        self.hasher = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        data = self.stream.read(size)
        self.hasher.update(data)
        self.file.write(data)
        return data

    def rest(self) -> None:
        """Read what the reader left: it stops at the end of what it understands."""
        while self.read(1 << 16):
            continue

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        self.file.close()


def add_image(
    images: Images,
    layers: Sequence[tuple[Descriptor, Digest, str]],
    reference: str | None,
    run: dict[str, Any],
    platform: Platform | None = None,
    *,
    base: Image | None = None,
    author: str = "",
    created_by: str = "",
) -> Image:
    """Make an image of layers that are in the store (on those of `base`), unpack it and let it have its name.

    `layers` are (descriptor, diff id, comment), base first; `run` is the config's "config". The caller holds a lease.
    """
    from labrt.image.config import ImageConfig

    below = json.loads(base.config.raw) if base else {}
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    where = platform or (base.platform if base else Platform.host())
    history = [{"created": moment, "created_by": created_by, "comment": comment} for _, _, comment in layers]
    value = {
        **below, "created": moment, "architecture": where.architecture, "os": where.os,
        **({"variant": where.variant} if where.variant else {}), **({"author": author} if author else {}),
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [*_diff_ids(base), *(str(diff_id) for _, diff_id, _ in layers)]},
        "history": [*(below.get("history") or []), *history],
    }  # fmt: skip
    config = json.dumps(value, separators=(",", ":")).encode()
    pointers = [*(base.manifest.layers if base else ()), *(layer for layer, _, _ in layers)]
    pointer, manifest = images.layout.put_image(config, pointers, where)
    named = Reference.parse(reference or f"localhost/imported:{manifest.config.digest.short}")
    image = Image(named, pointer, manifest, ImageConfig.parse(config))
    images.unpack(image)
    images.layout.tag(named, pointer)
    return image


def _diff_ids(base: Image | None) -> list[str]:
    return [str(diff_id) for diff_id in base.config.diff_ids] if base else []


def export(container: Container, stream: IO[bytes]) -> None:
    """Write a container's root as a tar archive: its image's files and its own, volumes left out. It may run."""
    from labrt.engine import views

    views.look(container, _Packer(stream.fileno()))


class _Packer:
    """What writes an archive of a root that only a child process sees, into a descriptor that it inherits."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __call__(self, view: View) -> None:
        """Pack its root."""
        with open(self.fd, "wb", closefd=False) as stream:
            pack.write(view.root, stream)
