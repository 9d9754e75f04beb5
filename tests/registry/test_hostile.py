"""Hostile registries and hostile clients. Each attempt is one clear error, and nothing is left of it.

Below, two tables: what a registry attempts against our client, and what a client attempts against our server.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests
from hub import Seen, _Loopback, send
from samples import made_up, signed_in

from labrt.errors import DigestMismatch, ImageNotFound, InvalidManifest, LabrtError, RegistryError, Unreachable
from labrt.image.descriptor import OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.registry import receiving
from labrt.registry.client import Client
from labrt.registry.receiving import Desk
from labrt.registry.server import RegistryServer

LAYER = b"what the layer holds " * 1000
LAYER_PATH = f"/blobs/{Digest.of(LAYER)}"
SECRET = "a-password-that-is-secret"
Attempt = Callable[["Hostile", BaseHTTPRequestHandler, Seen], None]


class Hostile(_Loopback):
    """A registry with one image, which for the paths that contain `where` does something else."""

    def __init__(self, layout: Layout, where: str, attempt: Attempt) -> None:
        super().__init__()
        self.layout, self.where, self.attempt = layout, where, attempt
        self.image = layout.image("library/busybox:made-up")
        self.host = self.url.removeprefix("http://")

    def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
        if self.where in seen.path:
            with contextlib.suppress(OSError):
                self.attempt(self, http, seen)
        elif "/manifests/" in seen.path:
            send(http, 200, {"Content-Type": OCI_MANIFEST}, self.image.manifest.raw)
        elif "/blobs/" in seen.path:
            send(http, 200, {}, self.layout.read(Digest.parse(seen.path.rpartition("/")[2])))
        else:
            send(http, 200, {}, b"{}")


def reset(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    # SO_LINGER of no seconds: close(2) sends a reset and no end.
    http.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    http.close_connection = True
    http.connection.close()


def stall(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    http.send_response(200)
    http.send_header("Content-Type", OCI_MANIFEST)
    http.send_header("Content-Length", str(len(LAYER)))
    http.end_headers()
    http.connection.settimeout(30)
    http.rfile.read(1)  # until the client has had enough


def circle(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    send(http, 307, {"Location": seen.path})


def to(target: str) -> Attempt:
    return lambda server, http, seen: send(http, 307, {"Location": target})


def announce(size: int) -> Attempt:
    def attempt(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
        http.send_response(200)
        http.send_header("Content-Type", OCI_MANIFEST)
        http.send_header("Content-Length", str(size))
        http.end_headers()
        with contextlib.suppress(OSError):
            while True:
                http.wfile.write(b" " * 65536)

    return attempt


def endless(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    http.send_response(200)
    http.send_header("Content-Type", OCI_MANIFEST)
    http.send_header("Transfer-Encoding", "chunked")
    http.end_headers()
    http.close_connection = True
    with contextlib.suppress(OSError):
        while True:
            http.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")


def other_bytes(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    send(http, 200, {}, LAYER[:-1] + b"!")


def fewer(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    send(http, 200, {}, LAYER[:-5])


def garbage(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    http.wfile.write(b"\x00\xff not HTTP at all \r\n" * 100)
    http.close_connection = True


def headers_without_end(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    http.send_response(200)
    http.close_connection = True
    with contextlib.suppress(OSError):
        for number in range(100_000):
            http.wfile.write(f"X-{number}: {'x' * 100}\r\n".encode())


def lying_digest(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": str(Digest.of(b"another"))}
    send(http, 200, headers, server.image.manifest.raw)


def deep(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    send(http, 200, {"Content-Type": OCI_INDEX}, b"[" * 1_000_000)


def breaks_off(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    """A quarter of the layer and a reset, each time anew: who counts tries without progress never ends."""
    http.send_response(200)
    http.send_header("Content-Length", str(len(LAYER)))
    http.end_headers()
    http.wfile.write(LAYER[: len(LAYER) // 4])
    reset(server, http, seen)


def index_of(*digests: Digest, size: int = 7) -> bytes:
    entries = [Descriptor(OCI_INDEX, digest, size, Platform.parse("linux/amd64")).to_json() for digest in digests]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def indexes_in_a_circle(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    """Each of two lists the other; a digest cannot be right on both."""
    first = index_of(Digest.of(b"the second, under a digest that is made up"))
    send(http, 200, {"Content-Type": OCI_INDEX}, first)


def indexes_without_end(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    """A chain of honest digests, longer than anybody follows."""
    chain = [index_of(Digest.of(b"the end"))]
    for _ in range(100):
        chain.append(index_of(Digest.of(chain[-1]), size=len(chain[-1])))
    by_digest = {str(Digest.of(raw)): raw for raw in chain}
    send(http, 200, {"Content-Type": OCI_INDEX}, by_digest.get(seen.path.rpartition("/")[2], chain[-1]))


def ten_thousand_layers(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    manifest = json.loads(server.image.manifest.raw)
    manifest["layers"] *= 10_000
    send(http, 200, {"Content-Type": OCI_MANIFEST}, json.dumps(manifest).encode())


def negative_size(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    manifest = json.loads(server.image.manifest.raw)
    manifest["layers"][0]["size"] = -1
    send(http, 200, {"Content-Type": OCI_MANIFEST}, json.dumps(manifest).encode())


def a_config_of_10_gb(server: Hostile, http: BaseHTTPRequestHandler, seen: Seen) -> None:
    manifest = json.loads(server.image.manifest.raw)
    manifest["config"]["size"] = 10 << 30
    send(http, 200, {"Content-Type": OCI_MANIFEST}, json.dumps(manifest).encode())


# What it attempts, where in the path, and how the one error begins.
ATTEMPTS: list[tuple[str, str, Attempt, type[LabrtError], str]] = [
    ("resets each connection", "/manifests/", reset, Unreachable, "reset|hung up|aborted"),
    ("resets in place of a layer", LAYER_PATH, reset, Unreachable, "reset|hung up|aborted"),
    ("stalls in a manifest", "/manifests/", stall, Unreachable, "timed out|broke off"),
    ("stalls in a layer", LAYER_PATH, stall, Unreachable, "timed out|broke off"),
    ("redirects in a circle", "/manifests/", circle, RegistryError, "more than 5 redirects"),
    ("redirects a layer in a circle", LAYER_PATH, circle, RegistryError, "more than 5 redirects"),
    ("redirects to a file", LAYER_PATH, to("file:///etc/passwd"), RegistryError, "refused to follow a redirect"),
    ("redirects to a metadata service", LAYER_PATH, to("http://169.254.169.254/x"), RegistryError, "plain HTTP"),
    ("redirects to ftp", "/manifests/", to("ftp://example.com/x"), RegistryError, "refused to follow"),
    ("a manifest of 10 GB", "/manifests/", announce(10 << 30), RegistryError, "longer than 4194304 bytes"),
    ("an endless manifest", "/manifests/", endless, RegistryError, "longer than 4194304 bytes"),
    ("an endless layer", LAYER_PATH, endless, DigestMismatch, "more"),
    ("a layer with other bytes", LAYER_PATH, other_bytes, DigestMismatch, "the bytes have digest"),
    ("a layer that is shorter", LAYER_PATH, fewer, DigestMismatch, "the manifest says"),
    ("no HTTP", "/manifests/", garbage, Unreachable, "."),
    ("headers without end", "/manifests/", headers_without_end, Unreachable, "."),
    ("a manifest under another's digest", "/manifests/", lying_digest, DigestMismatch, "but has digest"),
    ("breaks off again and again", LAYER_PATH, breaks_off, LabrtError, "broke off|says"),
    ("indexes in a circle", "/manifests/", indexes_in_a_circle, DigestMismatch, "but has digest"),
    ("indexes without end", "/manifests/", indexes_without_end, InvalidManifest, "nested too deep"),
    ("more layers than diff ids", "/manifests/", ten_thousand_layers, InvalidManifest, "10000 layers, but 1 diff ids"),
    ("a layer of less than nothing", "/manifests/", negative_size, InvalidManifest, "size"),
    ("a config of 10 GB", "/manifests/", a_config_of_10_gb, InvalidManifest, "10737418240 bytes"),
    ("JSON nested a million deep", "/manifests/", deep, InvalidManifest, "."),
]


@pytest.fixture
def origin(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "origin")
    made_up(layout, [LAYER])
    return layout


@pytest.mark.parametrize(("where", "attempt", "kind", "words"), [case[1:] for case in ATTEMPTS],
                         ids=[case[0].replace(" ", "-") for case in ATTEMPTS])  # fmt: skip
def test_what_a_registry_attempts(
    where: str, attempt: Attempt, kind: type[LabrtError], words: str, origin: Layout, store: Layout
) -> None:
    with (
        Hostile(origin, where, attempt) as server,
        Client(wait=lambda seconds: None, attempts=2, config=signed_in(server.host, "me", SECRET)) as client,
    ):
        client.transport._timeouts = (5.0, 0.3)  # a stall is one after a third of a second, here
        with pytest.raises(LabrtError, match=words) as caught:
            client.pull(f"{server.host}/library/busybox:made-up", store)
    assert isinstance(caught.value, kind), repr(caught.value)
    assert caught.value.message.count("\n") == 0 and len(str(caught.value)) < 700
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert store.references() == {}
    assert Digest.of(LAYER) not in store.blobs()


@pytest.mark.parametrize(("location", "words"), [
    ("", "as the place to upload to"),
    ("file:///etc/passwd", "as the place to upload to"),
    ("ftp://example.com/x", "as the place to upload to"),
    ("http://169.254.169.254/put", "plain HTTP"),
    ("http://[broken/put", "as the place to upload to"),
    ("http://127.0.0.1:99999/put", "as the place to upload to"),
    ("/x" + "y" * 20000, "as the place to upload to"),
])  # fmt: skip
def test_where_an_upload_is_sent(location: str, words: str, origin: Layout) -> None:
    class Sends(_Loopback):
        def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
            if seen.method == "POST":
                send(http, 202, {"Location": location} if location else {})
            else:
                send(http, 404, {})

    blob = origin.image("library/busybox:made-up").manifest.layers[0]
    with Sends() as server, Client(wait=lambda seconds: None) as client:
        host = server.url.removeprefix("http://")
        with pytest.raises(RegistryError, match=words):
            client.upload(f"{host}/x", blob, origin.blob_path(blob.digest)).send()


def test_a_push_follows_no_redirect(origin: Layout) -> None:
    class Sends(_Loopback):
        def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
            send(http, 307 if seen.method == "POST" else 404, {"Location": "http://127.0.0.1:1/elsewhere"})

    blob = origin.image("library/busybox:made-up").manifest.layers[0]
    with Sends() as server, Client(wait=lambda seconds: None) as client:
        host = server.url.removeprefix("http://")
        with pytest.raises(RegistryError, match="refused to follow a redirect"):
            client.upload(f"{host}/x", blob, origin.blob_path(blob.digest)).send()


# What a client attempts -----------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(Layout(tmp_path / "served"), push=True) as one:
        one.desk = Desk(one.layout, blob_limit=100_000, uploads=3)
        yield one
    assert not list((tmp_path / "served").rglob("upload-*"))


def begin(server: RegistryServer, name: str = "x") -> str:
    answer = requests.post(f"{server.url}/v2/{name}/blobs/uploads/", timeout=30)
    assert answer.status_code == 202
    return server.url + answer.headers["Location"]


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


DIGEST = str(Digest.of(b"x"))
# What it attempts: method, path after /v2/, body, headers; and the answer.
REQUESTS = [
    ("PUT", "x/manifests/1", b"{}", {}, (400, "MANIFEST_INVALID")),
    ("PUT", "x/manifests/1", b"[" * 100_000, {}, (400, "MANIFEST_INVALID")),
    ("PUT", "x/manifests/1", b"\xff" * 100, {}, (400, "MANIFEST_INVALID")),
    ("PUT", "x/manifests/1", b" " * ((4 << 20) + 1), {}, (413, "MANIFEST_INVALID")),
    ("PUT", f"x/manifests/{DIGEST}", b'{"schemaVersion":2,"manifests":[]}', {}, (400, "DIGEST_INVALID")),
    ("PUT", "x/manifests/sha256:00", b'{"schemaVersion":2,"manifests":[]}', {}, (400, "DIGEST_INVALID")),
    ("PUT", "x/manifests/md5:00112233445566778899aabbccddeeff", b'{"schemaVersion":2,"manifests":[]}', {},
     (400, "DIGEST_INVALID")),
    ("PUT", f"{'x/' * 200}x/manifests/1", b"{}", {}, (400, "NAME_INVALID")),
    ("POST", f"{'x/' * 200}x/blobs/uploads/", b"", {}, (400, "NAME_INVALID")),
    ("POST", "x/blobs/uploads/?digest=sha256:00", b"x", {}, (400, "DIGEST_INVALID")),
    ("POST", f"x/blobs/uploads/?digest={DIGEST}", b"not x", {}, (400, "DIGEST_INVALID")),
    ("POST", f"x/blobs/uploads/?digest={DIGEST}", b"x" * 100_001, {}, (413, "SIZE_INVALID")),
    ("PUT", f"x/blobs/uploads/{'0' * 32}?digest={DIGEST}", b"x", {}, (404, "BLOB_UPLOAD_UNKNOWN")),
    ("PATCH", f"x/blobs/uploads/{'0' * 32}", b"x", {}, (404, "BLOB_UPLOAD_UNKNOWN")),
    ("DELETE", f"x/blobs/{DIGEST}", b"", {}, (404, "BLOB_UNKNOWN")),
    ("DELETE", "x/manifests/none", b"", {}, (404, "MANIFEST_UNKNOWN")),
    ("DELETE", "x/tags/list", b"", {}, (405, "UNSUPPORTED")),
    ("PUT", "UPPER/manifests/1", b"{}", {}, (405, "UNSUPPORTED")),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "headers", "expected"), REQUESTS)
def test_what_a_client_attempts(
    server: RegistryServer, method: str, path: str, body: bytes, headers: dict, expected: tuple
) -> None:
    answer = requests.request(method, f"{server.url}/v2/{path}", data=body, headers=headers, timeout=30)
    assert code(answer) == expected
    assert server.layout.references() == {}
    assert server.layout.blobs() == []


@pytest.mark.parametrize("path", ["../../etc/passwd", "%2e%2e%2f%2e%2e", "0" * 31 + "/", "..", "a" * 10_000])
def test_an_upload_is_no_path(server: RegistryServer, path: str) -> None:
    begin(server)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("PUT", f"/v2/x/blobs/uploads/{path}?digest={DIGEST}", b"x")
    answer = connection.getresponse()
    assert answer.status in (404, 405)
    connection.close()
    assert server.layout.blobs() == []


def test_too_many_uploads(server: RegistryServer) -> None:
    places = [begin(server) for _ in range(3)]
    answer = requests.post(f"{server.url}/v2/x/blobs/uploads/", timeout=30)
    assert code(answer) == (429, "TOOMANYREQUESTS")
    assert requests.delete(places[0], timeout=30).status_code == 204
    begin(server)


def test_an_upload_that_nobody_goes_on_with_makes_room(tmp_path: Path) -> None:
    now = [0.0]
    layout = Layout(tmp_path / "served")
    with RegistryServer(layout, push=True) as server:
        server.desk = Desk(layout, uploads=1, clock=lambda: now[0])
        first = begin(server)
        now[0] = receiving.IDLE
        assert code(requests.post(f"{server.url}/v2/x/blobs/uploads/", timeout=30)) == (429, "TOOMANYREQUESTS")
        now[0] += 1
        second = begin(server)
        assert code(requests.patch(first, data=b"x", timeout=30)) == (404, "BLOB_UPLOAD_UNKNOWN")
        assert requests.patch(second, data=b"x", timeout=30).status_code == 202


def test_a_refused_upload_in_one_request_is_forgotten(server: RegistryServer) -> None:
    for digest in ("sha256:00", DIGEST, "", DIGEST):
        answer = requests.post(f"{server.url}/v2/x/blobs/uploads/?digest={digest}", data=b"no", timeout=30)
        assert code(answer) == (400, "DIGEST_INVALID")
    assert begin(server)


def test_an_upload_belongs_to_its_repository(server: RegistryServer) -> None:
    place = begin(server, "mine").replace("/v2/mine/", "/v2/yours/")
    assert code(requests.put(f"{place}?digest={DIGEST}", data=b"x", timeout=30)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_of_another_repository_is_not_to_be_had(server: RegistryServer) -> None:
    place = begin(server, "mine")
    assert requests.put(f"{place}?digest={DIGEST}", data=b"x", timeout=30).status_code == 201
    assert requests.get(f"{server.url}/v2/mine/blobs/{DIGEST}", timeout=30).content == b"x"
    assert code(requests.get(f"{server.url}/v2/yours/blobs/{DIGEST}", timeout=30)) == (404, "BLOB_UNKNOWN")
    assert requests.delete(f"{server.url}/v2/mine/blobs/{DIGEST}", timeout=30).status_code == 202
    assert code(requests.get(f"{server.url}/v2/mine/blobs/{DIGEST}", timeout=30)) == (404, "BLOB_UNKNOWN")


def test_pieces_come_in_their_order(server: RegistryServer) -> None:
    place = begin(server)
    assert requests.patch(place, data=b"abc", headers={"Content-Range": "0-2"}, timeout=30).headers["Range"] == "0-2"
    answer = requests.patch(place, data=b"xyz", headers={"Content-Range": "5-7"}, timeout=30)
    assert (answer.status_code, answer.headers["Range"]) == (416, "0-2")
    answer = requests.patch(place, data=b"more than it says", headers={"Content-Range": "3-3"}, timeout=30)
    assert code(answer) == (413, "BLOB_UPLOAD_INVALID")
    answer = requests.patch(place, data=iter([b"d", b"ef"]), timeout=30)  # in HTTP's own chunks, as docker sends
    assert (answer.status_code, requests.get(place, timeout=30).headers["Range"]) == (202, answer.headers["Range"])


@pytest.mark.parametrize("chunk", [b"zz\r\nxx\r\n", b"-5\r\nabcde\r\n", b"f" * 20 + b"\r\n", b"x" * 10_000, b"5"])
def test_broken_chunks(server: RegistryServer, chunk: bytes) -> None:
    place = begin(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(b"PATCH " + place.removeprefix(server.url).encode() + b" HTTP/1.1\r\nHost: x\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n" + chunk)  # fmt: skip
        sock.shutdown(socket.SHUT_WR)
        assert sock.makefile("rb").readline().split()[1] == b"500"
    answer = requests.get(place, timeout=30)  # and the upload is still there
    assert (answer.status_code, answer.headers["Range"]) == (204, "0-0")


def test_a_manifest_needs_its_blobs(server: RegistryServer, origin: Layout) -> None:
    raw = origin.image("library/busybox:made-up").manifest.raw
    answer = requests.put(f"{server.url}/v2/x/manifests/1", data=raw, timeout=30)
    assert code(answer) == (404, "MANIFEST_BLOB_UNKNOWN")
    entry = Descriptor(OCI_MANIFEST, Digest.of(b"nowhere"), 7).to_json()
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    answer = requests.put(f"{server.url}/v2/x/manifests/1", data=index, timeout=30)
    assert code(answer) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert server.layout.references() == {}


def test_a_blob_in_use_stays(server: RegistryServer, origin: Layout, client: Client) -> None:
    client.push(f"{server.host}/x:1", origin, source="library/busybox:made-up")
    layer = origin.image("library/busybox:made-up").manifest.layers[0].digest
    assert code(requests.delete(f"{server.url}/v2/x/blobs/{layer}", timeout=30)) == (405, "UNSUPPORTED")
    # And what is pushed outlives the server: under names of its own.
    with RegistryServer(Layout(server.layout.path)) as again:
        with pytest.raises(ImageNotFound):
            client.manifest(f"{again.host}/x:2")
        assert client.tags(f"{again.host}/x") == ["1"]
        blob = Descriptor(OCI_EMPTY, layer, len(LAYER))
        assert b"".join(client.blob(f"{again.host}/x", blob)) == LAYER


