"""Parsers of /proc: against the kernel's own files, and against what it could write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labrt.errors import NotFound
from labrt.linux import process, procfs, syscalls
from labrt.linux.flags import MNT, MS


def test_every_line_of_our_mountinfo_is_parsed() -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = procfs.mountinfo()
    assert len(mounts) == len(lines)
    assert [mount.mount_id for mount in mounts] == [int(line.split()[0]) for line in lines]
    proc = next(mount for mount in mounts if mount.mount_point == "/proc")
    assert (proc.fstype, proc.root) == ("proc", "/")
    assert proc.device == f"{os.major(os.stat('/proc').st_dev)}:{os.minor(os.stat('/proc').st_dev)}"


@pytest.mark.root
def test_a_mount_point_with_all_that_is_escaped(tmp_path: Path) -> None:
    hostile = tmp_path / "a b\tc\nd\\e#f\x0bg\u2028h - tmpfs"
    hostile.mkdir()

    def look() -> list[tuple[object, ...]]:
        syscalls.mount("", hostile, "tmpfs", MS.NOSUID | MS.NODEV, "size=64k")
        found = [mount for mount in procfs.mountinfo() if mount.mount_point == str(hostile)]
        options = {"nosuid", "nodev"}
        return [(m.fstype, m.source, options <= set(m.options), "size=64k" in m.super_options) for m in found]

    [(fstype, source, options, size)] = process.run_in_child(look, namespaces="mnt")
    assert (fstype, options, size) == ("tmpfs", True, True)
    assert source in ("", "none")  # the kernel's name for no source has changed over time


@pytest.mark.root
def test_propagation_and_bind_mounts(tmp_path: Path) -> None:
    for name in ("peer", "copy", "bound"):
        (tmp_path / name).mkdir()

    def look() -> list[tuple[str, str]]:
        syscalls.mount("lab", tmp_path / "peer", "tmpfs")
        (tmp_path / "peer/inner").mkdir()
        syscalls.mount("none", tmp_path / "peer", None, MS.SHARED)
        syscalls.mount(tmp_path / "peer", tmp_path / "copy", None, MS.BIND)
        syscalls.mount("none", tmp_path / "copy", None, MS.SLAVE)
        syscalls.mount(tmp_path / "peer/inner", tmp_path / "bound", None, MS.BIND)
        syscalls.mount("none", tmp_path / "bound", None, MS.UNBINDABLE)
        mounts = {m.mount_point: m for m in procfs.mountinfo()}
        peer, copy, bound = (mounts[str(tmp_path / name)] for name in ("peer", "copy", "bound"))
        assert copy.master == peer.shared and copy.shared is None
        assert peer.device == copy.device == bound.device
        syscalls.umount2(tmp_path / "bound", MNT.DETACH)
        return [(m.root, m.propagation.rstrip("0123456789")) for m in (peer, copy, bound)]

    found = process.run_in_child(look, namespaces="mnt")
    assert found == [("/", "shared:"), ("/", "master:"), ("/inner", "unbindable")]


def test_a_line_with_every_optional_field() -> None:
    tags = "shared:7 master:3 propagate_from:2"
    line = rf"41 30 0:35 /sub\040dir /m\134nt rw,noatime {tags} - overlay a,b ro,lowerdir=/x\054y"
    [mount] = procfs.parse_mountinfo(line + "\n")
    assert mount.root == "/sub dir" and mount.mount_point == r"/m\nt"
    assert (mount.shared, mount.master, mount.propagate_from, mount.unbindable) == (7, 3, 2, False)
    assert mount.propagation == "shared:7 master:3 propagate_from:2"
    assert mount.source == "a,b" and mount.super_options == ("ro", "lowerdir=/x,y")
    assert "/sub dir" in repr(mount) and "\n" not in repr(mount)


def test_a_line_without_any() -> None:
    [mount] = procfs.parse_mountinfo("41 30 0:35 / / rw - tmpfs  rw")
    assert (mount.source, mount.propagation) == ("", "private")


def test_status_of_ourselves() -> None:
    status = procfs.status()
    assert int(status["Pid"]) == os.getpid() and int(status["PPid"]) == os.getppid()
    assert status["Uid"].split()[1] == str(os.geteuid())


def test_cgroup_lines() -> None:
    lines = procfs.cgroup()
    text = Path("/proc/self/cgroup").read_text().splitlines()
    assert [f"{line.hierarchy}:{','.join(line.controllers)}:{line.path}" for line in lines] == text
    assert all(line.controllers == () for line in lines if line.hierarchy == 0)


def test_a_cgroup_path_with_colons(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text("3:cpu,cpuacct:/a:b/c\n0::/\n")
    first, second = procfs.cgroup(7, proc=str(tmp_path))
    assert first == (3, ("cpu", "cpuacct"), "/a:b/c") and second == (0, (), "/")


def test_namespaces_are_the_inodes() -> None:
    found = procfs.namespaces()
    assert {"mnt", "uts", "ipc", "pid", "net", "user", "cgroup"} <= set(found)
    assert found["mnt"] == os.stat("/proc/self/ns/mnt").st_ino


@pytest.mark.root
def test_a_child_in_its_own_namespaces_has_other_inodes() -> None:
    theirs = process.run_in_child(procfs.namespaces, namespaces="uts,ipc")
    ours = procfs.namespaces()
    assert {name for name in ours if ours[name] != theirs[name]} == {"uts", "ipc"}


@pytest.mark.parametrize("comm", ["evil) R 1 (", "a b", "((", "x\ny"])
def test_stat_of_a_process_with_a_hostile_name(comm: str) -> None:
    def rename() -> tuple[int, procfs.Stat]:
        Path("/proc/self/comm").write_text(comm)
        return os.getpid(), procfs.stat()

    pid, stat = process.run_in_child(rename)
    assert (stat.pid, stat.comm, stat.state, stat.ppid) == (pid, comm, "R", os.getpid())
    assert stat.starttime >= procfs.stat().starttime


def test_alive_tells_a_process_from_its_namesake_and_its_corpse() -> None:
    child = subprocess.Popen(["sleep", "60"])
    started = procfs.stat(child.pid).starttime
    try:
        assert procfs.alive(child.pid, started)
        assert not procfs.alive(child.pid, started - 1)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert procfs.stat(child.pid).state == "Z"
        assert not procfs.alive(child.pid, started)
    finally:
        child.kill()
        child.wait()
    assert not procfs.alive(child.pid, started)


def test_children_of_all_threads() -> None:
    script = """
