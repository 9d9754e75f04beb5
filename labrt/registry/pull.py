"""The pull: an image from a registry into a store, in an order that is right at every instant.

    name → index → manifest → config → layers, several at a time → manifest and index stored → name given

Blobs come first and names last, so a store never has a name for what is not there, wherever a pull is killed. A layer
that broke off stays in the store's ingest/ and goes on by Range. Nothing that the store has is fetched; two layers that
are the same are one blob.

Ctrl-C reaches the thread that called: it makes the others let go of their sockets, and leaves. Notebook 13.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from labrt.errors import DigestMismatch, ImageNotFound, InvalidManifest, Unreachable
from labrt.image import manifest as manifests
from labrt.image.config import ImageConfig
from labrt.image.descriptor import DOCKER_CONFIG, OCI_CONFIG, Descriptor
from labrt.image.digest import Digest
from labrt.image.fields import LIMIT
from labrt.image.image import Image
from labrt.image.layout import Layout
from labrt.image.manifest import Index, Manifest
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry.crew import Crew
from labrt.registry.events import Exists, LayerDone, LayerProgress, Pulled, Resolved, Resolving, Resuming

if TYPE_CHECKING:
    from labrt.registry.client import Client

_DEEPEST = 4  # indexes within indexes


class Pull:
    """One pull. `platform` None is this machine's."""

    def __init__(self, client: Client, reference: Reference, layout: Layout, platform: Platform | None) -> None:
        self._client = client
        self._reference = reference
        self._layout = layout
        self._asked_platform = platform
        self._platform = platform or Platform.host()
        self._documents: list[tuple[Digest, bytes]] = []  # as named by who pointed to them; the index first
        self._resumed: set[Digest] = set()
        self._crew = Crew(client.transport, "labrt-pull")

    def __repr__(self) -> str:
        return f"<Pull {self._reference.familiar} for {self._platform}>"

    def run(self) -> Image:
        """Do it. Raises what the client raises; the store then has no new name, and maybe new blobs."""
        self._client.emit(Resolving(self._reference))
        with self._layout.lease():  # a collection between blobs and name would take the blobs
            root = self._resolve()
            manifest = self._choose(root)
            self._fetch_config(manifest)
            self._fetch_layers(manifest.layers)
            for digest, raw in reversed(self._documents):
                self._layout.put(raw, digest.algorithm)
            self._layout.tag(self._name(), root.descriptor())
        self._client.emit(Pulled(self._reference, root.digest))
        return self._layout.image(self._name(), self._platform)

    def _name(self) -> Reference:
        """What the image is filed under. As with docker, a tag beside a digest says nothing."""
        digest = self._reference.digest
        return self._reference.with_digest(digest) if digest else self._reference

    # Documents --------------------------------------------------------------------------------------------------------

    def _resolve(self) -> Manifest | Index:
        """What the name means now, from the store if it has it already: a HEAD is not counted as a pull."""
        known = self._known()
        if known and (self._reference.digest or self._client.resolve(self._reference) == known):
            return self._document(self._reference.with_digest(known))
        return self._document(self._reference)

    def _known(self) -> Digest | None:
        """What the store calls by this name."""
        try:
            return self._layout.resolve(self._name(), self._platform).digest
        except ImageNotFound:
            return None

    def _document(self, reference: Reference) -> Manifest | Index:
        """A manifest or an index, out of the store or from the registry, remembered to be stored."""
        digest = reference.digest
        if digest is not None and self._layout.has(digest):
            document = manifests.parse(self._layout.read(digest))
        else:
            document = self._client.manifest(reference)
        self._documents.append((digest or document.digest, document.raw))
        platform = str(self._platform) if isinstance(document, Index) else ""
        self._client.emit(Resolved(reference, digest or document.digest, document.media_type, platform))
        return document

    def _choose(self, document: Manifest | Index) -> Manifest:
        for _ in range(_DEEPEST):
            if isinstance(document, Manifest):
                return document
            chosen = document.choose(self._platform)
            document = self._document(self._reference.with_digest(chosen.digest))
        raise InvalidManifest(f"{self._reference.familiar}: the indexes are nested too deep")

    def _fetch_config(self, manifest: Manifest) -> None:
        """Fetch and judge the config before any layer: it is small, and says whether we can use them."""
        name = self._reference.familiar
        if manifest.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
            kind = manifest.artifact_type or manifest.config.media_type
            raise InvalidManifest(f"{name} is no image that could run, but a {kind}", remedy="try oras or helm")
        if manifest.config.size > LIMIT:
            raise InvalidManifest(f"{name}: its config is said to have {manifest.config.size} bytes")
        self._fetch(manifest.config)
        config = ImageConfig.parse(self._layout.read(manifest.config.digest))
        if len(config.diff_ids) != len(manifest.layers):
            raise InvalidManifest(f"{name}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diff ids")
        if self._asked_platform and not config.platform.matches(self._asked_platform):
            message = f"{name} is there for {config.platform} only, not for {self._asked_platform}"
            raise ImageNotFound(message, remedy=f"pull it with --platform {config.platform}")

    # Blobs ------------------------------------------------------------------------------------------------------------

    def _fetch(self, descriptor: Descriptor) -> None:
        """Bring one blob in."""
        if self._layout.has(descriptor.digest):
            self._client.emit(Exists(descriptor))
            return
        try:
            self._write(descriptor)
        except DigestMismatch:
            if descriptor.digest not in self._resumed:
                raise
            self._write(descriptor)  # what an earlier pull left was wrong, and is gone: once more from the start
        self._client.emit(LayerDone(descriptor))

    def _write(self, descriptor: Descriptor) -> None:
        with self._layout.writer(descriptor.digest, descriptor.size) as writer:
            if 0 < writer.offset < descriptor.size:
                self._client.emit(Resuming(descriptor, writer.offset))
            if writer.offset:
                self._resumed.add(descriptor.digest)
            for chunk in self._client.stream(self._reference, descriptor, writer.offset):
                if self._crew.stopped.is_set():
                    raise Unreachable(f"{self._reference.familiar}: the pull was stopped")
                writer.write(chunk)
                self._client.emit(LayerProgress(descriptor, writer.offset, descriptor.size))

    def _fetch_layers(self, layers: tuple[Descriptor, ...]) -> None:
        """Bring the layers in, several at a time. The first error ends them all, and is raised."""
        # One blob may be a layer twice.
        self._crew.run([functools.partial(self._fetch, layer) for layer in dict.fromkeys(layers)])
