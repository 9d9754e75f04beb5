"""The files of an archive, kept aside until it is known what they are.

    with Spool(layout) as spool:
        spool.take(entry, source)                 one entry of a tar archive, hashed while it streams
        spool.file("manifest.json")               Spooled(path, digest, size), or None
        spool.place(spooled)                      now it is a blob of the layout

An archive's manifest may come last, so what a file is for is known only at the end. Nothing is ever written under a
name that the archive gives: files are numbered, in the layout's `ingest`, and links are followed here, in a dictionary.
What is not placed is gone at the end. A file that names its own digest, `blobs/sha256/…`, must have it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Self

from labrt.errors import DigestMismatch, InvalidDigest, InvalidManifest, NotFound, UnsafeLayer
from labrt.image import files, sparse
from labrt.image.compression import Source
from labrt.image.digest import Digest
from labrt.image.fields import LIMIT
from labrt.image.layout import Layout
from labrt.image.tar import Entry

MOST_ENTRIES = 100_000  # an archive of a thousand images of a hundred layers has fewer
_MOST_LINKS = 40  # as the kernel's own limit, path_resolution(7)


class Spooled(NamedTuple):
    """A file of an archive. `path` is where it lies meanwhile, `digest` and `size` are of its bytes."""

    path: str
    digest: Digest
    size: int

    def read(self) -> bytes:
        """Return the content of a document. Raises InvalidManifest when it is too large to be one."""
        if self.size > LIMIT:
            raise InvalidManifest(f"a document of {self.size} bytes", remedy=f"at most {LIMIT} are read")
        with self.open() as file:
            return file.read()

    def open(self) -> BinaryIO:
        """Open it to stream it."""
        return open(self.path, "rb")


class Spool:
    """What came so far, by name: files, and links to them. Made for one archive and one thread."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._files: dict[str, Spooled] = {}
        self._links: dict[str, str] = {}
        self._prefix = f"load-{os.getpid()}-{os.urandom(4).hex()}-"
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for spooled in self._files.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(spooled.path)

    # Taking -----------------------------------------------------------------------------------------------------------

    def take(self, entry: Entry, source: Source) -> None:
        """Take one entry of the archive. Directories say nothing; devices and the like have no business here."""
        self._count += 1
        if self._count > MOST_ENTRIES:
            raise UnsafeLayer(f"the archive has more than {MOST_ENTRIES} entries", remedy="it holds no images")
        name = normal(entry.name)
        if entry.kind == "directory":
            return
        if entry.kind in ("symlink", "hardlink"):
            beside = os.path.dirname(name) if entry.kind == "symlink" else ""
            self._links[name] = os.path.join(beside, entry.linkname)
        elif entry.kind == "file":
            if name in self._files:
                raise UnsafeLayer(f"the archive has two files called {name!r:.200}", remedy="do not trust who made it")
            self._files[name] = self._write(name, entry, source)
        else:
            raise UnsafeLayer(f"{name!r:.200} is a {entry.kind}, and archives of images have files and links only")

    def _write(self, name: str, entry: Entry, source: Source) -> Spooled:
        path = os.path.join(self.layout.ingest, f"{self._prefix}{self._count}")
        stated = _stated(name)
        hashers = [hashlib.sha256()] if stated is None or stated.algorithm == "sha256" else [
            hashlib.sha256(), hashlib.new(stated.algorithm)]  # fmt: skip
        try:
            with open(path, "xb") as file:
                for piece in sparse.filled(entry, source):
                    file.write(piece)
                    for hasher in hashers:
                        hasher.update(piece)
            if stated is not None and hashers[-1].hexdigest() != stated.hex:
                raise DigestMismatch(
                    f"the archive's {name!r:.200} has digest {hashers[-1].hexdigest()}", remedy="the archive is broken"
                )
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise
        return Spooled(path, stated or Digest("sha256", hashers[0].hexdigest()), entry.size)

    def keep(self, data: bytes) -> Spooled:
        """Keep a document that is made here, not read from the archive, beside its files."""
        self._count += 1
        path = os.path.join(self.layout.ingest, f"{self._prefix}{self._count}")
        spooled = Spooled(path, Digest.of(data), len(data))
        self._files[f"/{self._count}"] = spooled  # no name in an archive begins with a slash any more
        with open(path, "xb") as file:
            file.write(data)
        return spooled

    # Finding ----------------------------------------------------------------------------------------------------------

    def file(self, name: str) -> Spooled | None:
        """Return the file of this name, or that a link of this name leads to; None when there is none."""
        name = normal(name)
        for _ in range(_MOST_LINKS):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return None
            name = _inside(self._links[name])
        raise UnsafeLayer(f"{name!r:.200}: more than {_MOST_LINKS} links", remedy="do not trust who made the archive")

    def need(self, name: str, by: str) -> Spooled:
        """Return the file of this name. Raises NotFound, which says who needs it."""
        spooled = self.file(name)
        if spooled is None:
            remedy = "the archive is incomplete"
            raise NotFound(f"the archive has no {name!r:.200}, which its {by} names", remedy=remedy)
        return spooled

    def blob(self, digest: Digest) -> Spooled | None:
        """Return the blob of an OCI layout with this digest."""
        return self.file(f"blobs/{digest.algorithm}/{digest.hex}")

    # Placing ----------------------------------------------------------------------------------------------------------

    def place(self, spooled: Spooled) -> None:
        """Make it a blob of the layout, by one rename. Harmless when the blob is there, or placed already."""
        blob = self.layout.blob_path(spooled.digest)
        if self.layout.has(spooled.digest):
            return
        os.makedirs(os.path.dirname(blob), exist_ok=True)
        os.chmod(spooled.path, 0o644)
        with open(spooled.path, "rb") as file:
            os.fsync(file.fileno())
        os.rename(spooled.path, blob)
        files.sync_directory(os.path.dirname(blob))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files))

    def __repr__(self) -> str:
        return f"<Spool {len(self._files)} files, {len(self._links)} links>"


def normal(name: str) -> str:
    """Return a name in an archive without `./` and a leading `/`. Raises UnsafeLayer when it has `..` in it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or not parts and name.strip("./"):
        raise UnsafeLayer(f"{name!r:.200} leads out of the archive", remedy="do not trust who made it")
    return "/".join(parts)


def _inside(target: str) -> str:
    """Follow the `..` of a link's target, which old dockers write: `<id>/layer.tar -> ../<other>/layer.tar`."""
    parts: list[str] = []
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise UnsafeLayer(f"a link to {target!r:.200} leads out of the archive", remedy="do not trust it")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _stated(name: str) -> Digest | None:
    """Return the digest that a blob's name states, None for other files."""
    directory, _, digits = name.rpartition("/")
    if not directory.startswith("blobs/"):
        return None
    try:
        return Digest.parse(f"{directory.removeprefix('blobs/')}:{digits}")
    except InvalidDigest:
        return None  # some other program's own file there
