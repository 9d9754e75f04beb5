"""A root as a plan: what it says it will do, what it does, and that it never does it to the host."""

from __future__ import annotations

import os

import pytest

from labrt.errors import Conflict, InvalidConfig
from labrt.linux import mounts, process, procfs, rootfs


@pytest.fixture
def root(tmp_path):
    """An empty directory with the mount points."""
    for name in ("proc", "sys", "dev", "tmp"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return str(tmp_path / "root")


def test_a_plan_can_be_read_before_it_is_done(root):
    plan = rootfs.plan(root, masked=["/proc/kcore"], readonly=["/proc/sys"], read_only_root=True)
    lines = [str(step) for step in plan]
    assert lines[0].startswith("all mounts here become rslave")
    assert "proc on /proc (nosuid,noexec,nodev)" in lines
    assert "device /dev/null (c 1:3, mode 666)" in lines
    assert lines[-4:] == [
        "hide /proc/kcore", "make /proc/sys read-only", "make the mount at / read-only",
        f"pivot_root into {root}; the old root goes out of sight",
    ]  # fmt: skip


@pytest.mark.root
def test_the_host_itself_is_refused(root):
    if os.readlink("/proc/self/ns/mnt") != os.readlink(f"/proc/{os.getppid()}/ns/mnt"):
        pytest.skip("this test process has a mount namespace of its own")
    with pytest.raises(Conflict, match="not a mount namespace of its own"):
        rootfs.execute(rootfs.plan(root))
    assert os.path.isdir(root)


@pytest.mark.root
def test_executed_the_old_root_is_gone(root):
    def move_in():
        rootfs.execute(rootfs.plan(root, mounts=rootfs.DEFAULT_MOUNTS[:4]))
        info = procfs.mountinfo()
        return os.path.exists(root), sorted(os.listdir("/")), [line.mount_point for line in info][:3], os.getcwd()

    seen, top, points, here = process.run_in_child(move_in, namespaces="mnt,pid,net,ipc,uts")
    assert (seen, top, points, here) == (False, ["dev", "proc", "sys", "tmp"], ["/", "/proc", "/dev"], "/")


@pytest.mark.root
def test_masks_devices_and_read_only_paths(root):
    def look():
        made = {"path": "/dev/made", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600}
        masked = ["/proc/keys", "/proc/irq", "/proc/nosuch"]
        plan = rootfs.plan(root, mounts=rootfs.DEFAULT_MOUNTS[:4], devices=[made], masked=masked,
                           readonly=["/proc/sys"], read_only_root=True)  # fmt: skip
        rootfs.execute(plan)
        flags = {line.mount_point: line.options for line in procfs.mountinfo()}
        with open("/proc/keys", "rb") as keys, open("/dev/made", "rb") as made:
            return keys.read(), os.listdir("/proc/irq"), made.read(3), oct(os.stat("/dev/made").st_mode), flags

    keys, irq, zeros, mode, flags = process.run_in_child(look, namespaces="mnt,pid,net,ipc,uts")
    assert (keys, irq, zeros, mode) == (b"", [], bytes(3), "0o20600")
    assert "ro" in flags["/proc/sys"]
    assert "ro" in flags["/"]
    assert "rw" in flags["/dev"]


@pytest.mark.root
def test_a_device_of_a_kind_that_does_not_exist(root):
    with pytest.raises(InvalidConfig, match="type 'x' of /dev/x"):
        rootfs.plan(root, devices=[{"path": "/dev/x", "type": "x", "major": 1, "minor": 1}])


def test_a_cgroup_mount_is_written_out_for_the_machine(monkeypatch):
    from labrt.linux import cgroups

    asked = mounts.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro",))
    unified = cgroups.Hierarchy((cgroups.Tree("/sys/fs/cgroup", 2, ("memory",), "/"),))
    monkeypatch.setattr(cgroups, "detect", lambda: unified)
    assert rootfs.cgroup_mounts(asked) == [asked._replace(type="cgroup2")]
    legacy = cgroups.Hierarchy((cgroups.Tree("/sys/fs/cgroup/cpu,cpuacct", 1, ("cpu", "cpuacct"), "/"),
                                cgroups.Tree("/sys/fs/cgroup/systemd", 1, ("name=systemd",), "/")))  # fmt: skip
    monkeypatch.setattr(cgroups, "detect", lambda: legacy)
    assert [(each.destination, each.options) for each in rootfs.cgroup_mounts(asked)[1:]] == [
        ("/sys/fs/cgroup/cpu,cpuacct", ("ro", "cpu", "cpuacct")),
        ("/sys/fs/cgroup/systemd", ("ro", "none", "name=systemd")),
    ]
