"""A replica of Docker Hub on loopback: a front that wants tokens, a token server on another port, a CDN on a third.

It answers as the specification's server does (labrt.registry.distribution) and adds what Docker Hub adds: Bearer tokens
with scope and expiry, rate-limit headers, blobs by redirect to another host that refuses our Authorization. And it
breaks to order: `hub.refuse_with(...)`, `hub.cdn.cut_after`, `hub.cdn.corrupt` … test_hub.py holds it against a real
registry, so that no test rests on what we only believe.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from labrt.image.layout import Layout
from labrt.registry import distribution
from labrt.registry.distribution import Answer, Request
from labrt.registry.server import RegistryServer

SERVICE = "registry.replica"


class Seen(dict):
    """One request as a server saw it: method, path, query and headers (in lower case)."""

    __getattr__ = dict.__getitem__


class _Loopback:
    """One small HTTP server; a subclass answers in `handle`. `seen` is what it was asked."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                form = dict(parse_qsl(self.rfile.read(length).decode()))
                parts = urlsplit(self.path)
                headers = {key.lower(): value for key, value in self.headers.items()}
                query = parse_qs(parts.query)
                seen = Seen(method=self.command, path=parts.path, query=query, headers=headers, form=form)
                outer.seen.append(seen)
                outer.handle(self, seen)

            do_POST = do_HEAD = do_GET

            def log_message(self, *_: object) -> None: ...

        self.seen: list[Seen] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients hang up on purpose here
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
        raise NotImplementedError


