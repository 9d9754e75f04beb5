"""The pull side of the OCI distribution-spec: which answer belongs to which request. No sockets here.

    answer(Request("GET", "/v2/library/busybox/tags/list", {}, {}), layout)       Answer(200, …)

Five kinds of path, two methods, one kind of error; receiving.py has what changes something. server.py puts it on the
wire; notebook 13 asks it by hand. Error codes and their words: distribution-spec, "Error Codes", and those of CNCF
Distribution.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote

from labrt.errors import InvalidDigest
from labrt.image.descriptor import OCI_INDEX
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.registry.shelf import Shelf

NAME = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
MANIFEST = re.compile(f"/v2/({NAME})/manifests/([A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}|[a-z0-9]+:[0-9a-f]+)")
BLOB = re.compile(f"/v2/({NAME})/blobs/([a-z0-9]+:[0-9a-f]+)")
_TAGS = re.compile(f"/v2/({NAME})/tags/list")
_REFERRERS = re.compile(f"/v2/({NAME})/referrers/([^/]+)")
_RANGE = re.compile("bytes=([0-9]{0,18})-([0-9]{0,18})")


HasBlob = Callable[[str, Digest], bool]


class Body(Protocol):
    """What a request brings, read once."""

    came: int  # bytes that have been read

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; b"" at the end. Raises OSError when it breaks off."""
        ...


class Nothing:
    """The body of a request without one."""

    came = 0

    def read(self, size: int) -> bytes:
        """Nothing."""
        return b""


class Request(NamedTuple):
    """What was asked. `path` is without its query; headers' names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body = Nothing()


class Answer(NamedTuple):
    """What is sent: `body`, or of `file` the bytes from `start`, `length` many."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    file: str = ""
    start: int = 0
    length: int = 0


def answer(request: Request, layout: Layout, has_blob: HasBlob | None = None) -> Answer:
    """The specification: what belongs to each path. Raises what a broken store raises.

    `has_blob` says which blobs a repository has; None: those that its manifests name.
    """
    if request.method not in ("GET", "HEAD"):
        return refuse(405, "UNSUPPORTED", "The operation is unsupported.")
    shelf = Shelf(layout)
    if request.path == "/v2":
        return Answer(301, {"Location": "/v2/"})
    if request.path == "/v2/":
        return Answer(200, {"Content-Type": "application/json; charset=utf-8"}, b"{}")
    if match := MANIFEST.fullmatch(request.path):
        return _manifest(shelf, match[1], match[2], request)
    if match := BLOB.fullmatch(request.path):
        return _blob(shelf, has_blob or shelf.has_blob, match[1], match[2], request)
    if match := _TAGS.fullmatch(request.path):
        return _tags(shelf, match[1], request)
    if match := _REFERRERS.fullmatch(request.path):
        return _referrers(shelf, match[1], match[2], request)
    return Answer(404, {"Content-Type": "text/plain; charset=utf-8"}, b"404 page not found\n")


def _manifest(shelf: Shelf, name: str, which: str, request: Request) -> Answer:
    try:
        found = shelf.manifest(name, Digest.parse(which) if ":" in which else which)
    except InvalidDigest as error:
        return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content", error.message)
    if found is None:
        detail: object = {"Tag": which} if ":" not in which else f"unknown manifest name={name} revision={which}"
        return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown", detail)
    accept = request.headers.get("accept", "*/*")
    if ":" not in which:
        found = shelf.acceptable(found, accept)
        if found is None:
            return refuse(404, "MANIFEST_UNKNOWN", "the Accept header does not allow for this manifest's type")
    raw = shelf.layout.read(found.digest)
    headers = {"Content-Type": found.media_type, **_names(found.digest)}
    if _has_it(request, found.digest):
        return Answer(304, _names(found.digest))
    return Answer(200, headers, raw)


def _blob(shelf: Shelf, has_blob: HasBlob, name: str, digest: str, request: Request) -> Answer:
    try:
        parsed = Digest.parse(digest)
    except InvalidDigest as error:
        return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content", error.message)
    if not has_blob(name, parsed):
        return refuse(404, "BLOB_UNKNOWN", "blob unknown to registry", digest)
    if _has_it(request, parsed):
        return Answer(304, _names(parsed))
    file = shelf.layout.blob_path(parsed)
    size = os.path.getsize(file)
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000",  # a digest's bytes never change
        **_names(parsed),
    }
    extent = _extent(request.headers.get("range", ""), size)
    if extent is None:
        return Answer(200, headers, file=file, length=size)
    start, end = extent
    if start >= end:
        return Answer(416, {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Answer(206, headers, file=file, start=start, length=end - start)


def _tags(shelf: Shelf, name: str, request: Request) -> Answer:
    tags = shelf.tags(name)
    if tags is None:
        return refuse(404, "NAME_UNKNOWN", "repository name not known to registry", {"name": name})
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if "last" in request.query:
        tags = [tag for tag in tags if tag > request.query["last"]]
    if (number := request.query.get("n", "")).isdecimal() and int(number) < len(tags):
        tags = tags[: int(number)]
        if tags:
            headers["Link"] = f'</v2/{name}/tags/list?n={number}&last={quote(tags[-1])}>; rel="next"'
    return Answer(200, headers, _json({"name": name, "tags": tags}))


def _referrers(shelf: Shelf, name: str, digest: str, request: Request) -> Answer:
    try:
        found = shelf.referrers(name, Digest.parse(digest))
    except InvalidDigest as error:
        return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content", error.message)
    headers = {"Content-Type": OCI_INDEX}
    if wanted := request.query.get("artifactType"):
        found = [one for one in found if one.artifact_type == wanted]
        headers["OCI-Filters-Applied"] = "artifactType"
    listed = [one.to_json() for one in found]
    return Answer(200, headers, _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}))


def _names(digest: Digest) -> dict[str, str]:
    return {"Docker-Content-Digest": str(digest), "Etag": f'"{digest}"'}


def _has_it(request: Request, digest: Digest) -> bool:
    return request.headers.get("if-none-match", "").strip('"') == str(digest)


def _extent(header: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last of a Range; None: all, as for several ranges at once."""
    match = _RANGE.fullmatch(header)
    if match is None or header == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1 if last else size, size)


def refuse(status: int, code: str, message: str, detail: object = None) -> Answer:
    """An error in the specification's words."""
    error = {"code": code, "message": message, "detail": detail}
    if detail is None:
        del error["detail"]
    return Answer(status, {"Content-Type": "application/json; charset=utf-8"}, _json({"errors": [error]}))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
