"""Nothing stays: after every kind of end, and after a reset, the machine is as it was before."""

from __future__ import annotations

import glob
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

import labrt
from labrt.engine import embedded
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.lab.ledger import reset
from labrt.linux import cgroups, ledger, procfs
from labrt.runtime import launcher

pytestmark = pytest.mark.root
NETWORK = {"bridge", "nft", "forwarding"}  # what the default network is made of, which stays until a reset


class Machine(NamedTuple):
    """What could be left behind."""

    mounts: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[str]
    links: frozenset[str]
    temporary: frozenset[str]


def own_links(root: Path) -> list[str]:
    """Name the links of this house, and those of nobody's: others' labrts come and go on the same machine."""
    own = f"labrt0-{hashlib.sha256(str(root / 'lib').encode()).hexdigest()[:6]}"
    return [link for link in os.listdir("/sys/class/net") if not link.startswith("labrt0-") or link == own]


def look(root: Path, processes: list[str]) -> Machine:
    """Look at this machine; only what belongs to this test's own labrt, or cannot be anybody's else's."""
    trees = [tree.directory("/labrt") for tree in cgroups.detect().trees]
    groups = {path for tree in trees for path in glob.glob(f"{tree}/*/") if len(os.path.basename(path[:-1])) == 64}
    mounts = (line for line in procfs.mountinfo() if str(root) in f"{line.mount_point} {line.super_options}")
    return Machine(
        frozenset(line.mount_point for line in mounts),
        frozenset(groups),
        frozenset(processes),
        frozenset(own_links(root)),
        frozenset(glob.glob(os.path.join(tempfile.gettempdir(), f"labrt-{os.getpid()}-*"))),
    )


@pytest.fixture
def house(labrt_root: Path, processes_of, monkeypatch):
    """A labrt with busybox, whose containers are on the default network; the machine is looked at before and after."""
    monkeypatch.delenv("LABRT_NETWORK")
    before = look(labrt_root, processes_of(labrt_root))
    embedded.ensure()
    with embedded.serve() as server:
        Images()._pull(embedded.REFERENCE, None, None, {"docker.io": server.url})
    yield labrt_root
    launcher.default().close()
    first, second = reset(quiet=True), reset(quiet=True)
    assert first.ok, str(first)
    assert second.ok, str(second)
    assert not second.taken_down
    end = time.monotonic() + 20
    while (after := look(labrt_root, processes_of(labrt_root))) != before and time.monotonic() < end:
        while _reap():
            continue
        time.sleep(0.05)
    assert after == before
    assert ledger.entries() == []
    assert Containers().list(all=True) == []
    assert Images().driver.containers() == []


def _reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def test_twenty_containers_in_a_row(house):
    for number in range(20):
        assert labrt.run("busybox", "echo", str(number)).stdout == f"{number}\n"
    assert {entry.kind for entry in ledger.entries()} <= NETWORK


def test_containers_that_are_still_running(house):
    for number in range(3):
        labrt.run("busybox", "sleep", "300", detach=True, name=f"left-{number}", remove=bool(number % 2))
    assert len(Containers().list()) == 3


def test_primitives_whose_owner_was_killed(house, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    script = (
        "import os, signal\n"
        "from labrt.linux import cgroups, mounts\n"
        "group = cgroups.create('leak-test-%d' % os.getpid()); group.__enter__()\n"
        "union = mounts.overlay(['/etc']); union.__enter__()\n"
        f"scratch = mounts.tmpfs({str(scratch)!r}); scratch.__enter__()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert {entry.kind for entry in ledger.entries()} - NETWORK == {"cgroup", "directory", "mount"}
    assert os.path.ismount(scratch)
    reset(quiet=True)
    assert not os.path.ismount(scratch)


CALLER = """
import labrt
while True:
    labrt.run("busybox", "true")
"""


def test_whoever_is_killed_at_whatever_instant(house, processes_of):
    """Kill the caller, the launcher, a monitor, an init: thirty times, each at another point of a container's life."""
    dice = random.Random(20261124)
    for _ in range(30):
        with subprocess.Popen([sys.executable, "-c", CALLER], start_new_session=True, stderr=-3) as caller:
            time.sleep(0.25 + dice.random() * 0.15)
            victims = [pid for line in processes_of(house) if (pid := int(line.split()[0])) != caller.pid]
            for pid in dice.sample([caller.pid, *victims], dice.randint(1, 1 + len(victims))):
                _kill(pid)
            caller.kill()
        reset(quiet=True)
    # And it still works.
    assert labrt.run("busybox", "echo", "alive").stdout == "alive\n"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
