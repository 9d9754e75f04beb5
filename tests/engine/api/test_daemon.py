"""The daemon as a process: killed, asked by many at once, left by its clients, handed a socket, over TLS."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_daemon import Daemon, container, until

pytestmark = pytest.mark.root


def test_kill_9_loses_nothing(daemon: Daemon) -> None:
    id = container(daemon, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.2; done; exit 5")
    assert daemon.ask("POST", f"/containers/{id}/start")[0] == 204
    daemon.kill()
    daemon.begin()
    assert daemon.ask("POST", f"/containers/{id}/wait")[1] == {"StatusCode": 5}
    raw = daemon.ask("GET", f"/containers/{id}/logs?stdout=1")[1]
    assert raw.split() and [piece[-1:] for piece in raw.split(b"\n")[:3]] == [b"1", b"2", b"3"]
    assert raw.count(b"\n") == 10 + raw[:8].count(b"\n")
    summary = daemon.ask("GET", "/containers/json?all=1")[1]
    assert [one["State"] for one in summary] == ["exited"]
    assert daemon.ask("DELETE", f"/containers/{id}")[0] == 204


async def all_at_once(path: Path, asked: list[tuple[str, str, Any]]) -> list[tuple[int, str]]:
    """Open a connection for each request, then send them all, then read the answers."""
    streams = [await asyncio.open_unix_connection(str(path)) for _ in asked]
    for (_, writer), (method, url, body) in zip(streams, asked, strict=True):
        raw = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(raw)}\r\n"
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + raw)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str]:
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), body.decode()

    return await asyncio.wait_for(asyncio.gather(*(answer(*pair) for pair in streams)), 120)


@pytest.fixture
def thousand() -> Iterator[int]:
    """Descriptors for as many connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 5000:
        pytest.skip(f"no more than {before[1]} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 5000), before[1]))
    yield 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_thousand_at_once(daemon: Daemon, thousand: int) -> None:
    id = container(daemon, "true")
    asked: list[tuple[str, str, Any]] = [
        ("POST", f"/containers/create?name=n{number}", {"Image": "busybox", "Cmd": ["true"]}) for number in range(10)
    ]
    places = ("/_ping", "/containers/json?all=1", f"/containers/{id}/json", "/images/json")
    asked += [("GET", places[number % len(places)], None) for number in range(thousand - len(asked))]
    before, memory = daemon.held_at_most(), daemon.memory()
    answers = asyncio.run(all_at_once(daemon.path, asked))
    assert [status for status, _ in answers] == [201] * 10 + [200] * (thousand - 10), answers[:10]
    gone = asyncio.run(all_at_once(daemon.path, [("DELETE", f"/containers/n{number}", None) for number in range(10)]))
    assert [status for status, _ in gone] == [204] * 10
    assert daemon.settles(before), (before, daemon.held())
    assert daemon.memory() < memory + (64 << 20)


def test_more_connections_than_descriptors(house: Path, tmp_path: Path) -> None:
    """They wait in line, and those who are in do not notice."""
    daemon = Daemon(tmp_path / "d.sock", prefix=("prlimit", "--nofile=200:300", "--"))
    held = []
    try:
        id = container(daemon, "sh", "-c", "ulimit -n")
        for _ in range(200):
            held.append(daemon.open("GET", "/_ping"))
        assert held[0].recv(12) == b"HTTP/1.1 200"
        held[0].sendall(f"GET /containers/{id}/json HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert until(lambda: b"sh" in held[0].recv(1 << 16))
        last = daemon.open("GET", "/_ping")
        for sock in held:
            sock.close()
        assert last.recv(12) == b"HTTP/1.1 200"
        last.close()
        assert daemon.ask("POST", f"/containers/{id}/start")[0] == 204
        daemon.ask("POST", f"/containers/{id}/wait")
        assert daemon.ask("GET", f"/containers/{id}/logs?stdout=1")[1][8:] == b"200\n"  # and not 300
    finally:
        for sock in held:
            sock.close()
        log = daemon.end()
    assert "Traceback" not in log and "too many" not in log.lower(), log


def test_two_who_want_one_name(daemon: Daemon) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(
            daemon.ask("POST", "/containers/create?name=only", {"Image": "busybox", "Cmd": ["true"]})[0]))
        for _ in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 409, 409, 409]
    assert daemon.ask("DELETE", "/containers/only")[0] == 204


