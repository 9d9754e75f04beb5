"""Images as one file: what `docker save` writes and `docker load` reads, and OCI's own form.

    save([image, …], stream, layout)               both readers' form: an OCI layout with Docker's manifest.json in it
    save([image, …], stream, layout, form="oci")   an OCI layout and nothing else
    load(stream, layout)                           either of them, plain or compressed: [Loaded(reference, …), …]

    oci-layout, index.json, blobs/sha256/<hex>        OCI's: the very layout of layout.py, in a tar archive
    manifest.json                                     Docker's: for each image its config, its names and its layers
    repositories                                      Docker's older list of names

Docker's form names files of any kind; since docker 25 these are the blobs of an OCI layout, so one archive serves both.
Layers go out as they lie in the store, compressed: everyone who reads such archives unpacks what is packed.

load.py reads; spool.py keeps the files meanwhile. Specification: OCI image-spec, image-layout.md; Docker's form is
described in its image specification v1.2. Notebook 12.
"""

from __future__ import annotations

import io
import json
import tarfile  # for writing: what we write is no stranger's
from collections.abc import Sequence
from typing import IO, Any

from labrt.errors import InvalidInput, NotFound
from labrt.image import descriptor as types
from labrt.image.digest import Digest
from labrt.image.image import Image
from labrt.image.layout import REF_NAME, Layout
from labrt.image.load import CONTAINERD_NAME, Loaded, load
from labrt.image.manifest import Manifest

__all__ = ["FORMS", "Loaded", "load", "save"]

FORMS = ("docker", "oci")
_TO_OCI = {
    types.DOCKER_MANIFEST: types.OCI_MANIFEST, types.DOCKER_CONFIG: types.OCI_CONFIG,
    types.DOCKER_LAYER: types.OCI_LAYER, types.DOCKER_LAYER_GZIP: types.OCI_LAYER_GZIP,
    types.DOCKER_LAYER_ZSTD: types.OCI_LAYER_ZSTD,
}  # fmt: skip


def save(images: Sequence[Image], stream: IO[bytes], layout: Layout, *, form: str = "docker") -> None:
    """Write images of a layout as one tar archive, the same bytes for the same images.

    Raises NotFound, before anything is written, when a layer is not here. In OCI's form, manifests of Docker's media
    types are written anew in OCI's, as not all readers know the others; the images' ids stay what they are.
    """
    if form not in FORMS:
        raise InvalidInput(f"no archive form is called {form!r:.40}", remedy=f"one of {', '.join(FORMS)}")
    if not images:
        raise InvalidInput("no image to save", remedy="name one or more")
    for image in images:
        for part in (image.manifest.config, *image.manifest.layers):
            if not layout.has(part.digest):
                remedy = f"labrt pull {image.reference.familiar}"
                raise NotFound(f"{image.reference.familiar} is not here as a whole: {part.digest}", remedy=remedy)
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _Saver(archive, layout, form).write(images)


class _Saver:
    """One archive being written: every blob once, in the order in which a reader wants them."""

    def __init__(self, archive: tarfile.TarFile, layout: Layout, form: str) -> None:
        self.archive, self.layout, self.form = archive, layout, form
        self._there: set[Digest] = set()

    def write(self, images: Sequence[Image]) -> None:
        """Write all of it."""
        self._document("oci-layout", {"imageLayoutVersion": "1.0.0"})
        self._directory("blobs")
        self._directory("blobs/sha256")
        entries = [self._image(image) for image in images]
        self._document("index.json", {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": entries})
        if self.form == "docker":
            self._document("manifest.json", _docker_manifest(images))
            self._document("repositories", _repositories(images))

    def _image(self, image: Image) -> dict[str, Any]:
        """Write an image's blobs and return its entry in the index."""
        for part in (*image.manifest.layers, image.manifest.config):
            if part.digest not in self._there:
                self._there.add(part.digest)
                with self.layout.open(part.digest) as blob:
                    self.archive.addfile(_file(_blob(part.digest), part.size), blob)
        media_type, raw = image.manifest.media_type, image.manifest.raw
        if self.form == "oci" and media_type == types.DOCKER_MANIFEST:
            media_type, raw = types.OCI_MANIFEST, _as_oci(image.manifest)
        digest = Digest.of(raw)
        if digest not in self._there:
            self._there.add(digest)
            self._bytes(_blob(digest), raw)
        entry = types.Descriptor(media_type, digest, len(raw), image.platform).to_json()
        if image.reference.tag:
            entry["annotations"] = {CONTAINERD_NAME: str(image.reference), REF_NAME: str(image.reference)}
        return entry

    def _document(self, name: str, value: object) -> None:
        self._bytes(name, json.dumps(value, separators=(",", ":")).encode())

    def _bytes(self, name: str, data: bytes) -> None:
        self.archive.addfile(_file(name, len(data)), io.BytesIO(data))

    def _directory(self, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self.archive.addfile(info)


def _file(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _docker_manifest(images: Sequence[Image]) -> list[dict[str, Any]]:
    """Return what manifest.json says: one object for each image, with all its names."""
    found: dict[Digest, dict[str, Any]] = {}
    for image in images:
        layers = [_blob(layer.digest) for layer in image.manifest.layers]
        about = found.setdefault(image.id, {"Config": _blob(image.id), "RepoTags": [], "Layers": layers})
        if image.reference.tag:
            about["RepoTags"].append(image.reference.with_tag(image.reference.tag).familiar)
    return list(found.values())


def _repositories(images: Sequence[Image]) -> dict[str, dict[str, str]]:
    """Return names and tags, each with the digits of the topmost layer."""
    found: dict[str, dict[str, str]] = {}
    for image in images:
        if image.reference.tag and image.manifest.layers:
            name = image.reference.with_tag(image.reference.tag).familiar.rpartition(":")[0]
            found.setdefault(name, {})[image.reference.tag] = image.manifest.layers[-1].digest.hex
    return found


def _as_oci(manifest: Manifest) -> bytes:
    """Return a manifest of Docker's media types in OCI's: the same config and layers under other types' names."""
    value = json.loads(manifest.raw)
    value["mediaType"] = types.OCI_MANIFEST
    for part in (value["config"], *(value.get("layers") or ())):
        part["mediaType"] = _TO_OCI.get(part["mediaType"], part["mediaType"])
    return json.dumps(value, separators=(",", ":")).encode()
