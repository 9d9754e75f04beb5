"""An HTTP answer: small ones are read at once, blobs are streamed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labrt.errors import RegistryError, Unreachable
from labrt.registry import failures, urls

if TYPE_CHECKING:
    import requests

CHUNK = 128 << 10  # bytes read of a blob at a time
_ERROR_LIMIT = 64 << 10  # bytes


class Response:
    """An answer. `body` is filled by `read()`; or else `chunks()` streams it, once. Closed by `with`."""

    def __init__(self, method: str, url: str, answer: requests.Response) -> None:
        self._answer = answer
        self.url = url
        self.asked = f"{method} {urls.public(url)}"
        self.host = urlsplit(url).netloc
        self.status = answer.status_code
        self.headers: Mapping[str, str] = answer.headers
        self.body = b""

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()

    def __repr__(self) -> str:
        return f"<Response {self.status} to {self.asked}>"

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The body as sent, undecoded, in pieces of at most `size` bytes. Raises Unreachable when it breaks off."""
        import urllib3

        # urllib3 1.26 does not by itself: to it, a body that broke off is a short one.
        self._answer.raw.enforce_content_length = True
        try:
            # Not iter_content: a digest is of the bytes as they lie in the registry, whatever Content-Encoding says.
            yield from self._answer.raw.stream(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unreachable(f"{self.asked}: the connection broke off: {failures.words(error)}") from error

    def read(self, limit: int) -> None:
        """Read the body and let the connection be used again. Longer than `limit` bytes is a RegistryError."""
        parts, size = [], 0
        with self:
            for chunk in self.chunks():
                size += len(chunk)
                if size > limit:
                    remedy = "no manifest or token is that long; is this an OCI registry?"
                    message = f"{self.asked}: the answer is longer than {limit} bytes"
                    raise RegistryError(message, status=self.status, remedy=remedy)
                parts.append(chunk)
        self.body = b"".join(parts)

    def read_error(self) -> None:
        """Read the body of a 4xx or 5xx, as far as it can be: the status has said what counts.

        CNCF Distribution, for one, answers 416 with the Content-Length of the blob and then one line.
        """
        with contextlib.suppress(Unreachable, RegistryError):
            self.read(_ERROR_LIMIT)
