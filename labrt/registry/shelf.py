"""A store as a registry sees it: repositories, each with its tags, its manifests and its blobs.

A blob is served only under a repository whose image needs it: that is what lets a real registry keep one copy of a blob
and still know who may read it. Read anew for each request; nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Iterator

from labrt.errors import InvalidManifest, InvalidReference, NotFound
from labrt.image import manifest as manifests
from labrt.image.descriptor import DOCKER_INDEX, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.manifest import Manifest
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry import publish

# What Docker Hub gives a client that knows no indexes: it must be from before 2016, when there was one platform.
_BEFORE_INDEXES = Platform("linux", "amd64")


class Shelf:
    """The repositories of one layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def named(self, repository: str) -> list[tuple[Reference, Descriptor]]:
        """The repository's names in the store, and what each points to."""
        found = []
        for name, descriptor in self.layout.references().items():
            try:
                reference = Reference.parse(name)
            except InvalidReference:
                continue  # another tool's name, under which no registry could serve it
            if reference.repository == repository:
                found.append((reference, descriptor))
        return found

    def names(self, repository: str) -> list[Reference]:
        """The names that the store has for this repository's images, by tag or by digest."""
        return [reference for reference, _ in self.named(repository)]

    def tags(self, repository: str) -> list[str] | None:
        """The repository's tags, sorted; None: no such repository."""
        named = self.named(repository)
        return sorted({reference.tag for reference, _ in named if reference.tag}) if named else None

    def manifest(self, repository: str, which: str | Digest) -> Descriptor | None:
        """What a tag or a digest names in this repository; None: nothing."""
        for reference, descriptor in self.named(repository):
            if reference.tag == which:
                return descriptor
        return next((found for found in self._manifests(repository) if found.digest == which), None)

    def acceptable(self, found: Descriptor, accept: str) -> Descriptor | None:
        """What to send for a tag to a client that accepts these media types; None: nothing that it could read."""
        types = {part.partition(";")[0].strip() for part in accept.split(",")}
        if types & {"", "*/*", "application/*", found.media_type}:
            return found
        if found.media_type == DOCKER_INDEX:
            index = manifests.parse(self.layout.read(found.digest), found.media_type)
            return None if isinstance(index, Manifest) else index.choose(_BEFORE_INDEXES)
        return None

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether the blob is here and belongs to an image of this repository."""
        return self.layout.has(digest) and any(digest == blob.digest for blob in self._blobs(repository))

    def referrers(self, repository: str, subject: Digest) -> list[Descriptor]:
        """The repository's manifests whose subject this is: signatures, SBOMs, attestations. Each is listed once."""
        found = []
        for descriptor in self._manifests(repository):
            try:
                raw = self.layout.read(descriptor.digest)
                if publish.subject_of(raw) == subject:
                    found.append(publish.as_referrer(raw, descriptor.media_type))
            except (InvalidManifest, ValueError):
                continue
        return found

    def _manifests(self, repository: str) -> Iterator[Descriptor]:
        """Every manifest and index that is here and that the repository's names lead to."""
        todo = [descriptor for _, descriptor in self.named(repository)]
        seen: set[Digest] = set()
        while todo:
            descriptor = todo.pop(0)
            if descriptor.digest in seen or not self.layout.has(descriptor.digest):
                continue  # in a store, an index usually has the manifests of one platform only
            seen.add(descriptor.digest)
            yield descriptor
            if descriptor.is_index:
                todo += getattr(self._document(descriptor), "manifests", ())

    def _blobs(self, repository: str) -> Iterator[Descriptor]:
        for descriptor in self._manifests(repository):
            document = self._document(descriptor)
            if isinstance(document, Manifest):
                yield document.config
                yield from document.layers

    def _document(self, descriptor: Descriptor) -> object:
        try:
            return manifests.parse(self.layout.read(descriptor.digest), descriptor.media_type)
        except (NotFound, InvalidManifest):
            return None
