"""The demo as its users start it: as a process of its own, in a pipe and at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labrt.engine import embedded
from labrt.image.platform import Platform
from labrt.linux import ledger, procfs

pytestmark = pytest.mark.root
DEMO = [sys.executable, "-m", "labrt.lab.demo"]


@pytest.fixture
def house(labrt_root, monkeypatch) -> Path:
    """A labrt of its own in a world without Docker Hub: the same everywhere, and no pull is counted."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nobody listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    embedded.ensure()
    return labrt_root


@pytest.fixture
def nothing_left(house, processes_of):
    def check() -> None:
        deadline = time.monotonic() + 10
        while (processes := processes_of(house)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert processes == []
        assert ledger.entries() == []
        assert not [mount for mount in procfs.mountinfo() if str(house) in str(tuple(mount))]
        assert not list((house / "lib").glob("demo-*"))

    return check


def test_piped_twice_in_a_row_it_tells_what_really_happened(house, nothing_left):
    digest = str(embedded.ensure().image(embedded.REFERENCE).manifest.layers[0].digest)
    for _ in range(2):
        done = subprocess.run(DEMO, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        said = done.stdout
        assert "\x1b" not in said and " \n" not in said and max(map(len, said.splitlines())) <= 100
        assert re.search(r"No answer from Docker Hub \(.*\)", said)
        _told_of_the_pull(said, digest)
        _told_of_the_container(said)
        assert re.search(r"^ +ledger +0 +4 +0$", said, re.MULTILINE)
        assert "nothing of it is left" in said and "What next" in said
        nothing_left()


def _told_of_the_pull(said: str, digest: str) -> None:
    assert re.search(r"GET http://127\.0\.0\.1:\d+/v2/library/busybox/manifests/latest → 200", said)
    assert re.search(rf"blobs/{digest[:19]}… → 200", said)
    assert f"{digest[7:19]}: complete, digest verified" in said
    assert str(Platform.host()) in said


def _told_of_the_container(said: str) -> None:
    hostname = re.search(r"│ hello from ([0-9a-f]{12})", said)
    cgroup = re.search(r"cgroup /labrt\S*?([0-9a-f]{12})…\S*: (\S+) of 67.1MB memory, (\d+) of 32 processes", said)
    assert hostname and cgroup and hostname[1] == cgroup[1]
    assert int(cgroup[3]) >= 1
    assert "my process id is 1." in said and "│ the host said: goodbye" in said and "exit code 0" in said
    assert "CLONE_NEWPID" in said and "pivot_root into" in said
    for kind in ("ipc", "mnt", "net", "pid", "uts"):
        inodes = re.search(rf"^ +{kind} +(\d+) +(\d+) *$", said, re.MULTILINE)
        assert inodes and inodes[1] == str(os.stat(f"/proc/self/ns/{kind}").st_ino) != inodes[2]
    assert re.search(r"pid 1 in there is pid \d{2,} here", said)


def test_at_a_terminal_it_has_colours_and_keeps_to_the_width(house, nothing_left):
    main, peer = pty.openpty()
    try:
        with subprocess.Popen(DEMO, stdin=peer, stdout=peer, stderr=peer, close_fds=True) as demo:
            os.close(peer)
            said = _read_all(main)
        assert demo.returncode == 0
    finally:
        os.close(main)
    assert "\x1b[1;36m" in said
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert max(map(len, plain.splitlines())) <= 80  # a terminal that names no size has 80 columns
    assert "hello from" in plain and "nothing of it is left" in plain
    nothing_left()


def _read_all(fd: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(fd, 65536)
        except OSError:  # EIO: the other side is closed
            part = b""
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


@pytest.mark.parametrize("word", ["manifests", "hello from"])
@pytest.mark.parametrize(("sig", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_takes_down_what_is_there(word, sig, code, house, nothing_left):
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as demo:
        said = b""
        while word.encode() not in said:
            assert select.select([demo.stdout], [], [], 60)[0], said
            said += os.read(demo.stdout.fileno(), 65536)
            assert said, demo.stderr.read()
        demo.send_signal(sig)
        said += demo.stdout.read()
    # It may have come to its end in the very moment.
    assert demo.returncode in (code, 0)
    assert (demo.returncode == 0) == (b"What next" in said)
    nothing_left()


def test_an_image_that_cannot_be_had_is_one_clear_error(house, nothing_left):
    done = subprocess.run([*DEMO, "--image", "redis"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Docker Hub cannot be reached" in done.stderr and "Traceback" not in done.stderr
    nothing_left()


def test_help_has_an_example():
    done = subprocess.run([*DEMO, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "example:" in done.stdout and "--image" in done.stdout


def test_after_kill_9_a_reset_finds_everything(house, nothing_left):
    from labrt.lab import reset

    with subprocess.Popen(DEMO, stdout=subprocess.PIPE) as demo:
        said = b""
        while b"hello from" not in said and (more := os.read(demo.stdout.fileno(), 65536)):
            said += more
        demo.kill()
    assert reset().ok
    nothing_left()


def test_a_user_who_may_not_is_told_what_to_type(house):
    done = subprocess.run(DEMO, capture_output=True, text=True, user=65534, group=65534, extra_groups=())
    assert done.returncode == 1
    assert "sudo sh labrt/setup.sh demo" in done.stderr and "Traceback" not in done.stderr
