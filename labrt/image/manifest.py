"""Manifests and indexes: which bytes an image consists of.

    parse(raw)                      a Manifest (config and layers) or an Index (one entry per platform)
    index.choose(platform)          the entry to go on with
    manifest.layers                 base layer first

`raw` is kept: a digest is the digest of the bytes as they came, and written anew the same JSON has other bytes.
Specification: OCI image-spec, manifest.md and image-index.md; Docker's schema 2 has the same shape. Notebook 12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from labrt.errors import ImageNotFound, InvalidManifest
from labrt.image import descriptor as types
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.fields import Fields, parse_object
from labrt.image.platform import Platform
from labrt.shapes import NOTHING, Record

# Types that servers send when they do not know better: then the document itself says what it is.
_VAGUE = ("", "application/json", "application/octet-stream", "text/plain", "binary/octet-stream")


class Manifest(Record):
    """One image for one platform. `layers` has the base layer first; `digest` is the sha256 of `raw`.

    Or an artifact: something else than an image, kept as one. `artifact_type` says what, else "" and the config's type
    does; `subject` points to the manifest that it is about (a signature's image), None for most.
    """

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    raw: bytes
    digest: Digest
    annotations: Mapping[str, str] = NOTHING
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def size(self) -> int:
        """Bytes of config and layers as stored and sent, without what other images may share with it."""
        return self.config.size + sum(layer.size for layer in self.layers)

    def descriptor(self, platform: Platform | None = None) -> Descriptor:
        """Return what points to this manifest, to put it into an index or to tag it."""
        return Descriptor(self.media_type, self.digest, len(self.raw), platform)

    def __repr__(self) -> str:
        return f"<Manifest {self.digest.short} {len(self.layers)} layers {self.size} B>"


class Index(Record):
    """One image for several platforms: a list of manifests (or of further indexes), in the publisher's order.

    `artifact_type` and `subject` are as in a Manifest.
    """

    media_type: str
    manifests: tuple[Descriptor, ...]
    raw: bytes
    digest: Digest
    annotations: Mapping[str, str] = NOTHING
    artifact_type: str = ""
    subject: Descriptor | None = None

    def choose(self, platform: Platform | None = None) -> Descriptor:
        """Return the entry for a platform; None is this machine. Raises ImageNotFound, listing what there is."""
        return choose(self.manifests, platform)

    def descriptor(self) -> Descriptor:
        """Return what points to this index, to tag it."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    def __repr__(self) -> str:
        return f"<Index {self.digest.short} {len(self.manifests)} manifests>"


def choose(candidates: Iterable[Descriptor], platform: Platform | None = None) -> Descriptor:
    """Return the best of these for a platform: the highest variant that it can run, then the first.

    An entry without a platform serves when no other does. Attestations, which buildkit lists beside the images as
    unknown/unknown, match nothing.
    """
    wanted = platform or Platform.host()
    images = [entry for entry in candidates if entry.is_manifest or entry.is_index]
    fitting = [entry for entry in images if entry.platform and entry.platform.matches(wanted)]
    if fitting:
        return max(fitting, key=lambda entry: entry.platform.normalized().level if entry.platform else ())
    for entry in images:
        if entry.platform is None:
            return entry
    found = sorted({str(entry.platform.normalized()) for entry in images if entry.platform} - {"unknown/unknown"})
    remedy = "ask for one of these with --platform; another processor's programs run through QEMU only"
    there = f"there is {', '.join(found)}" if found else "there is none at all"
    raise ImageNotFound(f"there is no image for {wanted} here; {there}", remedy=remedy if found else "")


def parse(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """Read the bytes of a manifest or an index. `media_type` is what a server or a descriptor called it.

    Raises InvalidManifest for anything else, for more than 4 MiB, and where the name and the document disagree.
    """
    fields = parse_object(raw, "manifest")
    kind = _kind(fields, (media_type or "").partition(";")[0].strip())
    digest = Digest.of(raw)
    annotations = fields.mapping("annotations")
    artifact_type = types.media_type(fields, "artifactType", "")
    subject = Descriptor.from_json(fields.object("subject")) if "subject" in fields else None
    if types.is_index(kind):
        manifests = tuple(map(Descriptor.from_json, fields.objects("manifests")))
        return Index(kind, manifests, raw, digest, annotations, artifact_type, subject)
    config = Descriptor.from_json(fields.object("config"))
    layers = tuple(map(Descriptor.from_json, fields.objects("layers")))
    return Manifest(kind, config, layers, raw, digest, annotations, artifact_type, subject)


def _kind(fields: Fields, given: str) -> str:
    """Decide what the document is. What could be read as both is refused: two readers would see two images."""
    own = fields.string("mediaType", "")
    version = fields.integer("schemaVersion", 2)
    if version == 1 or own in types.DOCKER_SCHEMA1 or given in types.DOCKER_SCHEMA1:
        raise InvalidManifest(
            "this is a manifest of Docker's schema 1, which ended in 2019 and whose layers cannot be checked",
            remedy="pull it with an old docker and push it again, or use a newer tag",
        )
    if version != 2:
        raise InvalidManifest(f"manifest.schemaVersion is {version}", remedy="labrt reads version 2")
    if "manifests" in fields and ("layers" in fields or "config" in fields):
        raise InvalidManifest("the document is a manifest and an index at once", remedy="do not trust who sent it")
    if own and given not in _VAGUE and own != given:
        raise InvalidManifest(f"the document calls itself {own!r:.100} but came as {given!r:.100}")
    found = types.OCI_INDEX if "manifests" in fields else types.OCI_MANIFEST
    kind = own or (found if given in _VAGUE else given)
    if kind not in types.INDEXES + types.MANIFESTS:
        raise InvalidManifest(f"{kind!r:.100} is no image manifest and no index")
    if types.is_index(kind) and ("layers" in fields or "config" in fields):
        raise InvalidManifest("an index has no layers and no config", remedy="do not trust who sent it")
    if types.is_manifest(kind) and "manifests" in fields:
        raise InvalidManifest("an image manifest lists no manifests", remedy="do not trust who sent it")
    return kind
