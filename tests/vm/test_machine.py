"""What only a machine with systemd, cgroup v2 alone, AppArmor and a stock kernel can show. See vm/run.sh.

Elsewhere these skip, with the reason: they say what the guest is, so a guest that lost it must fail, not skip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

GUEST = "labrt.job" in Path("/proc/cmdline").read_text().split()
pytestmark = [
    pytest.mark.vm,
    pytest.mark.root,
    pytest.mark.skipif(not GUEST, reason="not the guest of tests/vm/run.sh"),
]
LABRT = [sys.executable, "-m", "labrt"]


def run(*command: str, limit: int = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit)


def labrt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(*LABRT, *arguments)


@pytest.fixture
def group() -> Iterator[Path]:
    """A fresh cgroup beside ours, in what systemd has delegated to the job."""
    ours = Path("/sys/fs/cgroup") / Path("/proc/self/cgroup").read_text().strip().split("::/")[1]
    made = ours.parent / f"test-{uuid.uuid4().hex}"
    made.mkdir()
    yield made
    (made / "cgroup.kill").write_text("1")
    while "populated 1" in (made / "cgroup.events").read_text():
        os.sched_yield()
    made.rmdir()


def test_systemd_is_the_first_process() -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"


def test_cgroup_2_is_the_only_one() -> None:
    types = {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    assert {name for name in types if "cgroup" in name} == {"cgroup2"}


def test_systemd_has_delegated_the_controllers(group: Path) -> None:
    assert {"cpu", "memory", "pids"} <= set((group / "cgroup.controllers").read_text().split())


def test_apparmor_is_on() -> None:
    assert Path("/sys/module/apparmor/parameters/enabled").read_text() == "Y\n"
    assert "apparmor" in Path("/sys/kernel/security/lsm").read_text().split(",")


def test_memory_max_kills() -> None:
    # tail keeps a line that never ends, and so all that it reads.
    done = labrt("run", "--rm", "-m", "32m", "--memory-swap", "32m", "busybox", "tail", "/dev/zero")
    assert done.returncode == 137, done.stderr


def test_cpu_max_throttles() -> None:
    made = labrt("run", "-d", "--cpus", "0.2", "busybox", "sh", "-c", "while :; do :; done").stdout.strip()
    try:
        pid = json.loads(labrt("inspect", made).stdout)[0]["State"]["Pid"]
        here = Path("/sys/fs/cgroup") / Path(f"/proc/{pid}/cgroup").read_text().strip().split("::/")[1]
        assert (here / "cpu.max").read_text() == "20000 100000\n"
        while int(dict(line.split() for line in (here / "cpu.stat").read_text().splitlines())["nr_throttled"]) < 3:
            os.sched_yield()
    finally:
        labrt("rm", "-f", made)


def test_pids_max_stops() -> None:
    many = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 30 & done; wait"
    done = labrt("run", "--rm", "--pids-limit", "8", "busybox", "sh", "-c", many)
    assert done.returncode != 0
    assert "can't fork" in done.stderr, done


def test_device_mapper_has_thin_pools() -> None:
    assert run("modprobe", "dm_thin_pool").returncode == 0
    assert "thin-pool" in run("dmsetup", "targets").stdout


def test_an_ordinary_user_makes_user_namespaces() -> None:
    vagrant = ("setpriv", "--reuid=vagrant", "--regid=vagrant", "--init-groups")
    unshare = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork")
    done = run(*vagrant, *unshare, "sh", "-c", "id -u; mount -t tmpfs tmpfs /mnt && echo mounted")
    assert (done.stdout, done.returncode) == ("0\nmounted\n", 0), done.stderr


def test_the_doctor_finds_nothing_missing() -> None:
    done = run(sys.executable, "-m", "labrt.lab.doctor")
    wrong = [line for line in done.stdout.splitlines() if "fail" in line or "warn" in line]
    assert not [line for line in wrong if "docker hub" not in line], done.stdout
    assert shutil.which("nft", path="/usr/sbin:/usr/bin")
