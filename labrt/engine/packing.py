"""Layers that lie here uncompressed, packed for the way to a registry.

    pack(images, reference)          the name now means a manifest with gzip layers; the image's id stays

What a commit or an import makes is a plain tar: that is quick, and its digest is its diff id. On the wire gzip saves
two thirds. The config speaks of diff ids only, so the image stays the same; its manifest names other blobs and is a
new one, which the name then means here too: what one pushes and pulls again has one digest. The plain blobs are
garbage when no other name needs them. A name with a digest is left as it is, or it would lie.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from typing import NamedTuple

from labrt.engine import archives
from labrt.engine.images import Images
from labrt.image import descriptor as types
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.image import human
from labrt.image.manifest import Manifest, parse
from labrt.image.reference import Reference

_PACKED = {types.OCI_LAYER: types.OCI_LAYER_GZIP, types.DOCKER_LAYER: types.DOCKER_LAYER_GZIP}
_CHUNK = 1 << 20


class Packed(NamedTuple):
    """A layer has been compressed."""

    layer: Descriptor
    size: int

    def describe(self) -> str:
        """In one line."""
        return f"compressed layer {self.layer.digest.short}: {human(self.layer.size)} to {human(self.size)}"

    def __str__(self) -> str:
        return self.describe()


def pack(images: Images, reference: Reference, *, on_event: Callable[[object], object] | None = None) -> None:
    """Let a name mean its image with compressed layers. Of an index nothing is changed. The caller holds a lease.

    Raises ImageNotFound.
    """
    pointer = images.layout.resolve(reference)
    document = parse(images.layout.read(pointer.digest), pointer.media_type)
    if not isinstance(document, Manifest) or reference.digest or not any(map(_is_plain, document.layers)):
        return
    value = json.loads(document.raw)
    for number, layer in enumerate(document.layers):
        if _is_plain(layer) and images.layout.has(layer.digest):
            found = _compress(images, layer)
            value["layers"][number] |= {"mediaType": found.media_type, "digest": str(found.digest), "size": found.size}
            if on_event:
                on_event(Packed(layer, found.size))
    raw = json.dumps(value, separators=(",", ":")).encode()
    digest = images.layout.put(raw)
    images.layout.tag(reference, Descriptor(pointer.media_type, digest, len(raw), pointer.platform))


def _is_plain(layer: Descriptor) -> bool:
    return layer.media_type in _PACKED


def _compress(images: Images, layer: Descriptor) -> Descriptor:
    """Store a layer's bytes in gzip, the same for the same layer: no name and no time in the header."""
    path = os.path.join(images.layout.ingest, f"pack-{os.getpid()}-{os.urandom(4).hex()}")
    packer, hasher = zlib.compressobj(wbits=31), hashlib.sha256()
    try:
        with images.layout.open(layer.digest) as plain, open(path, "xb") as packed:
            while chunk := plain.read(_CHUNK):
                data = packer.compress(chunk)
                hasher.update(data)
                packed.write(data)
            data = packer.flush()
            hasher.update(data)
            packed.write(data)
        found, _ = archives.store_file(images, path, Digest("sha256", hasher.hexdigest()), layer.digest)
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return Descriptor(_PACKED[layer.media_type], found.digest, found.size)
