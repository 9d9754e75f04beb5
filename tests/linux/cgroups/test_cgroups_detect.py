"""Other machines' trees, from their mountinfo and /proc/self/cgroup as recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labrt.errors import NotSupported
from labrt.linux.cgroups import Tree, delegated, detect

# {at} is where this test plays /sys/fs/cgroup.
V2_MOUNT = """\
35 24 0:30 / {at} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
"""
OTHER = """24 29 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard,errors=remount-ro
40 29 0:36 / /mnt/with\\040space rw - tmpfs tmpfs rw
"""
V1_MOUNT = """\
{number} 33 0:{number} {root} {at}/{name} rw,nosuid,nodev,noexec,relatime shared:{number} - cgroup cgroup rw,{options}
"""
UBUNTU_V1 = {  # Ubuntu 20.04, as systemd mounts it there: hybrid, some controllers together
    "systemd": "xattr,name=systemd", "cpu,cpuacct": "cpu,cpuacct", "memory": "memory", "pids": "pids", "blkio": "blkio",
    "net_cls,net_prio": "net_cls,net_prio", "cpuset": "cpuset", "freezer": "freezer", "devices": "devices",
    "hugetlb": "hugetlb", "perf_event": "perf_event", "rdma": "rdma",
}  # fmt: skip
UBUNTU_V1_CGROUP = """12:rdma:/
11:net_cls,net_prio:/
10:blkio:/user.slice
9:cpuset:/
8:memory:/user.slice/user-1000.slice/session-3.scope
7:cpu,cpuacct:/user.slice
6:perf_event:/
5:hugetlb:/
4:pids:/user.slice/user-1000.slice/session-3.scope
3:devices:/user.slice
2:freezer:/
1:name=systemd:/user.slice/user-1000.slice/session-3.scope
0::/user.slice/user-1000.slice/session-3.scope
"""


def v1_mounts(at: Path, names: dict[str, str], root: str = "/") -> str:
    lines = (
        V1_MOUNT.format(number=number, at=at, name=name, options=options, root=root)
        for number, (name, options) in enumerate(names.items(), 50)
    )
    return "".join(lines)


class Host:
    """A recorded machine: its three files."""

    def __init__(self, tmp_path: Path) -> None:
        self.at = tmp_path / "cgroup"
        self.at.mkdir()
        self.tmp_path = tmp_path

    def detect(self, mountinfo: str, cgroup: str, controllers: str = "", v2: str = ""):
        (self.at / v2).mkdir(exist_ok=True)
        if controllers:
            (self.at / v2 / "cgroup.controllers").write_text(f"{controllers}\n")
        (self.tmp_path / "mountinfo").write_text(OTHER + mountinfo)
        (self.tmp_path / "proc").write_text(cgroup)
        return detect(str(self.tmp_path / "mountinfo"), str(self.tmp_path / "proc"))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize(
    "controllers",
    [
        "cpuset cpu io memory hugetlb pids rdma misc",  # Debian 12, Ubuntu 24.04
        "cpuset cpu io memory hugetlb pids rdma misc dmem",  # Debian 13
    ],
)
def test_a_machine_with_v2_only(host: Host, controllers):
    own = "/user.slice/user-1000.slice/session-1.scope"
    found = host.detect(V2_MOUNT.format(at=host.at), f"0::{own}\n", controllers)
    assert found.mode == "unified"
    assert found.v1 == {}
    assert found.v2 == Tree(str(host.at), 2, tuple(controllers.split()), own)
    assert found.where("memory") == found.v2
    assert found.where("devices") is None
    assert found.v2.directory("/labrt/demo") == f"{host.at}/labrt/demo"
    assert found.v2.directory("/") == str(host.at)


def test_a_hybrid_machine_with_controllers_mounted_together(host: Host):
    mounts = v1_mounts(host.at, UBUNTU_V1)
    mounts = V2_MOUNT.format(at=host.at / "unified") + mounts
    found = host.detect(mounts, UBUNTU_V1_CGROUP, v2="unified")
    assert found.mode == "hybrid"
    assert found.where("cpu") is found.where("cpuacct")
    assert found.v1["cpu"].mountpoint == f"{host.at}/cpu,cpuacct"
    assert found.v1["memory"].own == "/user.slice/user-1000.slice/session-3.scope"
    assert found.v2 is not None
    assert found.v2.controllers == ()
    assert len(found.trees) == 13


def test_a_legacy_machine(host: Host):
    lines = [line for line in UBUNTU_V1_CGROUP.splitlines(True) if not line.startswith("0:")]
    found = host.detect(v1_mounts(host.at, UBUNTU_V1), "".join(lines))
    assert (found.mode, found.v2) == ("legacy", None)


def test_a_name_alone_makes_no_machine_hybrid(host: Host):
    mounts = V2_MOUNT.format(at=host.at) + v1_mounts(host.at, {"systemd": "xattr,name=systemd"})
    found = host.detect(mounts, "1:name=systemd:/\n0::/init.scope\n", "cpu memory pids")
    assert found.mode == "unified"
    assert found.where("pids") is found.v2


def test_inside_a_container_paths_count_from_what_is_mounted(host: Host):
    mounts = v1_mounts(host.at, {"memory": "memory", "pids": "pids"}, root="/docker/c0ffee")
    found = host.detect(mounts, "3:memory:/docker/c0ffee/inner\n2:pids:/docker/c0ffee\n1:freezer:/docker/c0ffee\n")
    assert {name: tree.own for name, tree in found.v1.items()} == {"memory": "/inner", "pids": "/"}
    assert found.where("freezer") is None  # in /proc/self/cgroup, but mounted nowhere


def test_a_mount_point_with_a_space(host: Host):
    at = host.at / "with space"
    found = host.detect(V2_MOUNT.format(at=str(at).replace(" ", "\\040")), "0::/\n", "pids", v2="with space")
    assert found.v2 == Tree(str(at), 2, ("pids",), "/")


def test_nothing_mounted(host: Host):
    found = host.detect("", "0::/\n")
    assert (found.mode, found.trees) == ("none", ())


def test_this_machine():
    found = detect()
    assert found.mode in ("unified", "hybrid", "legacy", "none")
    for tree in found.trees:
        assert os.path.isdir(tree.mountpoint)
        if tree.version == 1:
            assert os.stat(tree.mountpoint).st_dev != os.stat("/sys").st_dev


def test_it_shows_itself(host: Host):
    import rich.console

    found = host.detect(V2_MOUNT.format(at=host.at), "0::/user.slice\n", "cpu memory")
    console = rich.console.Console(width=200)
    with console.capture() as captured:
        console.print(found)
    assert "unified" in captured.get()
    assert "cpu memory" in captured.get()
    assert "/user.slice" in captured.get()
    assert repr(found).startswith("<Hierarchy unified: ")


def test_root_has_all_of_it(host: Host):
    found = host.detect(V2_MOUNT.format(at=host.at), "0::/user.slice\n", "cpu memory")
    (host.at / "cgroup.procs").touch()
    assert found.v2 is not None
    assert delegated(found.v2) == "/"


@pytest.mark.root
def test_an_ordinary_user_has_what_is_delegated(host: Host):
    scope = "/user.slice/user-1000.slice/user@1000.service/app.slice/some.scope"
    found = host.detect(V2_MOUNT.format(at=host.at), f"0::{scope}\n", "cpu memory")
    directory = host.at
    for part in ("user.slice", "user-1000.slice", "user@1000.service", "app.slice", "some.scope"):
        directory /= part
        directory.mkdir()
        (directory / "cgroup.procs").touch()
        if directory.name.endswith((".service", "app.slice", ".scope")):
            os.chown(directory, 1000, 1000)
            os.chown(directory / "cgroup.procs", 1000, 1000)
    for folder in [host.at, *host.at.parents]:
        if folder.name and folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    code = f"""
import os
from labrt.errors import NotSupported
from labrt.linux.cgroups import Tree, delegated
tree = Tree({str(host.at)!r}, 2, (), {scope!r})
os.setgroups([]); os.setgid(1000); os.setuid(1000)
print(delegated(tree))
try:
    delegated(tree._replace(own="/user.slice/user-1000.slice"))
except NotSupported as error:
    print(error)
"""
    project = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "/user.slice/user-1000.slice/user@1000.service"
    assert "not delegated" in second
    assert "systemd-run --user --scope" in second
    assert found.v2 is not None
    with pytest.raises(NotSupported):
        delegated(found.v2._replace(mountpoint=str(host.tmp_path / "nowhere")))
