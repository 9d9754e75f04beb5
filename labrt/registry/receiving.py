"""The push side of the distribution-spec, as a registry answers it. distribution.py has the pull side.

    desk = Desk(layout)
    desk.answer(Request("POST", "/v2/team/app/blobs/uploads/", {}, {}))      202, Location: where the bytes go
    desk.close()                                                             forgets what is half here

A blob comes in an upload: begun by POST, filled by PATCH or PUT, ended by PUT with its digest, and then moved into the
store, which checks it. A manifest is taken when all that it names is here. Tags are given in the store as names of
`localhost`, unless the store knows the repository under another registry.

What a stranger sends is bounded (bytes of a blob and of a manifest, uploads at a time) and names no path: an upload is
found by a number that we have drawn, a blob by a checked digest. An upload that breaks off may be continued.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from labrt.errors import DigestMismatch, InvalidDigest, InvalidManifest
from labrt.image import manifest as manifests
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.manifest import Index, Manifest
from labrt.image.reference import Reference
from labrt.registry import publish
from labrt.registry.distribution import BLOB, MANIFEST, NAME, Answer, Request, refuse
from labrt.registry.shelf import Shelf

BLOB_LIMIT = 64 << 30  # bytes
MANIFEST_LIMIT = 4 << 20  # bytes: what the specification asks for
UPLOADS = 64  # at a time
IDLE = 900.0  # seconds without a word, after which an upload makes room for another
_LONGEST_NAME = 255
_PIECE = 1 << 20
_HOME = "localhost"  # the registry in the names that a push gives
_BEGIN = re.compile(f"/v2/({NAME})/blobs/uploads/?")
_UPLOAD = re.compile(f"/v2/({NAME})/blobs/uploads/([0-9a-f]{{32}})")
_CONTENT_RANGE = re.compile("(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")


@dataclass(slots=True)
class _Upload:
    """One blob that is half here: `size` bytes of it, in the file."""

    repository: str
    number: str
    file: str
    heard: float
    size: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Desk:
    """Takes what is pushed, for one layout. Threads may share it; `close` removes what is half here."""

    def __init__(
        self,
        layout: Layout,
        *,
        blob_limit: int = BLOB_LIMIT,
        uploads: int = UPLOADS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._clock = clock
        self._blob_limit = blob_limit
        self._most = uploads
        self._uploads: dict[str, _Upload] = {}
        self._links: dict[str, set[Digest]] = {}  # blobs of a repository that no manifest names yet
        self._lock = threading.Lock()
        self._naming = threading.Lock()

    def __repr__(self) -> str:
        return f"<Desk of {self._layout.path}, {len(self._uploads)} uploads>"

    def close(self) -> None:
        """Forget the uploads under way, and remove their bytes."""
        for number, upload in list(self._uploads.items()):
            self._forget(number, upload)

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether a blob is here and was given to this repository, by a manifest or by a push that goes on."""
        linked = digest in self._links.get(repository, ()) and self._layout.has(digest)
        return linked or Shelf(self._layout).has_blob(repository, digest)

    def answer(self, request: Request) -> Answer | None:
        """The answer to what changes something or concerns an upload; None: that is not for us."""
        if match := _UPLOAD.fullmatch(request.path):
            return self._continue(match[1], match[2], request)
        if (match := _BEGIN.fullmatch(request.path)) and request.method == "POST":
            return self._begin(match[1], request)
        if match := MANIFEST.fullmatch(request.path):
            if request.method == "PUT":
                return self._put_manifest(match[1], match[2], request)
            if request.method == "DELETE":
                return self._delete_manifest(match[1], match[2])
        if (match := BLOB.fullmatch(request.path)) and request.method == "DELETE":
            return self._delete_blob(match[1], match[2])
        return None

    # Blobs ------------------------------------------------------------------------------------------------------------

    def _begin(self, repository: str, request: Request) -> Answer:
        if len(repository) > _LONGEST_NAME:
            return refuse(400, "NAME_INVALID", "invalid repository name", f"over {_LONGEST_NAME} characters")
        with contextlib.suppress(InvalidDigest):
            mounted = Digest.parse(request.query.get("mount", ""))
            if self.has_blob(request.query.get("from", ""), mounted):
                return self._have(repository, mounted)
        self._forget_idle()
        with self._lock:
            if len(self._uploads) >= self._most:
                return refuse(429, "TOOMANYREQUESTS", "too many requests", f"{self._most} uploads are under way")
            number = os.urandom(16).hex()
            # Where the store sweeps what was left half here, should we be killed; not while the server has its lease.
            file = os.path.join(self._layout.ingest, f"upload-{number}")
            upload = _Upload(repository, number, file, self._clock())
            self._uploads[number] = upload
        if "digest" in request.query:
            try:
                with upload.lock:
                    return self._finish(number, upload, request)
            finally:
                self._forget(number, upload)  # whose number nobody else was told
        return _place(202, repository, number, 0)

    def _forget_idle(self) -> None:
        """Where there are too many uploads, forget those of which nothing was heard for long."""
        if len(self._uploads) < self._most:
            return
        for number, upload in list(self._uploads.items()):
            if self._clock() - upload.heard > IDLE and upload.lock.acquire(blocking=False):
                self._forget(number, upload)
                upload.lock.release()

    def _continue(self, repository: str, number: str, request: Request) -> Answer:
        upload = self._uploads.get(number)
        if upload is None or upload.repository != repository:
            return refuse(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        with upload.lock:
            upload.heard = self._clock()
            if number not in self._uploads:  # ended while we waited
                return refuse(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
            match request.method:
                case "GET" | "HEAD":
                    return _place(204, repository, number, upload.size)
                case "PATCH":
                    return self._append(upload, request) or _place(202, repository, number, upload.size)
                case "PUT":
                    return self._finish(number, upload, request)
                case "DELETE":
                    self._forget(number, upload)
                    return Answer(204, {})
        return refuse(405, "UNSUPPORTED", "The operation is unsupported.")

    def _append(self, upload: _Upload, request: Request) -> Answer | None:
        """Take the bytes of a request. What came before a connection broke is kept. None: all is well."""
        extent = _CONTENT_RANGE.fullmatch(request.headers.get("content-range", ""))
        if extent and int(extent[1]) != upload.size:
            return _place(416, upload.repository, upload.number, upload.size)
        most = min(self._blob_limit, upload.size + int(extent[2]) - int(extent[1]) + 1 if extent else self._blob_limit)
        with self._layout.lease(), open(upload.file, "ab") as file:  # a lease also makes the store's directories
            file.truncate(upload.size)  # what a full disk has left
            while chunk := request.body.read(_PIECE):
                if upload.size + len(chunk) > most:
                    code = "BLOB_UPLOAD_INVALID" if extent and most < self._blob_limit else "SIZE_INVALID"
                    detail = f"more than {most} bytes"
                    return refuse(413, code, "provided length did not match content length", detail)
                file.write(chunk)
                file.flush()
                upload.size += len(chunk)
        return None

    def _finish(self, number: str, upload: _Upload, request: Request) -> Answer:
        try:
            digest = Digest.parse(request.query.get("digest", ""))
        except InvalidDigest as error:
            return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content", error.message)
        if refused := self._append(upload, request):
            return refused
        try:
            with self._layout.writer(digest, upload.size) as writer:
                if not writer.complete:
                    writer.restart()  # what a broken-off pull has left may be anything
                    for chunk in _read(upload.file):
                        writer.write(chunk)
        except DigestMismatch as error:
            return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content", error.message)
        finally:
            self._forget(number, upload)
        return self._have(upload.repository, digest)

    def _forget(self, number: str, upload: _Upload) -> None:
        with self._lock:
            self._uploads.pop(number, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(upload.file)

    def _have(self, repository: str, digest: Digest) -> Answer:
        with self._lock:
            self._links.setdefault(repository, set()).add(digest)
        return Answer(201, {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": str(digest)})

    def _delete_blob(self, repository: str, text: str) -> Answer:
        try:
            digest = Digest.parse(text)
        except InvalidDigest as error:
            return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content", error.message)
        if Shelf(self._layout).has_blob(repository, digest):
            return refuse(405, "UNSUPPORTED", "The operation is unsupported.", "a manifest needs this blob")
        with self._lock:
            linked = digest in self._links.get(repository, ())
            self._links.get(repository, set()).discard(digest)
        return Answer(202, {}) if linked else refuse(404, "BLOB_UNKNOWN", "blob unknown to registry", text)

    # Manifests --------------------------------------------------------------------------------------------------------

    def _put_manifest(self, repository: str, which: str, request: Request) -> Answer:
        if len(repository) > _LONGEST_NAME:
            return refuse(400, "NAME_INVALID", "invalid repository name", f"over {_LONGEST_NAME} characters")
        raw = b"".join(iter(lambda: request.body.read(_PIECE) if request.body.came <= MANIFEST_LIMIT else b"", b""))
        if len(raw) > MANIFEST_LIMIT:
            return refuse(413, "MANIFEST_INVALID", "manifest invalid", f"more than {MANIFEST_LIMIT} bytes")
        try:
            document = manifests.parse(raw, request.headers.get("content-type"))
            subject = publish.subject_of(raw)
            digest = Digest.of(raw, Digest.parse(which).algorithm if ":" in which else "sha256")
        except (InvalidManifest, InvalidDigest) as error:
            code = "DIGEST_INVALID" if isinstance(error, InvalidDigest) else "MANIFEST_INVALID"
            return refuse(400, code, "manifest invalid", error.message)
        if ":" in which and str(digest) != which:
            return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content", str(digest))
        if missing := self._missing(repository, document):
            return refuse(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", {"digest": str(missing)})
        self._layout.put(raw, digest.algorithm)
        self._name(repository, which, Descriptor(document.media_type, digest, len(raw)))
        headers = {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": str(digest)}
        return Answer(201, {**headers, **({"OCI-Subject": str(subject)} if subject else {})})

    def _missing(self, repository: str, document: Manifest | Index) -> Digest | None:
        """What a manifest names and this repository has not; of layers with URLs of their own nobody asks."""
        if isinstance(document, Index):
            shelf = Shelf(self._layout)
            return next((m.digest for m in document.manifests if not shelf.manifest(repository, m.digest)), None)
        blobs = (document.config, *(layer for layer in document.layers if not layer.urls))
        return next((blob.digest for blob in blobs if not self.has_blob(repository, blob.digest)), None)

    def _name(self, repository: str, which: str, descriptor: Descriptor) -> None:
        """Let a tag or a digest name it, under the registry by which the store knows this repository."""
        with self._naming:
            names = Shelf(self._layout).names(repository)
            registry = names[0].registry if names else _HOME
            wanted = Reference(registry, repository, None if ":" in which else which)
            if ":" in which:
                wanted = wanted.with_digest(Digest.parse(which))
            else:
                wanted = next((name for name in names if name.tag == which), wanted)
            self._layout.tag(wanted, descriptor)

    def _delete_manifest(self, repository: str, which: str) -> Answer:
        with self._naming:
            shelf = Shelf(self._layout)
            try:
                found = shelf.manifest(repository, Digest.parse(which) if ":" in which else which)
            except InvalidDigest as error:
                return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content", error.message)
            if found is None:
                return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown", which)
            names = [
                name
                for name, descriptor in shelf.named(repository)
                if (name.tag == which if ":" not in which else str(descriptor.digest) == which)
            ]
            for name in names:
                self._layout.untag(name)
        return Answer(202, {})


def _place(status: int, repository: str, number: str, size: int) -> Answer:
    """Where an upload is, and how far."""
    location = f"/v2/{repository}/blobs/uploads/{number}"
    return Answer(status, {"Location": location, "Range": f"0-{max(0, size - 1)}", "Docker-Upload-Uuid": number})


def _read(path: str) -> Iterator[bytes]:
    if os.path.exists(path):
        with open(path, "rb") as file:
            while chunk := file.read(_PIECE):
                yield chunk