def test_clients_that_vanish_cost_nothing(daemon: Daemon) -> None:
    id = container(daemon, "sleep", "1000")
    assert daemon.ask("POST", f"/containers/{id}/start")[0] == 204
    before = daemon.held()
    heads = (
        f"POST /containers/{id}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
        f"GET /containers/{id}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /containers/{id}/stats HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /containers/{id}/wait HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /events HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    for head in heads:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(60)
                sock.connect(str(daemon.path))
                sock.sendall(head.encode())
                assert sock.recv(12) in (b"HTTP/1.1 101", b"HTTP/1.1 200")
    assert daemon.settles(before), (before, daemon.held())
    assert daemon.ask("DELETE", f"/containers/{id}?force=1")[0] == 204


REFUSALS: tuple[tuple[str, str, Any, int, str], ...] = (
    ("GET", "/v1.51/info", None, 400, "client version 1.51 is too new"),
    ("GET", "/v1.23/info", None, 400, "client version 1.23 is too old"),
    ("GET", "/nothing/like/it", None, 404, "page not found"),
    ("GET", "/containers/nobody/json", None, 404, "No such container: nobody"),
    ("POST", "/containers/create", {"Image": "nobody"}, 404, "No such image: nobody:latest"),
    ("POST", "/containers/create", b"{", 400, "invalid JSON"),
    ("POST", "/containers/create", b'{"HostConfig":' * 200 + b"{}" + b"}" * 200, 400, "invalid JSON"),
    ("POST", "/containers/create", {"Image": "busybox", "Future": True}, 501, "Future"),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Links": ["a"]}}, 501, "Links"),
    ("POST", "/containers/create", {"Image": "a", "HostConfig": {"StorageOpt": {"a": "b"}}}, 501, "StorageOpt"),
    ("POST", "/containers/create", {"Image": "busybox", "Env": 3}, 400, "Env"),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"SecurityOpt": ["seccomp:/etc/passwd"]}},
     400, "Decoding seccomp profile failed"),
    ("GET", "/containers/json?filters=%7B%22no%22%3A%5B%22x%22%5D%7D", None, 400, "invalid filter 'no'"),
    ("GET", "/swarm", None, 503, "not a swarm manager"),
    ("DELETE", "/networks/host", None, 403, "pre-defined network"),
    ("GET", "/volumes/nothing", None, 404, "no such volume"),
    ("GET", "/images/nothing/json", None, 404, "No such image: nothing:latest"),
)


def test_refusals(daemon: Daemon) -> None:
    for method, url, body, status, words in REFUSALS:
        found, answer = daemon.ask(method, url, body)
        assert (found, words in answer["message"]) == (status, True), (method, url, answer)


def test_its_end_is_no_container_s(house: Path, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "d.sock", "--pidfile", str(tmp_path / "pid"), "--log-format", "json")
    id = container(daemon, "sleep", "1000")
    assert daemon.ask("POST", f"/containers/{id}/start")[0] == 204
    assert (tmp_path / "pid").read_text() == str(daemon.process.pid)
    daemon.process.send_signal(signal.SIGHUP)
    said = daemon.end()
    assert "reloading" in [json.loads(line)["msg"] for line in said.splitlines()]
    assert not daemon.path.exists() and not (tmp_path / "pid").exists()
    daemon.begin()
    assert daemon.ask("GET", f"/containers/{id}/json")[1]["State"]["Running"]
    assert daemon.ask("DELETE", f"/containers/{id}?force=1")[0] == 204
    daemon.end()


def test_tcp_only_with_tls(house: Path) -> None:
    command = [sys.executable, "-m", "labrt", "daemon", "-H", "tcp://127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "TCP only with TLS on both sides" in done.stderr


@pytest.fixture
def certificates(tmp_path: Path) -> Callable[[str], Path]:
    """Make a CA, a server and a client, with openssl(1)."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is absent")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path)

    # Python 3.13 and newer look at certificates more strictly: what a key is for must be said.
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    (tmp_path / "more").write_text(
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=critical,digitalSignature\n"
        "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-extfile", "more")  # fmt: skip
    return lambda name: tmp_path / name


@pytest.mark.oracle
def test_tls_with_half_closed_input(house: Path, tmp_path: Path, certificates: Callable[[str], Path]) -> None:
    if not shutil.which("docker"):
        pytest.skip("docker is absent")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = ("--tlscacert", certificates("ca.pem"), "--tlscert", certificates("server.pem"), "--tlskey",
            certificates("server.key"))  # fmt: skip
    daemon = Daemon(tmp_path / "d.sock", "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *map(str, ours))
    theirs = ("--tlscacert", certificates("ca.pem"), "--tlscert", certificates("client.pem"), "--tlskey",
              certificates("client.key"))  # fmt: skip
    command = ["docker", "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *map(str, theirs)]
    try:
        done = subprocess.run([*command, "run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo after"], input="half\n",
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "half\nafter\n"), done.stderr
        id = container(daemon, "true")
        before = daemon.held()
        friend = ssl.create_default_context(cafile=str(certificates("ca.pem")))
        friend.load_cert_chain(str(certificates("client.pem")), str(certificates("client.key")))
        for request in ("GET /events", f"POST /containers/{id}/attach?stream=1&stdout=1"):
            sock = socket.create_connection(("127.0.0.1", port), timeout=60)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST: socket(7)
            with friend.wrap_socket(sock, server_hostname="127.0.0.1") as one:
                one.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert one.recv(8) == b"HTTP/1.1"
        assert daemon.settles(before), (before, daemon.held())
        nobody = ssl.create_default_context(cafile=str(certificates("ca.pem")))
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        with pytest.raises(OSError), nobody.wrap_socket(plain, server_hostname="127.0.0.1") as stranger:
            stranger.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stranger.recv(1) == b"", "it was served"
            raise ConnectionResetError
    finally:
        assert "no TLS with a client" in daemon.end()
