"""What programs use: docker-py and testcontainers-python on `labrt daemon`, through the API alone."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# docker-py leaves the socket of exec_run, and that of a log which one stops reading, to the garbage collector.
pytestmark = [pytest.mark.root, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
docker = pytest.importorskip("docker", reason="docker-py is absent")


@pytest.fixture
def client(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    place = tmp_path / "d.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
    monkeypatch.delenv("LABRT_NETWORK", raising=False)  # the API's default network is the bridge
    daemon = subprocess.Popen([sys.executable, "-m", "labrt", "daemon", "-H", f"unix://{place}"],
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    for _ in range(300):
        if place.exists() or daemon.poll() is not None:
            break
        time.sleep(0.1)
    client = docker.from_env()
    try:
        yield client
    finally:
        for one in client.containers.list(all=True):
            one.remove(force=True)
        client.close()
        daemon.terminate()
        said = daemon.communicate(timeout=30)[1]
    assert "a mistake in labrt" not in said, said


def archive(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_docker_py(client: Any) -> None:
    assert client.containers.run("busybox", ["echo", "hi"], remove=True, network_mode="none") == b"hi\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True, network_mode="none")
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"no\n")

    begun = time.time()
    volume = client.volumes.create("kept", labels={"a": "b"})
    script = "for i in 1 2 3; do echo $i; sleep 0.1; done; exec sleep 1000"
    one = client.containers.run("busybox", ["sh", "-c", script], detach=True, name="one", network_mode="none",
                                volumes={"kept": {"bind": "/kept", "mode": "rw"}}, labels={"a": "b"})  # fmt: skip
    lines = b""
    for piece in one.logs(stream=True, follow=True):
        lines += piece
        if lines.endswith(b"3\n"):
            break
    assert lines == b"1\n2\n3\n"
    code, (out, err) = one.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
    assert (code, out, err) == (4, b"out\n", b"err\n")
    code, said = one.exec_run("nothing-like-it")
    assert code == 127 and b"executable file not found" in said

    assert one.put_archive("/kept", archive("file", b"content"))
    pieces, about = one.get_archive("/kept/file")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        member = tar.extractfile("file")
        assert member is not None and member.read() == b"content"
    assert (about["name"], about["size"]) == ("file", 7)
    assert [found.name for found in client.containers.list(filters={"label": "a=b"})] == ["one"]
    one.stop(timeout=0)
    assert one.wait()["StatusCode"] == 137
    one.remove()
    told = client.events(since=int(begun), until=int(time.time()) + 1, filters={"container": "one"}, decode=True)
    actions = [event["Action"] for event in told if not event["Action"].startswith("exec")]
    assert [word for word in actions if word in ("create", "start", "die", "destroy")] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip
    volume.remove()
    with pytest.raises(docker.errors.NotFound):
        client.volumes.get("kept")


def test_docker_py_builds_and_joins(client: Any) -> None:
    image, said = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nLABEL made=here\n"), tag="made:1", rm=True)
    assert "made:1" in image.tags and image.labels["made"] == "here"
    assert any("Successfully built" in line.get("stream", "") for line in said)
    network = client.networks.create("ours", driver="bridge")
    server = client.containers.run("made:1", ["httpd", "-f", "-p", "80", "-h", "/etc"], detach=True, name="server",
                                   network="ours")  # fmt: skip
    asked = ["sh", "-c", "for i in 1 2 3 4 5; do wget -qO- http://server/hostname && exit; sleep 0.2; done; exit 1"]
    assert client.containers.run("made:1", asked, remove=True, network="ours").decode().strip() == server.id[:12]
    network.reload()
    assert [one.name for one in network.containers] == ["server"]
    server.remove(force=True)
    network.remove()
    client.images.remove("made:1")


def test_testcontainers(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")  # its reaper is an image of the Hub
    pytest.importorskip("testcontainers.core", reason="testcontainers is absent")
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    testcontainers_config.ryuk_disabled = True
    command = ["sh", "-c", "mkdir /w; echo served >/w/index.html; echo ready; exec httpd -f -p 80 -h /w"]
    wanted = DockerContainer("busybox").with_command(command).with_exposed_ports(80)
    with wanted.waiting_for(LogMessageWaitStrategy("ready")) as one:
        address = f"http://{one.get_container_host_ip()}:{one.get_exposed_port(80)}/"
        for _ in range(50):
            try:
                with urllib.request.urlopen(address, timeout=10) as answer:
                    assert answer.read() == b"served\n"
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(f"nothing answers at {address}")
    assert client.containers.list(all=True) == []
