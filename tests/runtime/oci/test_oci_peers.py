"""podman, containerd and dockerd, each a private instance in a temporary directory, with labrt-oci as their runtime.

Their images come from a tar of busybox: no network. What is not installed is skipped, with a reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labrt.linux import cgroups, ledger

pytestmark = [pytest.mark.root, pytest.mark.oracle, pytest.mark.slow]
PATIENCE = 120


class Peer:
    """One of them, and how to say things to it."""

    def __init__(self, words: list[str], env: dict[str, str] | None = None) -> None:
        self.words = words
        self.env = {**os.environ, **(env or {})}

    def __call__(self, *words: str, code: int | None = 0, **how) -> str:
        """Run one command; check its exit code; return its output."""
        how = {"stdin": subprocess.DEVNULL} | how if "input" not in how else how
        done = subprocess.run([*self.words, *words], capture_output=True, text=True, timeout=PATIENCE, env=self.env,
                              **how)  # fmt: skip
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def runtime(labrt_root: Path, tmp_path: Path) -> Iterator[Path]:
    """The program, as one file that can be named to others."""
    path = tmp_path / "labrt-oci"
    path.write_text(f'#!/bin/sh\nLABRT_ROOT={labrt_root} exec {sys.executable} -m labrt.cli.oci "$@"\n')
    path.chmod(0o755)
    yield path
    assert ledger.entries() == [], "cgroups of containers are left"


@pytest.fixture
def image(busybox_root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "busybox.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(busybox_root, ".")
    return path


@pytest.fixture
def no_cgroups_left() -> Iterator[None]:
    """Remove the empty parents that they leave behind."""

    def there() -> list[Path]:
        names = ("libpod_parent", "docker", "default")
        return [Path(tree.mountpoint, name) for tree in cgroups.detect().trees for name in names
                if Path(tree.mountpoint, name).is_dir()]  # fmt: skip

    before = set(there())
    yield
    for directory in set(there()) - before:
        for inner in [*directory.glob("conmon"), directory]:
            with contextlib.suppress(OSError):  # another podman, on the same machine, is in it
                inner.rmdir()


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name: podman refuses others, and a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="oci-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def podman(runtime: Path, image: Path, short: Path, no_cgroups_left: None) -> Iterator[Peer]:
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    words = ["podman", "--root", f"{short}/root", "--runroot", f"{short}/run",
             "--tmpdir", f"{short}/tmp", "--storage-driver", "vfs", "--events-backend", "file",
             "--cgroup-manager", "cgroupfs", "--runtime", str(runtime)]  # fmt: skip
    peer = Peer(words)
    peer("import", str(image), "bb")
    yield peer
    peer("rm", "--all", "--force", "--time", "0")
    peer("rmi", "--all", "--force")


def test_podman(podman, eventually):
    run = ("run", "--rm", "--network", "none", "bb")
    assert podman(*run, "echo", "hello") == "hello\n"
    podman(*run, "sh", "-c", "exit 3", code=3)
    podman(*run, "no-such-command", code=127)
    podman(*run, "/etc/passwd", code=126)
    assert podman("run", "--rm", "--network", "host", "--user", "1000:50", "-w", "/tmp", "bb", "sh", "-c", "id -u; pwd",
                  ) == "1000\n/tmp\n"  # fmt: skip
    assert "istty" in podman("run", "--rm", "-t", "--network", "none", "bb", "sh", "-c", "test -t 0 && echo istty")
    nap = ("run", "-d", "--name", "nap", "--network", "none", "-m", "64m", "--stop-signal", "KILL", "bb")
    podman(*nap, "sleep", "1000")
    assert podman("exec", "nap", "cat", "/proc/1/cmdline") == "sleep\x001000\0"
    podman("exec", "nap", "sh", "-c", "exit 4", code=4)
    podman("exec", "nap", "no-such-command", code=127)
    assert podman("exec", "-i", "nap", "cat", input="typed") == "typed"
    assert "pts" in podman("exec", "-t", "nap", "tty")
    assert podman("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "nap").startswith("1 ")
    assert "sleep 1000" in podman("top", "nap")
    podman("pause", "nap")
    assert podman("inspect", "-f", "{{.State.Status}}", "nap") == "paused\n"
    podman("unpause", "nap")
    podman("update", "-m", "100m", "nap")
    files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"  # v2's, v1's
    assert podman("exec", "nap", "sh", "-c", f"cat {files} 2>/dev/null; true") == f"{100 << 20}\n"
    podman("stop", "nap")
    assert podman("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "nap") == "exited 137\n"
    podman("start", "nap")
    podman("restart", "nap")
    assert podman("inspect", "-f", "{{.State.Status}}", "nap") == "running\n"
    podman("kill", "nap")
    eventually(lambda: podman("inspect", "-f", "{{.State.Status}}", "nap") == "exited\n")
    podman("rm", "nap")
    assert podman("ps", "-aq") == ""


def test_podman_more(podman):
    run = ("run", "--rm", "--network", "none")
    podman("create", "--name", "made", "--network", "none", "bb", "echo", "created")
    podman("init", "made")
    assert podman("start", "-a", "made") == "created\n"
    podman("rm", "made")
    assert podman(*run, "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000", "bb", "cat", "/proc/self/uid_map",
                  ).split() == ["0", "100000", "1000"]  # fmt: skip
    assert podman(*run, "--privileged", "bb", "sh", "-c", "readlink /dev/ptmx; test -e /dev/kmsg && echo all",
                  ) == "pts/ptmx\nall\n"  # fmt: skip
    seen = podman(*run, "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--tmpfs", "/t",
                  "bb", "sh", "-c", "touch /t/x && ! touch /x 2>/dev/null && grep -e CapBnd -e NoNew /proc/self/status",
                  )  # fmt: skip
    assert seen == "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\n"
    assert int(podman(*run, "--pid", "host", "bb", "sh", "-c", "ls -d /proc/[0-9]* | wc -l")) > 5
    podman("run", "-d", "--name", "first", "--network", "none", "bb", "sleep", "1000")
    assert "sleep" in podman(*run, "--pid", "container:first", "bb", "ps")
    podman("rm", "-f", "-t", "0", "first")


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"it does not come up here: {log.read_text()[-500:]}")
        time.sleep(0.05)


@pytest.fixture
def ctr(tmp_path: Path, short: Path, podman: Peer) -> Iterator[Peer]:
    if not shutil.which("containerd") or not shutil.which("ctr"):
        pytest.skip("containerd is not installed")
    podman("save", "--format", "oci-archive", "-o", str(tmp_path / "bb.tar"), "bb")
    home = short / "ctd"
    home.mkdir()
    socket = home / "s"
    (home / "config.toml").write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{socket}"\n[ttrpc]\naddress = "{socket}.ttrpc"\n'
    )
    with open(home / "log", "wb") as log:
        daemon = subprocess.Popen(["containerd", "-c", str(home / "config.toml")], stdout=log, stderr=log)
    peer = Peer(["ctr", "-a", str(socket)])
    try:
        wait_for(lambda: subprocess.run([*peer.words, "version"], capture_output=True).returncode == 0, daemon,
                 home / "log")  # fmt: skip
        peer("image", "import", "--snapshotter", "native", str(tmp_path / "bb.tar"))
        yield peer
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE)


def test_containerd(ctr, runtime, eventually):
    image = ctr("image", "ls", "-q").split()[0]
    run = ("run", "--snapshotter", "native", "--runc-binary", str(runtime))
    assert ctr(*run, "--rm", image, "x1", "/bin/echo", "hello") == "hello\n"
    ctr(*run, "--rm", image, "x2", "/bin/sh", "-c", "exit 9", code=9)
    ctr(*run, "--rm", image, "x3", "/no-such-command", code=1)
    ctr(*run, "-d", image, "nap", "/bin/sleep", "1000")
    assert "RUNNING" in ctr("task", "ls")
    assert ctr("task", "exec", "--exec-id", "e1", "nap", "/bin/cat", "/proc/1/cmdline") == "/bin/sleep\x001000\0"
    ctr("task", "exec", "--exec-id", "e2", "nap", "/bin/sh", "-c", "exit 4", code=4)
    ctr("task", "pause", "nap")
    assert "PAUSED" in ctr("task", "ls")
    ctr("task", "resume", "nap")
    assert "pids" in ctr("task", "metrics", "nap")
    ctr("task", "kill", "-s", "9", "nap")
    eventually(lambda: "STOPPED" in ctr("task", "ls"))
    ctr("task", "rm", "nap", code=None)  # it hands the task's exit code on
    ctr("container", "rm", "nap")
    assert ctr("container", "ls", "-q") == ""


@pytest.fixture
def docker(short: Path, runtime: Path, image: Path, no_cgroups_left: None) -> Iterator[Peer]:
    if not shutil.which("dockerd") or not shutil.which("docker"):
        pytest.skip("dockerd is not installed")
    home = short / "dkr"
    home.mkdir()
    # In namespaces of its own: it mounts, and it would look after the network.
    script = (
        "mount --make-rprivate / && mount -t tmpfs tmpfs /run && exec dockerd "
        f"--data-root {home}/data --exec-root {home}/exec -H unix://{home}/s --pidfile {home}/pid "
        "--storage-driver vfs --iptables=false --ip6tables=false --bridge=none "
        f"--exec-opt native.cgroupdriver=cgroupfs --add-runtime labrt={runtime} --default-runtime labrt"
    )
    with open(home / "log", "wb") as log:
        daemon = subprocess.Popen(["unshare", "-m", "-n", "sh", "-c", script], stdout=log, stderr=log)
    peer = Peer(["docker", "-H", f"unix://{home}/s"])
    try:
        wait_for(lambda: subprocess.run([*peer.words, "version"], capture_output=True).returncode == 0, daemon,
                 home / "log")  # fmt: skip
        peer("import", str(image), "bb")
        yield peer
        for id in peer("ps", "-aq").split():
            peer("rm", "-f", id)
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE)


def test_docker(docker, eventually):
    run = ("run", "--rm", "--network", "none", "bb")
    assert docker(*run, "echo", "hello") == "hello\n"
    docker(*run, "sh", "-c", "exit 9", code=9)
    docker(*run, "no-such-command", code=127)
    docker(*run, "/etc/passwd", code=126)
    docker("run", "-d", "--name", "nap", "--network", "none", "-m", "64m", "bb", "sleep", "1000")
    assert docker("exec", "nap", "cat", "/proc/1/cmdline") == "sleep\x001000\0"
    docker("exec", "nap", "sh", "-c", "exit 4", code=4)
    assert docker("exec", "-u", "1000", "-w", "/tmp", "-e", "A=b", "nap", "sh", "-c", "id -u; pwd; echo $A",
                  ) == "1000\n/tmp\nb\n"  # fmt: skip
    assert docker("exec", "-i", "nap", "cat", input="typed") == "typed"
    docker("pause", "nap")
    assert docker("inspect", "-f", "{{.State.Status}}", "nap") == "paused\n"
    docker("unpause", "nap")
    assert "64MiB" in docker("stats", "--no-stream", "nap")
    docker("update", "-m", "100m", "--memory-swap", "200m", "nap")
    assert "100MiB" in docker("stats", "--no-stream", "nap")
    assert "sleep 1000" in docker("top", "nap")
    docker("stop", "-t", "0", "nap")
    docker("start", "nap")
    docker("restart", "-t", "0", "nap")
    assert docker("inspect", "-f", "{{.State.Status}}", "nap") == "running\n"
    docker("kill", "nap")
    eventually(lambda: docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "nap") == "exited 137\n")
    docker("rm", "nap")
