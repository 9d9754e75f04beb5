"""What a client may send: each bound is answered in Docker's form, by the right number; no traceback is logged."""

from __future__ import annotations

import gzip
import io
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest
from api_daemon import Daemon, container

from labrt.engine.api import protocol, router

pytestmark = pytest.mark.root
TAR = {"Content-Type": "application/x-tar"}


def said(sock: socket.socket) -> tuple[int, str]:
    """Read one answer: its number, and the message of its body."""
    with sock, sock.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, json.loads(stream.read(length))["message"]


def send(path: Path, raw: bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(str(path))
    sock.sendall(raw)
    return sock


HOST = b"Host: x\r\n\r\n"
FIELDS = b"".join(b"X-%d: a\r\n" % number for number in range(protocol.HEADERS + 1))
LARGE = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 30_000) for number in range(5))


HEADS = (
    (b"GET /_ping?%s HTTP/1.1\r\n" % (b"a" * (protocol.LINE + 1)) + HOST, 431, "head is too long"),
    (b"GET /_ping HTTP/1.1\r\nX: %s\r\n" % (b"a" * (protocol.LINE + 1)) + HOST, 431, "head is too long"),
    (b"GET /_ping HTTP/1.1\r\n" + FIELDS + HOST, 431, "head is too long"),
    (b"GET /_ping HTTP/1.1\r\n" + LARGE + HOST, 431, "head is too long"),
    (b"nonsense\r\n\r\n", 400, "malformed HTTP request"),
    (b"GET /_ping HTTP/1.1\r\nContent-Length: -1\r\n" + HOST, 400, "malformed HTTP request"),
    (b"POST /build HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n" + HOST, 400, "malformed HTTP"),
)


def test_heads(house: Path, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "d.sock")
    try:
        for raw, status, words in HEADS:
            found, message = said(send(daemon.path, raw))
            assert (found, words in message) == (status, True), (raw[:60], message)
        assert daemon.ask("GET", "/_ping")[0] == 200
    finally:
        log = daemon.end()
    assert "Traceback" not in log, log


def deep(levels: int) -> bytes:
    return b'{"Labels":' * levels + b"{}" + b"}" * levels


def test_bodies(daemon: Daemon) -> None:
    create, busybox = "/containers/create", {"Image": "busybox", "Cmd": ["true"]}
    cases: list[tuple[str, Any, int, str]] = [
        (create, b"x" * (router.BODY + 1), 413, "request body too large"),
        (create, deep(router.DEEPEST - 1), 400, "no image specified"),  # just not too deep
        (create, deep(router.DEEPEST), 400, "deeper than 64 levels"),
        (create, b'{"Cmd":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "deeper than 64 levels"),
        (create, b'{"Memory":' + b"9" * 5000 + b"}", 400, "invalid JSON"),
        (create, b"[]", 400, "an object is wanted"),
        (create, b'{"Image":"\xff"}', 400, "invalid JSON"),
        (create, {**busybox, "Cmd": ["a\0b"]}, 400, "a NUL byte"),
        (create, {**busybox, "Labels": {"a\0b": "c"}}, 400, "a NUL byte"),
        (f"{create}?name={'a' * 256}", busybox, 400, "--name"),
        (create, {**busybox, "Hostname": "h" * 65}, 400, "--hostname"),
        ("/volumes/create", {"Name": "v" * 256}, 400, "no volume's name"),
        ("/networks/create", {"Name": "n" * 65}, 400, "n" * 20),
        (f"/images/busybox/tag?repo={'a' * 256}", b"", 400, "invalid reference format"),
        (f"/images/busybox/tag?repo=a&tag={'a' * 129}", b"", 400, "invalid reference format"),
    ]
    for url, body, status, words in cases:
        found, answer = daemon.ask("POST", url, body)
        assert (found, words in answer["message"]) == (status, True), (url[:60], answer)
    assert daemon.ask("GET", "/containers/json?all=1")[1] == []


def archive(**about: Any) -> bytes:
    """Make a tar archive of one member."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo()
        vars_of = {"name": "a", "type": tarfile.SYMTYPE, **about}
        for name, value in vars_of.items():
            setattr(member, name, value)
        tar.addfile(member)
    return stream.getvalue()


def test_archives(daemon: Daemon) -> None:
    id = container(daemon, "true")
    build, load, put = ("POST", "/build"), ("POST", "/images/load"), ("PUT", f"/containers/{id}/archive?path=/tmp")
    ten = gzip.compress(b"no tar" * 1000)
    for (method, url), body, words in (
        (build, b"no tar" * 1000, "is no tar archive"), (build, ten, "is no tar archive"),
        (build, archive(name="../a", linkname="b"), "the context: "), (load, ten, "is no tar archive"),
        (build, archive(linkname="x" * 5000), "the context: "), (load, archive(name="../a", linkname="b"), "archive"),
        (put, archive(name="../../a", linkname="b"), ".."), (put, b"no tar" * 1000, "tar"),
    ):  # fmt: skip
        status, message = said(daemon.open(method, url, body, **TAR, **{"Content-Length": len(body)}))
        assert (status, words in message) == (400, True), (url, message)
