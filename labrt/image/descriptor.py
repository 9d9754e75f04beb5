"""Descriptors: a pointer to content by type, digest and size; and the media types that they point with.

    Descriptor.from_json({...})     an entry of a manifest or an index
    descriptor.is_layer             what it points to, by media type
    descriptor.compression          "gzip", "zstd" or "" (of layers)

Images are descriptors that point to documents full of descriptors: index → manifest → config and layers. Docker's own
types ("v2s2") mean the same as OCI's. Specification: OCI image-spec, descriptor.md and media-types.md. Notebook 12.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from labrt.errors import InvalidManifest
from labrt.image.digest import Digest
from labrt.image.fields import Fields
from labrt.image.platform import Platform
from labrt.shapes import NOTHING, Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN_LAYER_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

INDEXES = (OCI_INDEX, DOCKER_INDEX)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1|docker\.image\.rootfs\.(?:foreign\.)?diff)"
    r"\.tar(?:[+.](?P<compression>gzip|zstd))?"
)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_LARGEST = (1 << 63) - 1


def is_index(media_type: str) -> bool:
    """Whether this is the type of an index, Docker's "manifest list": one entry per platform."""
    return media_type in INDEXES


def is_manifest(media_type: str) -> bool:
    """Whether this is the type of an image manifest: a config and layers."""
    return media_type in MANIFESTS


def is_layer(media_type: str) -> bool:
    """Whether this is the type of a layer: a tar archive, perhaps compressed."""
    return _LAYER.fullmatch(media_type) is not None


def compression(media_type: str) -> str:
    """Return what a layer of this type is compressed with: "gzip", "zstd" or "" for nothing."""
    match = _LAYER.fullmatch(media_type)
    return (match["compression"] or "") if match else ""


def media_type(fields: Fields, key: str, default: str | None = None) -> str:
    """Read a media type; without a default it must be there. Raises InvalidManifest, which names the place."""
    found = fields.string(key, default)
    if key in fields and not _MEDIA_TYPE.fullmatch(found):
        raise InvalidManifest(f"{fields.where}.{key} is {found!r:.100}, which is no media type")
    return found


def _data(fields: Fields, digest: Digest, size: int) -> bytes | None:
    """Read content that a descriptor brings along. It must be what the descriptor points to."""
    if "data" not in fields:
        return None
    import base64

    try:
        data = base64.b64decode(fields.string("data"), validate=True)
    except ValueError:
        raise InvalidManifest(f"{fields.where}.data is no base64") from None
    if len(data) != size or Digest.of(data, digest.algorithm) != digest:
        raise InvalidManifest(f"{fields.where}.data is not what digest and size say", remedy="do not trust who sent it")
    return data


class Descriptor(Record):
    """`size` is the content's length in bytes, as stored and sent (for layers: compressed).

    `data` is the content itself where the descriptor brings it along, as it does for a few bytes; None elsewhere.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = NOTHING
    urls: tuple[str, ...] = ()
    artifact_type: str = ""
    data: bytes | None = None

    @classmethod
    def from_json(cls, value: object, where: str = "descriptor") -> Descriptor:
        """Read one from parsed JSON (or Fields). Raises InvalidManifest, which names `where` it was found."""
        fields = value if isinstance(value, Fields) else Fields(value, where)
        size = fields.integer("size")
        if not 0 <= size <= _LARGEST:
            raise InvalidManifest(f"{fields.where}.size is {size if abs(size) <= _LARGEST else 'far out of range'}")
        digest = fields.digest("digest")
        return cls(
            media_type(fields, "mediaType"),
            digest,
            size,
            _platform(fields.object("platform")) if "platform" in fields else None,
            fields.mapping("annotations"),
            fields.strings("urls"),
            media_type(fields, "artifactType", ""),
            _data(fields, digest, size),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, with the optional properties only where they say something."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.data is not None:
            import base64

            value["data"] = base64.b64encode(self.data).decode()
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.urls:
            value["urls"] = list(self.urls)
        if self.platform:
            value["platform"] = _platform_json(self.platform)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return value

    @property
    def is_index(self) -> bool:
        """Whether it points to an index."""
        return is_index(self.media_type)

    @property
    def is_manifest(self) -> bool:
        """Whether it points to an image manifest."""
        return is_manifest(self.media_type)

    @property
    def is_layer(self) -> bool:
        """Whether it points to a layer."""
        return is_layer(self.media_type)

    @property
    def compression(self) -> str:
        """What the layer is compressed with: "gzip", "zstd" or ""."""
        return compression(self.media_type)

    def __hash__(self) -> int:  # without the annotations: a mapping has no hash
        return hash((self.media_type, self.digest, self.size, self.platform))

    def __repr__(self) -> str:
        kind = self.media_type.removeprefix("application/vnd.")
        return f"<Descriptor {kind} {self.digest.short} {self.size} B{f' {self.platform}' if self.platform else ''}>"


def _platform(fields: Fields) -> Platform:
    return Platform(
        fields.string("os"),
        fields.string("architecture"),
        fields.string("variant", ""),
        fields.string("os.version", ""),
        fields.strings("os.features"),
    )


def _platform_json(platform: Platform) -> dict[str, Any]:
    value: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        value["os.version"] = platform.os_version
    if platform.os_features:
        value["os.features"] = list(platform.os_features)
    if platform.variant:
        value["variant"] = platform.variant
    return value