import subprocess, sys, threading
first = subprocess.Popen(["sleep", "60"])
made = []
def thread():
    made.append(subprocess.Popen(["sleep", "60"]))
    ready.wait()
ready = threading.Event()
worker = threading.Thread(target=thread); worker.start()
while not made: pass
print(first.pid, made[0].pid, flush=True)
sys.stdin.read()
ready.set(); worker.join()
for child in (first, made[0]):
    child.kill(); child.wait()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        expected = sorted(map(int, parent.stdout.readline().split()))
        assert procfs.children(parent.pid) == expected
        parent.communicate(b"")
    assert parent.returncode == 0


@pytest.mark.parametrize("function", [procfs.mountinfo, procfs.status, procfs.cgroup, procfs.namespaces, procfs.stat,
                                      procfs.children])  # fmt: skip
def test_a_process_that_is_gone(function: object) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(NotFound, match=str(child.pid)):
        function(child.pid)  # type: ignore[operator]


@pytest.mark.root
def test_another_users_process_is_a_permission_error() -> None:
    def look() -> str:
        os.setgid(65534)
        os.setuid(65534)
        try:
            procfs.namespaces(1)
        except PermissionError as error:
            return str(error)
        return "allowed"

    message = process.run_in_child(look)
    assert "EACCES" in message and "be root" in message


def test_boot_id_is_a_uuid_and_stays() -> None:
    assert len(procfs.boot_id()) == 36 and procfs.boot_id() == procfs.boot_id()
