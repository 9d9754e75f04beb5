"""A registry on this machine only, which serves a store and with `push` also takes: for class rooms without internet.

    with RegistryServer(layout) as server:
        server.url                                  http://127.0.0.1:40123
        server.host                                 127.0.0.1:40123, to put before an image's name

    skopeo copy docker://127.0.0.1:40123/library/busybox oci:busybox --src-tls-verify=false

    with RegistryServer(layout, push=True) as server:
        podman push --tls-verify=false busybox 127.0.0.1:40123/library/busybox

What it answers is in distribution.py, what it takes in receiving.py; here is the HTTP around them. An image is served
under its repository without its registry: docker.io/library/busybox as library/busybox. Nothing but the standard
library is used, so that it runs where nothing else is installed. Notebook 13.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from io import BufferedIOBase
from urllib.parse import parse_qs, urlsplit

from labrt import __version__
from labrt.errors import InvalidInput, NotSupported
from labrt.image.layout import Layout
from labrt.registry import distribution, urls
from labrt.registry.distribution import Answer, Request
from labrt.registry.receiving import Desk

_CHUNK = 256 << 10
_DRAINED = 1 << 20
_LONGEST_LINE = 8 << 10
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_SILENCE = 60.0  # seconds that a client may keep a connection without a word


Seen = Callable[[Request, Answer], None]


class RegistryServer:
    """Serves a layout, as it is at each request. `host` must be this machine; `port` 0 takes a free one.

    `push` lets anybody on this machine push and delete; while it is served, the store is not collected. `on_request` is
    told of each request and its answer, from the thread that serves it.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        push: bool = False,
        on_request: Seen | None = None,
    ) -> None:
        if not urls.is_loopback(f"[{host}]" if ":" in host else host):
            remedy = "use 127.0.0.1 or ::1; to serve a class room, run a real registry with TLS"
            raise InvalidInput(f"RegistryServer does not listen on {host!r}, which others can reach", remedy=remedy)
        self.layout = layout
        self.desk = Desk(layout) if push else None
        self._lease = contextlib.ExitStack()
        self._on_request = on_request
        try:
            self._server = _Server(host, port, self)
        except OSError as error:
            remedy = "port=0 takes a free one" if port else ""
            raise NotSupported(f"cannot listen on {host} port {port}: {error.strerror}", remedy=remedy) from None
        self.port: int = self._server.server_address[1]
        self.host = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"http://{self.host}"
        # It looks every 50 ms whether it is to stop: the default of half a second is felt at the end of a `with`.
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.05,), name="labrt-registry", daemon=True)

    def __enter__(self) -> RegistryServer:
        if self.desk is not None:
            self._lease.enter_context(self.layout.lease())  # a blob comes before the manifest that names it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()
        if self.desk is not None:
            self.desk.close()
        self._lease.close()

    def __repr__(self) -> str:
        return f"<RegistryServer {self.url} of {self.layout.path}>"

    def serve(self, request: Request) -> Answer:
        """Answer, and tell whoever wants to know. Whatever fails inside is a 500, as with any server."""
        try:
            answer = self.answer(request)
        except Exception as error:
            answer = distribution.refuse(500, "UNKNOWN", "unknown error", str(error) or type(error).__name__)
        answer.headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
        if self._on_request is not None:
            self._on_request(request, answer)
        return answer

    def answer(self, request: Request) -> Answer:
        """The specification's answer. A subclass may add what a certain registry adds, or breaks."""
        if self.desk is None:
            return distribution.answer(request, self.layout)
        taken = self.desk.answer(request)
        return distribution.answer(request, self.layout, self.desk.has_blob) if taken is None else taken


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, registry: RegistryServer) -> None:
        self.registry = registry
        self.open: set[socket.socket] = set()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would look our own name up, in the DNS
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def hang_up(self) -> None:
        """End the kept connections, which would otherwise be served on after the server is closed."""
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A client that hung up in the middle is no error of ours, and this is a library: it prints nothing."""


class _Body:
    """The body of a request, by its Content-Length or in chunks (RFC 9112, section 7.1)."""

    def __init__(self, stream: BufferedIOBase, headers: Mapping[str, str]) -> None:
        length = headers.get("content-length", "0")
        self._stream = stream
        self._chunked = "transfer-encoding" in headers
        self._left = int(length) if length.isdecimal() and not self._chunked else 0
        self._ended = not self._chunked and self._left == 0
        self.came = 0

    def read(self, size: int) -> bytes:
        """The next bytes; b"" at the end. Raises ConnectionError when it breaks off."""
        if self._chunked and not self._left and not self._ended:
            self._next_chunk()
        if self._ended:
            return b""
        # read1: what has come is kept, also when nothing more comes.
        data = self._stream.read1(min(size, self._left))
        if not data:
            raise ConnectionError("the connection broke off in the body of a request")
        self._left -= len(data)
        self.came += len(data)
        if not self._left:
            self._end_piece()
        return bytes(data)

    def _next_chunk(self) -> None:
        line = self._stream.readline(_LONGEST_LINE)
        number = line.partition(b";")[0].strip()
        if not line.endswith(b"\n") or not _HEX.fullmatch(number):
            raise ConnectionError("a chunk of a request has no length")
        self._left = int(number, 16)
        if not self._left:
            self._ended = True
            while self._stream.readline(_LONGEST_LINE).strip():  # trailers
                continue

    def _end_piece(self) -> None:
        if self._chunked:
            self._stream.readline(_LONGEST_LINE)
        else:
            self._ended = True

    def drain(self) -> bool:
        """Read on what nobody wanted, if it is little: a client that still sends may not see our answer else."""
        with contextlib.suppress(OSError):
            most = self.came + _DRAINED
            while self.came < most:
                if not self.read(_CHUNK):
                    return True
        return False


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = f"labrt/{__version__}"
    sys_version = ""
    timeout = _SILENCE
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        # A header that comes several times, as Accept does from Go's clients, is one list: RFC 9110, section 5.3.
        headers = {key.lower(): ", ".join(self.headers.get_all(key, ())) for key in self.headers}
        body = _Body(self.rfile, headers)
        answer = self.server.registry.serve(Request(self.command, parts.path, query, headers, body))
        if not body.drain():
            self.close_connection = True  # it sends more than we want to read
        self.send_response(answer.status)
        length = answer.length if answer.file else len(answer.body)
        for key, value in {**answer.headers, "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD" and answer.status != 304:
            self._send(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

    def _send(self, answer: Answer) -> None:
        if not answer.file:
            self.wfile.write(answer.body)
            return
        left = answer.length
        with open(answer.file, "rb") as file:
            file.seek(answer.start)
            while left and (chunk := file.read(min(_CHUNK, left))):
                self.wfile.write(chunk)
                left -= len(chunk)

    def log_message(self, *_: object) -> None:
        """A library prints nothing; see `on_request`."""
