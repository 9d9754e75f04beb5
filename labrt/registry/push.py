"""The push: an image from a store to a registry, in the order that a registry wants.

    for each manifest: layers and config, several at a time → the manifest → and last, under its tag, what was named

A registry takes no manifest whose blobs it lacks, and no index whose manifests it lacks: so the name comes last, and
wherever a push breaks off there is none for what is not there. What goes out are the bytes of the store, which are
those that were pulled or built; so digests stay what they were. A blob that another image of the store has from the
same registry is mounted there, not sent. Notebook 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from labrt.errors import ImageNotFound, InvalidManifest, LabrtError, NotFound
from labrt.image import manifest as manifests
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.manifest import Index, Manifest
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry.crew import Crew
from labrt.registry.events import AlreadyThere, OnePlatform, Pushed, Pushing

if TYPE_CHECKING:
    from labrt.registry.client import Client

_DEEPEST = 4  # indexes within indexes


class Push:
    """One push of what `source` names in the layout, to `reference`. `chunk` None sends each blob in one piece."""

    def __init__(
        self,
        client: Client,
        reference: Reference,
        layout: Layout,
        *,
        source: Reference | None = None,
        platform: Platform | None = None,
        chunk: int | None = None,
    ) -> None:
        self._client = client
        self._reference = reference
        self._layout = layout
        self._source = source or reference
        self._platform = platform
        self._chunk = chunk
        self._there: set[Digest] = set()  # manifests that have been put

    def __repr__(self) -> str:
        return f"<Push {self._source.familiar} to {self._reference.familiar}>"

    def run(self) -> Descriptor:
        """Do it, and return what the name means there. Raises what the client raises; the name is then not given."""
        self._client.emit(Pushing(self._reference))
        with self._layout.lease():  # nobody collects what we are about to read
            document = self._choose()
            todo = list(self._inner(document, 0))
            self._send_blobs([one for one in (*todo, document) if isinstance(one, Manifest)])
            for one in todo:
                self._put(self._reference.with_digest(one.digest), one)
            self._put(self._reference, document)
        self._client.emit(Pushed(self._reference, document.digest, len(document.raw)))
        return Descriptor(document.media_type, document.digest, len(document.raw))

    # What is pushed ---------------------------------------------------------------------------------------------------

    def _choose(self) -> Manifest | Index:
        """What the name means; of an index that is not here whole, and where one is asked for, one platform's."""
        document = self._read(self._layout.resolve(self._source, self._platform))
        if isinstance(document, Manifest) or (self._platform is None and self._is_whole(document)):
            return document
        if self._platform is None:
            self._client.emit(OnePlatform(self._source, str(Platform.host())))
        return self._layout.image(self._source, self._platform).manifest

    def _is_whole(self, index: Index) -> bool:
        try:
            return all(
                self._layout.has(blob.digest)
                for one in (*self._inner(index, 0), index)
                if isinstance(one, Manifest)
                for blob in _blobs(one)
            )
        except NotFound:
            return False

    def _read(self, descriptor: Descriptor) -> Manifest | Index:
        return manifests.parse(self._layout.read(descriptor.digest), descriptor.media_type)

    def _inner(self, document: Manifest | Index, depth: int) -> Iterator[Manifest | Index]:
        """The documents below an index, each before the one that lists it."""
        if depth > _DEEPEST:
            raise InvalidManifest(f"{self._source.familiar}: the indexes are nested too deep")
        if isinstance(document, Index):
            for entry in document.manifests:
                inner = self._read(entry)
                yield from self._inner(inner, depth + 1)
                yield inner

    # Sending ----------------------------------------------------------------------------------------------------------

    def _put(self, reference: Reference, document: Manifest | Index) -> None:
        if reference.tag is None and document.digest in self._there:
            return
        self._client.put_manifest(reference, document.raw, document.media_type)
        self._there.add(document.digest)

    def _send_blobs(self, found: list[Manifest]) -> None:
        # The config last of each: as for docker, and a learner sees the layers first.
        blobs = dict.fromkeys(blob for manifest in found for blob in _blobs(manifest))
        missing = [blob for blob in blobs if not self._layout.has(blob.digest)]
        if missing:
            message = f"{self._source.familiar} is not here as a whole: {missing[0].digest} is missing"
            raise ImageNotFound(message, remedy=f"labrt pull {self._source.familiar}")
        sources = self._sources()
        tasks: list[Callable[[], None]] = [self._task(blob, sources) for blob in blobs]
        Crew(self._client.transport, "labrt-push").run(tasks)

    def _task(self, blob: Descriptor, sources: dict[Digest, str]) -> Callable[[], None]:
        return lambda: self._send(blob, sources.get(blob.digest, ""))

    def _send(self, blob: Descriptor, source: str) -> None:
        upload = self._client.upload(self._reference, blob, self._layout.blob_path(blob.digest))
        if upload.exists():
            self._client.emit(AlreadyThere(blob))
        elif not (source and upload.mount(source)):
            upload.send(chunk=self._chunk)

    def _sources(self) -> dict[Digest, str]:
        """For each blob, another repository of the same registry that has it, as far as our own store can tell."""
        found: dict[Digest, str] = {}
        for name, descriptor in self._layout.references().items():
            try:
                reference = Reference.parse(name)
                if reference.registry == self._reference.registry and reference.name != self._reference.name:
                    document = self._read(descriptor)
                    for one in (*self._inner(document, 0), document):
                        if isinstance(one, Manifest):
                            found.update({blob.digest: reference.repository for blob in _blobs(one)})
            except LabrtError:
                continue  # another tool's name, or an index of which only a part is here
        return found


def _blobs(manifest: Manifest) -> tuple[Descriptor, ...]:
    """What a manifest needs in its repository. A layer with URLs of its own may lie elsewhere for legal reasons."""
    return (*(layer for layer in manifest.layers if not layer.urls), manifest.config)
