"""What only a machine with systemd, cgroup v2 alone, AppArmor and a stock kernel can show. See vm/run.sh.

Elsewhere these skip, with the reason: they say what the guest is, so a guest that lost it must fail, not skip.
"""

from __future__ import annotations

import contextlib
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


def run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)


def well(*command: str, text: str = "") -> str:
    done = run(*command, text=text)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.strip()


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


PROFILE = """
profile labrt-test flags=(attach_disconnected, mediate_deleted) {
  capability, network, signal, file, mount, umount, pivot_root,
  deny /secret r,
}
"""


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    """A profile that this kernel has loaded: everything is allowed, but to read /secret."""
    file = tmp_path / "profile"
    file.write_text(PROFILE)
    well("apparmor_parser", "--add", "--skip-cache", str(file))
    yield "labrt-test"
    well("apparmor_parser", "--remove", str(file))


def test_apparmor_confines_a_container(profile: str) -> None:
    read = ("busybox", "sh", "-c", "echo secret >/secret; cat /proc/self/attr/current /secret")
    free = labrt("run", "--rm", *read)
    assert free.returncode == 0 and "secret" in free.stdout.splitlines(), free.stderr
    confined = labrt("run", "--rm", "--security-opt", f"apparmor={profile}", *read)
    assert confined.stdout == f"{profile} (enforce)\n" and "Permission denied" in confined.stderr, confined


# A child with a limit, made without root. No process may stay where controllers are handed on from.
LIMIT_A_CHILD = """
    own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
    mkdir "$own/we" "$own/child"
    echo $$ >"$own/we/cgroup.procs"
    echo +memory +pids >"$own/cgroup.subtree_control"
    echo 30M >"$own/child/memory.max"
    cat "$own/child/memory.max"
"""


def test_an_ordinary_user_gets_a_cgroup_from_systemd() -> None:
    ask = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--uid=vagrant", "--property=Delegate=yes")
    # On stdin, because systemd expands the dollars of a command line.
    assert well(*ask, "sh", "-e", text=LIMIT_A_CHILD) == str(30 << 20)


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


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[str]:
    """A thin pool of 64 MiB on two sparse files; its name."""
    assert run("modprobe", "dm_thin_pool").returncode == 0
    name = f"labrt-test-{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as undo:
        loops = []
        for part, size in (("metadata", 4 << 20), ("data", 64 << 20)):
            file = tmp_path / part
            file.touch()
            os.truncate(file, size)
            loops.append(well("losetup", "--find", "--show", str(file)))
            undo.callback(well, "losetup", "--detach", loops[-1])
        well("dmsetup", "create", name, "--table", f"0 {(64 << 20) // 512} thin-pool {' '.join(loops)} 128 0")
        undo.callback(well, "dmsetup", "remove", "--retry", name)
        yield name


def test_device_mapper_has_thin_pools(pool: str, tmp_path: Path) -> None:
    # A file system on a thin volume of 1 GiB, in a pool of 64 MiB; and a snapshot that keeps what the volume loses.
    table = f"0 {(1 << 30) // 512} thin /dev/mapper/{pool}"
    place = tmp_path / "place"
    place.mkdir()
    with contextlib.ExitStack() as undo:
        well("dmsetup", "message", pool, "0", "create_thin 0")
        well("dmsetup", "create", f"{pool}-0", "--table", f"{table} 0")
        undo.callback(well, "dmsetup", "remove", "--retry", f"{pool}-0")
        well("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,nodiscard", f"/dev/mapper/{pool}-0")
        well("mount", f"/dev/mapper/{pool}-0", str(place))
        undo.callback(well, "umount", str(place))
        (place / "file").write_text("before")
        well("fsfreeze", "--freeze", str(place))
        try:
            well("dmsetup", "message", pool, "0", "create_snap 1 0")
        finally:
            well("fsfreeze", "--unfreeze", str(place))
        (place / "file").write_text("after")
    well("dmsetup", "create", f"{pool}-1", "--table", f"{table} 1")
    try:
        well("mount", "-o", "ro,noload", f"/dev/mapper/{pool}-1", str(place))
        kept = (place / "file").read_text()
        well("umount", str(place))
    finally:
        well("dmsetup", "remove", "--retry", f"{pool}-1")
    assert kept == "before"


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
