"""Reading an archive of images into a layout: Docker's form or OCI's, from a file or a pipe.

    for loaded in load(stream, layout): ...           Loaded(reference, descriptor); nothing is tagged yet

The archive is a stranger's. Its files are kept aside (spool.py) until all of it has come; then what its documents name
is looked for, and what is wrong or absent is one error that says what. Only whole images become blobs of the layout,
and the caller gives them their names: so a load that is broken off, or a hostile archive, leaves nothing that can be
seen.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from labrt.errors import DigestMismatch, InvalidManifest, InvalidReference, NotFound
from labrt.image import descriptor as types
from labrt.image.compression import LIMIT, Readable, Source
from labrt.image.config import ImageConfig
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.fields import Fields, parse_object
from labrt.image.image import Image
from labrt.image.layer import compute_diff_id
from labrt.image.layout import REF_NAME, Layout
from labrt.image.manifest import Index, Manifest, parse
from labrt.image.reference import Reference
from labrt.image.spool import Spool, Spooled
from labrt.image.tar import entries

CONTAINERD_NAME = "io.containerd.image.name"  # docker's and containerd's: the whole name, where ref.name has a tag only
_DEEPEST = 4  # an index may list indexes, but nobody needs it deep


class Loaded(NamedTuple):
    """An image that an archive brought. `descriptor` points to its manifest or index, `image` is one of its images."""

    reference: Reference
    descriptor: Descriptor
    image: Image


def load(stream: Readable, layout: Layout, *, limit: int = LIMIT) -> list[Loaded]:
    """Bring an archive's images into the layout, and return them; the caller holds a lease and tags them.

    An image without a name is called localhost/loaded:<the first digits of its id>. `limit` is in uncompressed bytes.
    Raises InvalidManifest and UnsafeLayer for what cannot be right, NotFound for what is missing, DigestMismatch.
    """
    source = Source(stream, limit=limit)
    with layout.lease(), Spool(layout) as spool:
        for entry in entries(source):
            spool.take(entry, source)
        source.drain()
        reader = _oci if spool.file("oci-layout") and spool.file("index.json") else _docker
        found = [*reader(spool)]
        if not found:
            raise InvalidManifest("the archive lists no image")
        for _, parts in found:
            for part in parts:
                spool.place(part)
        return [loaded for loaded, _ in found]


# OCI's form ----------------------------------------------------------------------------------------------------------


def _oci(spool: Spool) -> Iterator[tuple[Loaded, list[Spooled]]]:
    version = parse_object(spool.need("oci-layout", "form").read(), "oci-layout").string("imageLayoutVersion")
    if version.partition(".")[0] != "1":
        raise InvalidManifest(f"oci-layout.imageLayoutVersion is {version!r:.40}", remedy="labrt reads version 1")
    index = parse_object(spool.need("index.json", "form").read(), "index.json")
    for number, fields in enumerate(index.objects("manifests")):
        entry = Descriptor.from_json(fields)
        if not (entry.is_manifest or entry.is_index):
            continue  # what other tools keep beside images: signatures, reports
        parts: list[Spooled] = []
        manifest = _manifest(spool, entry, f"index.json's manifest {number}", parts, {})
        config = ImageConfig.parse(_need(spool, manifest.config, "manifest").read())
        _check_layers(manifest, config)
        reference = _name(entry) or _unnamed(manifest.config.digest)
        plain = Descriptor(entry.media_type, entry.digest, entry.size, entry.platform)
        pointer = manifest.descriptor(config.platform)
        yield Loaded(reference, plain, Image(reference, pointer, manifest, config)), parts


def _manifest(
    spool: Spool, entry: Descriptor, by: str, parts: list[Spooled], known: dict[Digest, Manifest], depth: int = 0
) -> Manifest:
    """Return the manifest that an entry leads to, and collect all blobs on the way. An index may be incomplete.

    Of an index's manifests those that the archive has are taken; this machine's, if it is there, is the one returned.
    `known` are the answers so far: a few documents that list each other would be asked a billion times otherwise.
    """
    if entry.digest in known:
        return known[entry.digest]
    if depth > _DEEPEST:
        raise InvalidManifest(f"{by}: the indexes are nested too deep, or in a circle", remedy="do not trust it")
    spooled = _need(spool, entry, by)
    parts.append(spooled)
    document = parse(spooled.read(), entry.media_type)
    if isinstance(document, Manifest):
        parts += [_need(spool, part, "manifest") for part in (document.config, *document.layers)]
    else:
        here = [each for each in document.manifests if (each.is_manifest or each.is_index) and spool.blob(each.digest)]
        found = {each.digest: _manifest(spool, each, "index", parts, known, depth + 1) for each in here}
        if not found:
            raise NotFound(f"the archive has none of the manifests that {by} lists", remedy="the archive is incomplete")
        document = _of_this_machine(document, found)
    known[entry.digest] = document
    return document


def _of_this_machine(index: Index, found: dict[Digest, Manifest]) -> Manifest:
    with contextlib.suppress(NotFound, KeyError):
        return found[index.choose().digest]
    return next(iter(found.values()))


def _need(spool: Spool, part: Descriptor, by: str) -> Spooled:
    spooled = spool.blob(part.digest)
    if spooled is None:
        remedy = "the archive is incomplete"
        raise NotFound(f"the archive has no blob {part.digest}, which its {by} names", remedy=remedy)
    if spooled.size != part.size:
        raise DigestMismatch(f"{part.digest} has {spooled.size} bytes, not the {part.size} that the {by} says")
    return spooled


def _name(entry: Descriptor) -> Reference | None:
    """Return the name that an index gives to an entry: a whole one, or of a bare tag, localhost/<tag>."""
    for name in (entry.annotations.get(CONTAINERD_NAME), entry.annotations.get(REF_NAME)):
        if name:
            try:
                return Reference.parse(name if set("/:") & set(name) else f"localhost/{name.lower()}")
            except InvalidReference:
                continue
    return None


def _unnamed(id: Digest) -> Reference:
    return Reference.parse(f"localhost/loaded:{id.short}")


# Docker's form -------------------------------------------------------------------------------------------------------


def _docker(spool: Spool) -> Iterator[tuple[Loaded, list[Spooled]]]:
    listed = spool.file("manifest.json")
    if listed is None:
        if spool.file("repositories"):
            remedy = "load it into a docker and save it again"
            raise InvalidManifest("the archive is of a docker before 1.10, which had no manifest.json", remedy=remedy)
        remedy = "for a tar archive of a root file system there is `labrt import`"
        raise InvalidManifest("this is no archive of images: no manifest.json, no index.json", remedy=remedy)
    # The one JSON document whose outside is a list; in an object it has the same guards as all others.
    for fields in parse_object(b'{"images": ' + listed.read() + b"}", "manifest.json").objects("images"):
        yield from _docker_image(spool, fields)


def _docker_image(spool: Spool, fields: Fields) -> Iterator[tuple[Loaded, list[Spooled]]]:
    config_file = spool.need(fields.string("Config"), "manifest.json")
    config = ImageConfig.parse(config_file.read())
    layers = [spool.need(name, "manifest.json") for name in fields.strings("Layers")]
    pointers = [Descriptor(_layer_type(layer), layer.digest, layer.size) for layer in layers]
    raw = _manifest_of(Descriptor(types.OCI_CONFIG, config_file.digest, config_file.size), pointers)
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    _check_layers(manifest, config)
    for layer, diff_id in zip(layers, config.diff_ids, strict=True):
        with layer.open() as file:
            found = layer.digest if layer.digest == diff_id else compute_diff_id(file)
        if found != diff_id:
            raise DigestMismatch(f"a layer's diff id is {found}, not {diff_id} as the image's config says")
    pointer = manifest.descriptor(config.platform)
    parts = [config_file, *layers, spool.keep(raw)]
    names = [_tagged(name, fields.where) for name in fields.strings("RepoTags")] or [_unnamed(config.digest)]
    for reference in names:
        yield Loaded(reference, pointer, Image(reference, pointer, manifest, config)), parts


def _tagged(name: str, where: str) -> Reference:
    try:
        return Reference.parse(name)
    except InvalidReference as error:
        raise InvalidManifest(f"{where}.RepoTags: {error.message}", remedy=error.remedy) from None


def _layer_type(layer: Spooled) -> str:
    with layer.open() as file:
        head = file.read(4)
    if head.startswith(b"\x1f\x8b"):
        return types.OCI_LAYER_GZIP
    return types.OCI_LAYER_ZSTD if head == b"\x28\xb5\x2f\xfd" else types.OCI_LAYER


def _manifest_of(config: Descriptor, layers: list[Descriptor]) -> bytes:
    parts = {"config": config.to_json(), "layers": [layer.to_json() for layer in layers]}
    return json.dumps({"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, **parts}, separators=(",", ":")).encode()


def _check_layers(manifest: Manifest, config: ImageConfig) -> None:
    if len(manifest.layers) != len(config.diff_ids):
        raise InvalidManifest(
            f"the image has {len(manifest.layers)} layers, but its config {len(config.diff_ids)} diff ids",
            remedy="do not trust who made it",
        )