def send(http: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    http.send_response(status)
    for key, value in {"Content-Length": str(len(body)), **headers}.items():
        http.send_header(key, value)
    http.end_headers()
    if http.command != "HEAD":
        http.wfile.write(body)


def send_json(http: BaseHTTPRequestHandler, status: int, value: object) -> None:
    send(http, status, {"Content-Type": "application/json"}, json.dumps(value).encode())


class TokenServer(_Loopback):
    """auth.docker.io. Anybody gets tokens for `public` repositories; `users` (name: password) for all."""

    def __init__(self, public: set[str]) -> None:
        super().__init__()
        self.public = public
        self.users: dict[str, str] = {}
        self.identities: dict[str, str] = {}  # identity token: user
        self.expires_in: float | None = 300
        self.granted: dict[str, tuple[set[str], float]] = {}  # token: scopes, until
        self.body: bytes | None = None  # sent instead of a token

    def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
        user = self._user(seen)
        if user is None:
            send_json(http, 401, {"details": "incorrect username or password"})
            return
        if self.body is not None:
            send(http, 200, {"Content-Type": "application/json"}, self.body)
            return
        scopes = seen.query.get("scope", []) + seen.form.get("scope", "").split()
        allowed = {scope for scope in scopes if user or scope.split(":")[1] in self.public}
        token = f"token-{secrets.token_urlsafe(24)}"
        self.granted[token] = allowed, time.monotonic() + (self.expires_in or 60)
        answer: dict[str, object] = {"access_token" if seen.method == "POST" else "token": token}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        send_json(http, 200, answer)

    def _user(self, seen: Seen) -> str | None:
        """The user's name, "" for anybody, None for one whose sign-in is wrong."""
        if seen.method == "POST":
            return self.identities.get(seen.form.get("refresh_token", ""))
        header = seen.headers.get("authorization", "")
        if not header:
            return ""
        name, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return name if self.users.get(name) == password else None

    def allows(self, token: str, scope: str) -> bool:
        scopes, until = self.granted.get(token, (set(), 0.0))
        return time.monotonic() < until and (not scope or scope in scopes)


class Cdn(_Loopback):
    """Where Docker Hub's blobs lie: signed URLs, Range, and 400 for those who bring an Authorization, as S3 does."""

    SIGNATURE = "signature-of-the-cdn"

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.cut_after: deque[int] = deque()  # for each of the next answers: hang up after so many bytes
        self.corrupt = False  # one byte is another
        self.short = False  # Content-Length and body lack the last byte
        self.ranges = True  # False: always all, with 200
        self.stalled: threading.Event | None = None  # half a blob, then silence until it is set
        self.stalling = threading.Event()  # set when the silence has begun

    def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
        if "authorization" in seen.headers:
            send(http, 400, {}, b"Only one auth mechanism allowed")
            return
        if seen.query.get("X-Signature") != [self.SIGNATURE]:
            send(http, 403, {}, b"AccessDenied")
            return
        blob = self.layout.open(distribution.Digest.parse(seen.path.strip("/")))
        with blob:
            body = blob.read()
        if self.corrupt:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if self.short:
            body = body[:-1]
        self._send(http, seen, body)

    def _send(self, http: BaseHTTPRequestHandler, seen: Seen, body: bytes) -> None:
        start, size = 0, len(body)
        status, headers = 200, {"Content-Type": "application/octet-stream"}
        if self.ranges and (header := seen.headers.get("range")):
            start = int(header.removeprefix("bytes=").rstrip("-"))
            if start >= size:
                send(http, 416, {"Content-Range": f"bytes */{size}"})
                return
            status, headers["Content-Range"] = 206, f"bytes {start}-{size - 1}/{size}"
        body = body[start:]
        http.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            http.send_header(key, value)
        http.end_headers()
        if self.stalled is not None:
            http.wfile.write(body[: len(body) // 2])
            self.stalling.set()
            self.stalled.wait()
            http.close_connection = True
        elif self.cut_after:
            http.wfile.write(body[: self.cut_after.popleft()])
            http.close_connection = True
        else:
            http.wfile.write(body)


class Front(RegistryServer):
    """registry-1.docker.io: no answer without a token, blobs lie elsewhere, and pulls are counted."""

    def __init__(self, layout: Layout, tokens: TokenServer, cdn: Cdn) -> None:
        super().__init__(layout)
        self.tokens, self.cdn = tokens, cdn
        self.seen: list[Request] = []
        self.refusals: deque[tuple[int, dict[str, str]]] = deque()
        self.remaining = 100
        self.manifest: tuple[bytes, str] | None = None  # served for every manifest: bytes and media type
        self.before: Callable[[Request], object] = lambda request: None  # called before each answer

    def answer(self, request: Request) -> Answer:
        self.seen.append(request)
        self.before(request)
        if self.refusals and request.path != "/v2/":  # not what only asks whether we speak TLS
            status, headers = self.refusals.popleft()
            return Answer(status, dict(headers), b"slow down" if status == 429 else b"")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        scope = self._scope(request)
        if scheme != "Bearer" or not self.tokens.allows(token, scope):
            return self._challenge(scope, token)
        if "/manifests/" in request.path:
            return self._manifest(request)
        answer = super().answer(request)
        if answer.file:
            digest = answer.headers["Docker-Content-Digest"]
            there = f"{self.cdn.url}/{digest}?X-Signature={Cdn.SIGNATURE}"
            return Answer(307, {"Location": there})
        return answer

    def _manifest(self, request: Request) -> Answer:
        answer = super().answer(request)
        if self.manifest is not None:
            raw, media_type = self.manifest
            answer = Answer(200, {"Content-Type": media_type}, raw)
        if request.method == "GET" and answer.status == 200:
            self.remaining -= 1
        answer.headers["ratelimit-limit"] = "100;w=21600"
        answer.headers["ratelimit-remaining"] = f"{self.remaining};w=21600"
        return answer

    def _scope(self, request: Request) -> str:
        parts = request.path.split("/")
        name = "/".join(parts[2:-2])
        return f"repository:{name}:pull" if name else ""

    def _challenge(self, scope: str, token: str) -> Answer:
        header = f'Bearer realm="{self.tokens.url}/token",service="{SERVICE}"'
        detail: object = None
        if scope:
            kind, name, action = scope.split(":")
            header += f',scope="{scope}"'
            detail = [{"Type": kind, "Class": "", "Name": name, "Action": action}]
        if token:
            header += f',error="{"insufficient_scope" if token in self.tokens.granted else "invalid_token"}"'
        answer = distribution.refuse(401, "UNAUTHORIZED", "authentication required", detail)
        answer.headers["Www-Authenticate"] = header
        return answer


class Hub:
    """All three, of one layout. `host` is what stands before an image's name."""

    def __init__(self, layout: Layout, public: set[str] | None = None) -> None:
        self.tokens = TokenServer({"library/busybox"} if public is None else public)
        self.cdn = Cdn(layout)
        self.front = Front(layout, self.tokens, self.cdn)
        self.host = self.front.host

    def __enter__(self) -> Hub:
        for server in (self.tokens, self.cdn, self.front):
            server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self.cdn.stalled is not None:
            self.cdn.stalled.set()
        for server in (self.front, self.cdn, self.tokens):
            server.__exit__()

    def refuse_with(self, status: int, times: int = 1, **headers: str) -> None:
        """Answer the next requests with this status. `retry_after="1"` is the header Retry-After."""
        wanted = {key.replace("_", "-"): value for key, value in headers.items()}
        self.front.refusals.extend([(status, wanted)] * times)

    @property
    def secrets(self) -> set[str]:
        """Every string that nobody but the one it was sent to may see."""
        return {*self.tokens.granted, *self.tokens.users.values(), *self.tokens.identities, Cdn.SIGNATURE}
