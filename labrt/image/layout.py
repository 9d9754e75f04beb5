"""The content store: an OCI image layout on disk, which skopeo reads as it stands.

    oci-layout               {"imageLayoutVersion": "1.0.0"}
    index.json               the names: one descriptor per reference
    blobs/sha256/<hex>       manifests, configs, layers: all that a digest names
    ingest/                  blobs on their way in (ours; other tools do not look there)

    layout = Layout("/var/lib/labrt/images")
    with layout.lease():                                    # nothing is collected while a pull is under way
        with layout.writer(digest, size) as writer: ...
        layout.tag(reference, descriptor)
    layout.image("busybox")                                 # shows itself as a tree

    skopeo inspect oci:/var/lib/labrt/images:docker.io/library/busybox:latest

A blob appears by one rename when its digest is right, and a name by one rename when its blob is there. Whatever is
killed in between, what can be seen is right. Specification: OCI image-spec, image-layout.md. Notebook 12.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator

from labrt.errors import DigestMismatch, ImageNotFound, InvalidManifest, InvalidReference, NotFound
from labrt.image import files
from labrt.image.config import ImageConfig
from labrt.image.descriptor import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.fields import LIMIT, parse_object
from labrt.image.image import Image
from labrt.image.ingest import Writer, ingest
from labrt.image.manifest import Index, Manifest, choose, parse
from labrt.image.platform import Platform
from labrt.image.reference import Reference

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, BinaryIO

REF_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """An image layout. The directory is made when something is first put into it; until then it is empty."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)

    @property
    def ingest(self) -> str:
        """The directory of what is on its way in; another program may sweep it only when nobody holds a lease."""
        return os.path.join(self.path, "ingest")

    # Blobs ------------------------------------------------------------------------------------------------------------

    def blob_path(self, digest: Digest) -> str:
        """Return where the blob is or would be."""
        return os.path.join(self.path, "blobs", digest.algorithm, digest.hex)

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here, whole."""
        return os.path.isfile(self.blob_path(digest))

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob to stream it. It is not checked again: a layer's diff id is, when the layer is applied."""
        try:
            return open(self.blob_path(digest), "rb")
        except FileNotFoundError:
            raise NotFound(f"{digest} is not in {self.path}", remedy="pull the image that needs it") from None

    def read(self, digest: Digest, *, limit: int = LIMIT) -> bytes:
        """Read a small blob, a manifest or a config, and check its digest. `limit` is in bytes."""
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidManifest(f"{digest} has more than {limit} bytes, too many for a document")
        if Digest.of(data, digest.algorithm) != digest:
            raise DigestMismatch(f"{digest} has changed on disk", remedy="remove the image and pull it again")
        return data

    def put(self, data: bytes, algorithm: str = "sha256") -> Digest:
        """Store bytes and return their digest. Storing what is there already does nothing."""
        digest = Digest.of(data, algorithm)
        with self.writer(digest, len(data)) as writer:
            # A partial of the same digest may be here, from a pull that was killed.
            writer.write(data[writer.offset :])
        return digest

    def put_image(
        self, config: bytes, layers: Iterable[Descriptor], platform: Platform | None = None
    ) -> tuple[Descriptor, Manifest]:
        """Store a config, and the manifest that joins it to layers, which are here; return it and what points to it."""
        raw = json.dumps({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": Descriptor(OCI_CONFIG, self.put(config), len(config)).to_json(),
            "layers": [layer.to_json() for layer in layers],
        }, separators=(",", ":")).encode()  # fmt: skip
        manifest = parse(raw)
        assert isinstance(manifest, Manifest)
        return Descriptor(OCI_MANIFEST, self.put(raw), len(raw), platform), manifest

    @contextlib.contextmanager
    def writer(self, digest: Digest, size: int) -> Iterator[Writer]:
        """Stream a blob in; see ingest.py. Waits while another process brings the same blob."""
        with self.lease(), ingest(self.path, digest, size) as writer:
            yield writer

    # Names ------------------------------------------------------------------------------------------------------------

    def tag(self, reference: Reference, descriptor: Descriptor) -> None:
        """Let a reference name a manifest or an index that is here, whatever it named before."""
        if not self.has(descriptor.digest):
            raise NotFound(f"{descriptor.digest} is not in {self.path}", remedy="put the blob before its name")
        entry = descriptor.to_json()
        entry["annotations"] = {**descriptor.annotations, REF_NAME: str(reference)}
        self._edit(lambda others: [*(other for other in others if _name(other) != str(reference)), entry])

    def untag(self, reference: Reference) -> None:
        """Take a name away. Its blobs stay until `collect`. Raises ImageNotFound."""
        self.resolve(reference)
        self._edit(lambda entries: [entry for entry in entries if _name(entry) != str(reference)])

    def resolve(self, reference: Reference | str, platform: Platform | None = None) -> Descriptor:
        """Return what a reference names. Raises ImageNotFound.

        A digest in the reference is enough when an image of the same name has it. `platform` decides where a name
        is there several times, as in layouts of other tools.
        """
        wanted = Reference.parse(reference) if isinstance(reference, str) else reference
        named = [entry for name, entry in self._named() if _means(name, entry, wanted)]
        if not named:
            raise ImageNotFound(f"{wanted.familiar} is not here", remedy=f"labrt pull {wanted.familiar}")
        return named[0] if len(named) == 1 else choose(named, platform)

    def references(self) -> dict[str, Descriptor]:
        """Return every name and what it points to, sorted by name. Names are canonical where they can be."""
        found: dict[str, Descriptor] = {}
        for name, entry in sorted(self._named(), key=lambda pair: pair[0]):
            found.setdefault(name, entry)
        return found

    def image(self, reference: Reference | str, platform: Platform | None = None) -> Image:
        """Return the image that a reference names, for a platform; None is this machine. Raises ImageNotFound."""
        wanted = Reference.parse(reference) if isinstance(reference, str) else reference
        descriptor = self.resolve(wanted, platform)
        try:
            document = self._document(descriptor)
            for _ in range(4):  # an index may list indexes, but nobody needs it deep
                if isinstance(document, Manifest):
                    return Image(wanted, descriptor, document, ImageConfig.parse(self.read(document.config.digest)))
                descriptor = document.choose(platform)
                document = self._document(descriptor)
        except NotFound as error:
            name = wanted.familiar
            remedy = f"labrt pull {f'--platform {platform} ' if platform else ''}{name}"
            raise ImageNotFound(f"{name} is not here as a whole: {error.message}", remedy=remedy) from None
        raise InvalidManifest(f"{wanted.familiar}: the indexes are nested too deep")

    def platforms(self, reference: Reference | str) -> list[Platform]:
        """Return the platforms of a name's index whose manifests are here; none where the name is no index's."""
        document = self._document(self.resolve(reference))
        entries = () if isinstance(document, Manifest) else document.manifests
        return [entry.platform for entry in entries if entry.platform and self.has(entry.digest)]

    def _document(self, descriptor: Descriptor) -> Manifest | Index:
        return parse(self.read(descriptor.digest), descriptor.media_type)

    def _named(self) -> list[tuple[str, Descriptor]]:
        entries = map(Descriptor.from_json, self._entries())
        return [(_canonical(entry.annotations[REF_NAME]), entry) for entry in entries if REF_NAME in entry.annotations]

    def _entries(self) -> list[dict[str, Any]]:
        try:
            with open(os.path.join(self.path, "index.json"), "rb") as file:
                raw = file.read()
        except FileNotFoundError:
            return []
        return [fields.value for fields in parse_object(raw, "index.json", limit=1 << 28).objects("manifests")]

    def _edit(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Read index.json, change its entries and replace it, as one step among all processes."""
        self._make()
        with files.locked(os.path.join(self.path, ".index.lock")):
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": change(self._entries())}
            files.replace(os.path.join(self.path, "index.json"), json.dumps(index, indent=1).encode())

    # Housekeeping -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """Hold off `collect` while blobs come in that no name reaches yet. Several can hold one at a time."""
        self._make()
        with files.locked(os.path.join(self.path, ".lease.lock"), shared=True):
            yield

    def collect(self, keep: Iterable[Digest] = (), *, partial: bool = False) -> list[Digest]:
        """Remove the blobs that no reference reaches, and return their digests.

        `keep` are further manifests and indexes to start from (of containers whose image lost its name). `partial`
        removes what broken-off pulls left to resume, too. Raises Conflict while anyone holds a lease.
        """
        with self.alone():
            return self.sweep(keep, partial=partial)

    def sweep(self, keep: Iterable[Digest] = (), *, partial: bool = False) -> list[Digest]:
        """Do what `collect` does, for one who is `alone` already."""
        reached = self._reach([*map(Descriptor.from_json, self._entries())], keep)
        removed = [digest for digest in self.blobs() if digest not in reached]
        for digest in removed:
            os.unlink(self.blob_path(digest))
        if partial:
            for name in os.listdir(self.ingest):
                os.unlink(os.path.join(self.ingest, name))
        return removed

    def manifests_of(self, ids: Collection[Digest]) -> list[Digest]:
        """Return the manifests of these images (an id is a config's digest), whether they have a name or not."""
        found = []
        for digest in self.blobs():
            with contextlib.suppress(NotFound, InvalidManifest, DigestMismatch):
                if self._may_be_a_document(digest):
                    document = parse(self.read(digest))
                    if isinstance(document, Manifest) and document.config.digest in ids:
                        found.append(digest)
        return found

    def _may_be_a_document(self, digest: Digest) -> bool:
        with self.open(digest) as file:
            return os.fstat(file.fileno()).st_size <= LIMIT and file.read(64).lstrip().startswith(b"{")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one: nobody pulls or loads while the block runs. Raises Conflict while anyone does."""
        self._make()
        with files.locked(os.path.join(self.path, ".lease.lock"), wait=False):
            yield

    def blobs(self) -> list[Digest]:
        """Return the digests of all blobs, sorted."""
        found = []
        for algorithm in ("sha256", "sha512"):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(os.path.join(self.path, "blobs", algorithm)):
                    with contextlib.suppress(ValueError):
                        found.append(Digest.parse(f"{algorithm}:{name}"))
        return sorted(found)

    def _reach(self, roots: list[Descriptor], keep: Iterable[Digest]) -> set[Digest]:
        """Return every digest that these documents lead to, whether its blob is here or not."""
        reached: set[Digest] = set()
        todo = [(root.digest, root.media_type) for root in roots] + [(digest, "") for digest in keep]
        while todo:
            digest, media_type = todo.pop()
            if digest in reached:
                continue
            reached.add(digest)
            try:
                document = parse(self.read(digest), media_type)
            except (NotFound, InvalidManifest, DigestMismatch):
                continue  # another platform's, which was not pulled; something that is no image; or a broken blob
            if isinstance(document, Manifest):
                reached.update(part.digest for part in (document.config, *document.layers))
            else:
                todo += [(entry.digest, entry.media_type) for entry in document.manifests]
        return reached

    def _make(self) -> None:
        """Make the layout's files where they are absent; harmless when another process does the same."""
        marker = os.path.join(self.path, "oci-layout")
        if os.path.exists(marker):
            return
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path, 0o700)  # private images, and what containers wrote that were committed
        for directory in ("blobs/sha256", "ingest"):
            os.makedirs(os.path.join(self.path, directory), exist_ok=True)
        with files.locked(os.path.join(self.path, ".index.lock")):
            if not os.path.exists(os.path.join(self.path, "index.json")):
                empty = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
                files.replace(os.path.join(self.path, "index.json"), json.dumps(empty, indent=1).encode())
            files.replace(marker, b'{"imageLayoutVersion": "1.0.0"}')

    def __repr__(self) -> str:
        return f"<Layout {self.path} {len(self._named())} names>"


def _canonical(name: str) -> str:
    """Return the name in full. Other tools write what they like there; what is no reference stays as it is."""
    try:
        return str(Reference.parse(name))
    except InvalidReference:
        return name


def _name(entry: dict[str, Any]) -> str:
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return _canonical(name) if isinstance(name, str) else ""


def _means(name: str, entry: Descriptor, wanted: Reference) -> bool:
    if name == str(wanted):
        return True
    if wanted.digest is None or wanted.digest != entry.digest:
        return False
    with contextlib.suppress(InvalidReference):
        return Reference.parse(name).name == wanted.name
    return False
