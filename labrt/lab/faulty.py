"""A registry for the classroom that does what real ones do on a bad day, to order. On loopback only.

    with faulty.Registry(layout, tokens=True) as registry:      401 without a token, which /token gives to anybody
        registry.busy = 2                                       the next two answers are 429, with Retry-After
        registry.lies["/v2/…/blobs/sha256:…"] = b"other bytes"  what is sent in place of the right ones
        registry.seen                                           every request: when, what, and the status

All else is the specification's answer (registry/distribution.py). Notebook 13.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import NamedTuple

from labrt.image.layout import Layout
from labrt.registry import distribution
from labrt.registry.distribution import Answer, Request
from labrt.registry.server import RegistryServer


class Seen(NamedTuple):
    """One request as the registry saw it; `at` is in seconds of a clock that only goes forward."""

    at: float
    method: str
    path: str
    status: int


class Registry(RegistryServer):
    """A registry that can be busy, lie, and want tokens."""

    def __init__(self, layout: Layout, *, tokens: bool = False) -> None:
        super().__init__(layout)
        self.tokens = tokens
        self.busy = 0
        self.retry_after = 1  # seconds
        self.lies: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self._granted: set[str] = set()

    def __enter__(self) -> Registry:
        super().__enter__()
        return self

    def answer(self, request: Request) -> Answer:
        """Answer, and keep what was asked."""
        found = self._answer(request)
        self.seen.append(Seen(time.monotonic(), request.method, request.path, found.status))
        return found

    def _answer(self, request: Request) -> Answer:
        if self.tokens and request.path == "/token":
            token = secrets.token_urlsafe(12)
            self._granted.add(token)
            body = json.dumps({"token": token, "expires_in": 300}).encode()
            return Answer(200, {"Content-Type": "application/json"}, body)
        if self.tokens and request.headers.get("authorization", "").removeprefix("Bearer ") not in self._granted:
            refused = distribution.refuse(401, "UNAUTHORIZED", "authentication required")
            refused.headers["WWW-Authenticate"] = self._challenge(request.path)
            return refused
        if self.busy and request.path != "/v2/":
            self.busy -= 1
            refused = distribution.refuse(429, "TOOMANYREQUESTS", "too many requests")
            refused.headers["Retry-After"] = str(self.retry_after)
            return refused
        right = super().answer(request)
        if request.path in self.lies and request.method == "GET" and right.status == 200:
            headers = {name: value for name, value in right.headers.items() if name == "Content-Type"}
            return Answer(200, headers, self.lies[request.path])
        return right

    def _challenge(self, path: str) -> str:
        match = distribution.MANIFEST.fullmatch(path) or distribution.BLOB.fullmatch(path)
        scope = f',scope="repository:{match[1]}:pull"' if match else ""
        return f'Bearer realm="{self.url}/token",service="classroom"{scope}'
