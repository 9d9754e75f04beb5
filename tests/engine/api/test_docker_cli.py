"""The real docker CLI on `labrt daemon`: what a learner types first."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.oracle]
Docker = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def docker(house: Path, tmp_path: Path) -> Iterator[Docker]:
    """Run `docker ARGUMENTS` against a daemon of its own."""
    if not shutil.which("docker"):
        pytest.skip("docker is absent")
    socket = tmp_path / "docker.sock"
    command = [sys.executable, "-m", "labrt", "daemon", "-H", f"unix://{socket}"]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def docker(*arguments: str, input: str = "", code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["docker", "-H", f"unix://{socket}", *arguments], input=input, capture_output=True,
                              text=True, timeout=60)  # fmt: skip
        assert code is None or done.returncode == code, done
        return done

    try:
        for _ in range(200):
            if socket.exists() or daemon.poll() is not None:
                break
            time.sleep(0.05)
        assert socket.exists(), daemon.stderr and daemon.stderr.read()
        assert stat.S_IMODE(socket.stat().st_mode) == 0o660
        yield docker
    finally:
        daemon.send_signal(signal.SIGTERM)
        _, said = daemon.communicate(timeout=30)
    assert daemon.returncode == 0, said
    assert not os.path.exists(socket)


def test_run(docker: Docker) -> None:
    assert docker("run", "--rm", "busybox", "echo", "hi").stdout == "hi\n"
    assert docker("run", "--rm", "-i", "busybox", "cat", input="half-closed\n").stdout == "half-closed\n"
    both = docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert (both.stdout, both.stderr) == ("out\n", "err\n")
    assert "executable file not found" in docker("run", "--rm", "busybox", "nothing-like-it", code=127).stderr
    assert docker("ps", "-aq").stdout == ""


def test_the_life_of_a_container(docker: Docker) -> None:
    made = docker("run", "-d", "--name", "nap", "busybox", "sh", "-c", "echo begun; exec sleep 1000").stdout.strip()
    assert len(made) == 64
    assert docker("ps", "--format", "{{.Names}} {{.Image}} {{.State}}").stdout == "nap busybox running\n"
    assert docker("exec", "nap", "id", "-u").stdout == "0\n"
    assert docker("exec", "-e", "X=1", "-w", "/tmp", "nap", "sh", "-c", "pwd; exit $X", code=1).stdout == "/tmp\n"
    assert docker("logs", "nap").stdout == "begun\n"
    assert docker("inspect", "--format", "{{.State.Status}} {{.Id}}", "nap").stdout == f"running {made}\n"
    docker("pause", "nap")
    assert "(Paused)" in docker("ps").stdout
    docker("unpause", "nap")
    docker("stop", "-t", "1", "nap")
    assert docker("wait", "nap").stdout in ("137\n", "143\n")
    docker("rm", "nap")
    assert "No such container" in docker("logs", "nap", code=1).stderr


def test_images_and_volumes(docker: Docker) -> None:
    assert docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout == "busybox:latest\n"
    docker("tag", "busybox", "mine:1")
    docker("rmi", "mine:1")
    docker("volume", "create", "data")
    docker("run", "--rm", "-v", "data:/data", "busybox", "touch", "/data/stays")
    assert docker("run", "--rm", "-v", "data:/data", "busybox", "ls", "/data").stdout == "stays\n"
    docker("volume", "rm", "data")
    assert '"ApiVersion":"1.50"' in docker("version", "--format", "{{json .Server}}").stdout


FILE = """
version: "2.4"
services:
  db:
    image: busybox
    command: sh -c "echo db > /data/hello; exec httpd -f -p 6379 -h /data"
    volumes: ["dbdata:/data"]
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://127.0.0.1:6379/hello"], interval: 1s, retries: 20}
  web:
    image: busybox
    command: sh -c "wget -qO /tmp/index.html http://db:6379/hello && exec httpd -f -h /tmp"
    depends_on: {db: {condition: service_healthy}}
volumes: {dbdata: {}}
"""


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is absent")
def test_compose_up_scale_down(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(FILE)

    def compose(*arguments: str) -> str:
        command = ["docker-compose", "-H", f"unix://{tmp_path}/docker.sock", "-p", "course", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done
        return done.stdout

    compose("up", "-d")
    assert compose("exec", "-T", "web", "wget", "-qO-", "http://127.0.0.1/").strip() == "db"
    compose("up", "-d", "--scale", "web=3")
    assert len(compose("ps", "-q").split()) == 4
    compose("down", "-v", "-t", "1")
    assert docker("ps", "-aq").stdout == docker("volume", "ls", "-q").stdout == ""
    assert "course_default" not in docker("network", "ls").stdout


def test_build(docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text('FROM busybox\nARG V=1\nRUN echo $V >/v\nCOPY f /f\nCMD ["cat", "/v", "/f"]\n')
    (context / "f").write_text("file\n")
    said = docker("build", "-t", "built:1", "--build-arg", "V=2", str(context)).stdout
    assert "Step 3/5 : RUN echo $V >/v" in said and "Successfully tagged built:1" in said
    assert docker("run", "--rm", "built:1").stdout == "2\nfile\n"
    docker("build", "--target", "nowhere", str(context), code=1)


def test_archives(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("content\n")
    docker("create", "--name", "box", "busybox", "true")
    docker("cp", str(tmp_path / "in"), "box:/tmp/there")
    docker("cp", "box:/tmp/there", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "content\n"
    assert "A /tmp/there" in docker("diff", "box").stdout
    docker("commit", "-c", 'CMD ["cat", "/tmp/there"]', "box", "kept:1")
    docker("rm", "box")
    docker("save", "-o", str(tmp_path / "kept.tar"), "kept:1")
    docker("rmi", "kept:1")
    assert "Loaded image: kept:1" in docker("load", "-i", str(tmp_path / "kept.tar")).stdout
    assert docker("run", "--rm", "kept:1").stdout == "content\n"
