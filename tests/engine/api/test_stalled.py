"""Clients that do not read, that send half and wait, that vanish: they cost the daemon and the others nothing."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import tarfile
from collections.abc import Callable, Iterator

import pytest
from api_daemon import Daemon, container, until

pytestmark = pytest.mark.root
MANY = 3  # of each kind; two kinds together are more than there are warm workers
MIB = 1 << 20
TALK = "head -c 4000000 /dev/zero | tr '\\0' x | fold -w 100"
SWITCH = {"Connection": "Upgrade", "Upgrade": "tcp"}


def archive(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def talker(daemon: Daemon) -> Iterator[str]:
    """A container that has said four megabytes, and lives on."""
    id = container(daemon, "sh", "-c", f"{TALK}; echo the end; exec sleep 1000")
    assert daemon.ask("POST", f"/containers/{id}/start")[0] == 204
    assert until(lambda: b"the end" in daemon.ask("GET", f"/containers/{id}/logs?stdout=1&tail=1")[1])
    yield id
    assert daemon.ask("DELETE", f"/containers/{id}?force=1")[0] == 204


def exec_of(daemon: Daemon, id: str, *command: str) -> str:
    wanted = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
    return str(daemon.ask("POST", f"/containers/{id}/exec", wanted)[1]["Id"])


def non_readers(daemon: Daemon, id: str) -> Iterator[socket.socket]:
    """Ask for more than the kernel's buffers hold, and for what goes on for ever."""
    for url in (
        f"/containers/{id}/logs?stdout=1&follow=1", f"/containers/{id}/export", f"/containers/{id}/archive?path=/bin",
        "/images/busybox/get", f"/containers/{id}/stats", "/events?since=1",
    ):  # fmt: skip
        for _ in range(MANY):
            yield daemon.open("GET", url)
    yield daemon.open("POST", f"/containers/{id}/attach?stream=1&stdout=1&logs=1", **SWITCH)
    said = json.dumps({"Detach": False}).encode()
    for _ in range(2):
        exec_id = exec_of(daemon, id, "sh", "-c", TALK)
        length = {"Content-Type": "application/json", "Content-Length": len(said)}
        yield daemon.open("POST", f"/exec/{exec_id}/start", said, **length, **SWITCH)


def half_senders(daemon: Daemon, id: str) -> Iterator[socket.socket]:
    """Promise a megabyte, and send less."""
    half = archive("Dockerfile", b"FROM busybox\n" + b"#" * MIB)[: MIB // 2]
    for method, url, kind in (
        ("POST", "/build?t=half:1", "application/x-tar"), ("POST", "/images/load", "application/x-tar"),
        ("PUT", f"/containers/{id}/archive?path=/tmp", "application/x-tar"),
        ("POST", "/images/create?fromSrc=-&repo=half", "application/x-tar"),
        ("POST", "/containers/create", "application/json"),
    ):  # fmt: skip
        for _ in range(MANY):
            with contextlib.suppress(BrokenPipeError):
                yield daemon.open(method, url, half, **{"Content-Type": kind, "Content-Length": MIB})


@pytest.mark.parametrize("kind", [non_readers, half_senders])
def test_clients_that_stall(daemon: Daemon, talker: str, kind: Callable[..., Iterator[socket.socket]]) -> None:
    before, memory = daemon.held_at_most(), daemon.memory()
    stalled = list(kind(daemon, talker))
    assert daemon.held()["fds"] >= len(stalled)
    assert daemon.ask("GET", f"/containers/{talker}/archive?path=/etc/passwd")[0] == 200
    other = container(daemon, "sh", "-c", "echo other; exit 4")
    assert daemon.ask("POST", f"/containers/{other}/start")[0] == 204
    assert daemon.ask("POST", f"/containers/{other}/wait")[1] == {"StatusCode": 4}
    assert daemon.ask("GET", f"/containers/{other}/logs?stdout=1")[1].endswith(b"other\n")
    assert daemon.ask("DELETE", f"/containers/{other}")[0] == 204
    assert daemon.memory() < memory + 64 * MIB
    for sock in stalled:
        sock.close()
    assert daemon.settles(before), (before, daemon.held())
    names = [tag for image in daemon.ask("GET", "/images/json")[1] for tag in image["RepoTags"]]
    assert names == ["busybox:latest"]


def test_who_stays_attached_and_does_not_read_is_waited_for(daemon: Daemon) -> None:
    """As with dockerd: nobody who is attached misses a byte, so the program waits, as for a pipe that is full."""
    id = container(daemon, "sh", "-c", f"{TALK}; exit 7")
    sock = daemon.open("POST", f"/containers/{id}/attach?stream=1&stdout=1", **SWITCH)
    assert sock.recv(12) == b"HTTP/1.1 101"
    assert daemon.ask("POST", f"/containers/{id}/start")[0] == 204
    sizes: list[int] = []

    def stands_still() -> bool:
        sizes.append(len(daemon.ask("GET", f"/containers/{id}/logs?stdout=1")[1]))
        return len(sizes) > 5 and sizes[-5] == sizes[-1] > 0

    assert until(stands_still)
    assert sizes[-1] < 4_000_000
    assert daemon.ask("GET", f"/containers/{id}/json")[1]["State"]["Running"]
    sock.close()  # and who leaves is not
    assert daemon.ask("POST", f"/containers/{id}/wait")[1] == {"StatusCode": 7}
    assert len(daemon.ask("GET", f"/containers/{id}/logs?stdout=1")[1]) > 4_000_000


def test_who_waits_for_a_start_and_vanishes(daemon: Daemon) -> None:
    id = container(daemon, "true")
    before = daemon.held()
    for _ in range(MANY):
        with daemon.open("POST", f"/containers/{id}/attach?stream=1&stdout=1", **SWITCH) as sock:
            assert sock.recv(12) == b"HTTP/1.1 101"
        with daemon.open("POST", f"/containers/{id}/wait?condition=next-exit") as sock:
            assert sock.recv(12) == b"HTTP/1.1 200"
    assert daemon.settles(before), (before, daemon.held())
