"""One blob to a registry: is it there, can it be mounted, and if not, its bytes, going on after a broken connection.

    upload = Upload(endpoints, transport, emit, reference, descriptor, path)
    upload.exists()                                HEAD
    upload.mount("team/base")                      POST ?mount=…&from=…: the registry copies it by itself
    upload.send()                                  POST for a place, PUT with all bytes and their digest
    upload.send(chunk=4 << 20)                     POST, PATCH for each piece, PUT with the digest

Where the bytes go is what the registry's Location says, and changes with each answer. It may be another host, which
then gets none of our Authorization. A piece that broke off is continued where the registry says that it stopped (GET
of the place, header Range); a registry that has forgotten the upload is asked for a new one.

In one piece is the default: every registry takes it, and some take nothing else (Artifact Registry). Distribution-spec,
"Pushing blobs". Notebook 13.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from labrt.errors import ImageNotFound, LabrtError, RegistryError, Unauthorized, Unreachable
from labrt.image.descriptor import Descriptor
from labrt.image.reference import Reference
from labrt.registry import failures, urls
from labrt.registry.endpoints import Endpoints, scope
from labrt.registry.events import Emitter, Mounted, Resuming, UploadDone, UploadProgress
from labrt.registry.response import Response
from labrt.registry.transport import Transport, backoff

_OCTETS = "application/octet-stream"
_RANGE = re.compile("(?:bytes=)?0-([0-9]{1,18})")
_LONGEST_LOCATION = 16 << 10


class Part:
    """Bytes `start` to `end` of a file, as requests reads a body: `read(n)`, and a length. `sent` hears the offset."""

    def __init__(self, path: str, start: int, end: int, sent: Callable[[int], object] = lambda offset: None) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - the transport closes it
        self._file.seek(start)
        self._offset, self._end, self._sent = start, end, sent

    def __len__(self) -> int:
        return self._end - self._offset

    def read(self, size: int = -1) -> bytes:
        """The next bytes; b"" at the end."""
        left = len(self)
        chunk = self._file.read(left if size < 0 else min(size, left)) if left else b""
        self._offset += len(chunk)
        if chunk:
            self._sent(self._offset)
        return chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Upload:
    """One blob on its way into `reference`'s repository. `path` is the file with its bytes."""

    def __init__(
        self,
        endpoints: Endpoints,
        transport: Transport,
        emit: Emitter,
        reference: Reference,
        descriptor: Descriptor,
        path: str,
    ) -> None:
        self._endpoints, self._transport, self._emit = endpoints, transport, emit
        self._reference, self._descriptor, self._path = reference, descriptor, path
        self._what = f"blob {descriptor.digest} of {reference.familiar}"
        self._base = transport.base_url(reference.registry)
        self._scope = scope(reference, "pull,push")
        self._place = ""  # where the next bytes go
        self._least = 0  # bytes: what the registry wants of each chunk but the last
        self._offset = 0

    def __repr__(self) -> str:
        return f"<Upload {self._descriptor.digest.short} {self._offset} of {self._descriptor.size} B>"

    def exists(self) -> bool:
        """Whether the repository has the blob. Any doubt is a no: then it is sent."""
        response = self._ask("HEAD", f"/v2/{self._reference.repository}/blobs/{self._descriptor.digest}")
        if response.status in (401, 403):
            raise failures.refusal(response, self._what)
        return response.status == 200

    def mount(self, source: str) -> bool:
        """Have the registry take the blob over from its repository `source`. False: it did not, and `send` must."""
        query = urlencode({"mount": str(self._descriptor.digest), "from": source})
        wanted = f"{self._scope} repository:{source}:pull"
        try:
            response = self._ask("POST", f"{self._uploads}?{query}", wanted)
        except Unauthorized:  # the other repository is not ours to read
            return False
        if response.status == 201:
            self._emit(Mounted(self._descriptor, source))
            return True
        if response.status == 202:  # the registry does not mount, and has begun an upload instead
            self._begun(response)
        return False

    def send(self, *, chunk: int | None = None) -> None:
        """Send the bytes: at once, or in pieces of `chunk` bytes. Raises when several tries in a row bring nothing."""
        in_vain = 0
        while True:
            began = self._offset
            try:
                if not self._place:
                    self._begin()
                self._send(chunk)
                break
            except (Unreachable, _Interrupted) as error:
                in_vain = 0 if self._offset > began else in_vain + 1
                if in_vain >= self._transport.attempts or self._transport.stopped:
                    raise self._gave_up(error) from None
                self._transport.pause(backoff(in_vain + 1), error.message, in_vain + 1)
                if self._resume():
                    break
        self._emit(UploadDone(self._descriptor))

    @property
    def _uploads(self) -> str:
        return f"/v2/{self._reference.repository}/blobs/uploads/"

    def _ask(self, method: str, target: str, scope: str = "", **how: Any) -> Response:
        """Ask our registry, signed; or another host that its Location named, unsigned. `target` is a path or a URL."""
        url = urls.join(self._base, target)
        if urls.origin(url) != urls.origin(self._base):
            if self._base.startswith("https:") and not url.startswith("https:"):
                message = f"{method} {urls.public(url)}: refused to send {self._what} in plain HTTP"
                raise RegistryError(message, remedy="the registry is set up wrongly; tell those who run it")
            return self._transport.request(method, url, **how)
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        base = f"{parts.scheme}://{parts.netloc}"
        return self._endpoints.ask(method, self._reference.registry, base, path, scope=scope or self._scope, **how)

    def _begin(self) -> None:
        response = self._ask("POST", self._uploads)
        if response.status != 202:
            raise failures.refusal(response, f"a push to {self._reference.familiar}")
        self._begun(response)

    def _begun(self, response: Response) -> None:
        self._offset = 0
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        self._least = int(least) if least.isdecimal() and len(least) < 13 else 0
        self._moved(response)

    def _moved(self, response: Response) -> None:
        """Remember where the registry wants the next bytes."""
        location = response.headers.get("Location", "")
        try:
            self._place = urls.join(urls.join(self._base, urlsplit(response.url).path), location) if location else ""
        except ValueError:
            self._place = ""
        if not self._place.startswith(("http://", "https://")) or len(location) > _LONGEST_LOCATION:
            where = failures.printable(repr(urls.public(location)))
            self._place = ""
            raise RegistryError(f"{response.asked}: it names {where} as the place to upload to", status=response.status,
                                remedy="is this an OCI registry?")  # fmt: skip

    def _send(self, chunk: int | None) -> None:
        size = self._descriptor.size
        step = max(chunk, self._least) if chunk else size
        while chunk and size - self._offset > step:
            self._patch(self._offset + step)
        if chunk or self._offset:
            self._patch(size)
        self._put()

    def _patch(self, end: int) -> None:
        """Send one piece, up to `end`."""
        if end == self._offset:
            return
        headers = {"Content-Type": _OCTETS, "Content-Range": f"{self._offset}-{end - 1}"}
        start = self._offset
        response = self._ask("PATCH", self._place, headers=headers, body=lambda: self._part(start, end), attempts=1)
        if response.status not in (202, 204):
            raise self._refused(response)
        self._moved(response)
        self._offset = end

    def _put(self) -> None:
        """Send what is left, and the digest: the registry says whether it has what we meant."""
        start, end = self._offset, self._descriptor.size
        joint = "&" if urlsplit(self._place).query else "?"
        place = f"{self._place}{joint}digest={quote(str(self._descriptor.digest))}"
        headers = {"Content-Type": _OCTETS, "Content-Length": str(end - start)}
        response = self._ask("PUT", place, headers=headers, body=lambda: self._part(start, end), attempts=1)
        if response.status not in (201, 204):
            raise self._refused(response)

    def _part(self, start: int, end: int) -> object:
        total = self._descriptor.size
        if start == end:
            return b""
        return Part(self._path, start, end, lambda offset: self._emit(UploadProgress(self._descriptor, offset, total)))

    def _refused(self, response: Response) -> LabrtError:
        """A refusal that another try may mend, or one for good."""
        if response.status in (404, 416, 429) or response.status >= 500:
            return _Interrupted(f"{response.asked}: status {response.status}", response, self._what)
        return failures.refusal(response, self._what)

    def _resume(self) -> bool:
        """Find out how far the registry has come, after an upload broke off. True: it has all."""
        try:
            if self.exists():  # the answer was lost, not the bytes
                return True
            response = self._ask("GET", self._place, attempts=1) if self._place else None
        except (Unreachable, ImageNotFound):
            return False  # the next try will tell
        came = _RANGE.fullmatch(response.headers.get("Range", "")) if response else None
        if response is None or response.status not in (200, 204) or came is None:
            self._place, self._offset = "", 0
            return False
        # "0-0" is what some say of nothing, and others of one byte.
        self._offset = int(came[1]) + 1 if int(came[1]) else 0
        if self._offset > self._descriptor.size:
            self._place, self._offset = "", 0
            return False
        if response.headers.get("Location"):
            self._moved(response)
        if self._offset:
            self._emit(Resuming(self._descriptor, self._offset))
        return False

    def _gave_up(self, error: LabrtError) -> LabrtError:
        if isinstance(error, _Interrupted):
            return failures.refusal(error.response, error.what)
        message = f"{error.message}, at byte {self._offset} of {self._descriptor.size}"
        return Unreachable(message, remedy="check the network and push again: what is there is not sent again")


class _Interrupted(LabrtError):
    """A status that another try may mend."""

    def __init__(self, message: str, response: Response, what: str) -> None:
        super().__init__(message)
        self.response, self.what = response, what
