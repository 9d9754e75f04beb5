"""Devices, interfaces of the host, and the cgroup, seen from inside."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from labrt.errors import InvalidConfig, NotSupported
from labrt.linux import cgroups

pytestmark = pytest.mark.root


def test_devices(see):
    def change(config):
        config["linux"]["devices"] = [
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8},
            {"path": "/srv/deep/zero", "type": "u", "major": 1, "minor": 5},
            {"path": "/run/fifo", "type": "p", "fileMode": 0o622},
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
        ]

    script = (
        "stat -c '%F %a %u:%g %t:%T' /dev/fuse /srv/deep/zero /run/fifo /dev/null; head -c 3 /srv/deep/zero | wc -c"
    )
    fuse, zero, fifo, null, read = see(script, change)
    assert fuse == "character special file 640 7:8 a:e5"
    assert zero == "character special file 666 0:0 1:5" and read == "3"
    assert fifo.startswith("fifo 622 0:0")
    assert null == "character special file 666 0:0 1:3"


def test_a_file_in_a_devices_place_is_an_error(make):
    device = {"path": "/etc/passwd", "type": "c", "major": 1, "minor": 5}
    with pytest.raises(InvalidConfig, match=r"linux\.devices: /etc/passwd is there already"):
        make("true", change=lambda config: config["linux"].update(devices=[device]))


def test_device_rules(see):
    """A rule for everything else leaves those that the specification gives to all; another one adds to them."""
    script = (
        "head -c1 /dev/zero >/dev/null && echo zero; mknod /tmp/mem c 1 1;"
        "head -c1 /tmp/mem 2>&1 >/dev/null | cut -d: -f3"
    )

    def change(config, more=()):
        config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}, *more]

    assert see(script, change) == ["zero", " Operation not permitted"]
    allowed = {"allow": True, "type": "c", "major": 1, "minor": 8, "access": "r"}
    assert see("head -c1 /dev/random | wc -c", lambda config: change(config, [allowed])) == ["1"]


@pytest.fixture
def interface():
    """One end of a cable, in our network namespace, with addresses; the container's end of it takes both away."""
    if not shutil.which("ip"):
        pytest.skip("iproute2 is not installed")
    name, peer = f"lt{os.getpid() % 100000}", f"lp{os.getpid() % 100000}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", peer], check=True)
    for words in (["addr", "add", "10.99.8.1/24", "dev", name], ["link", "set", name, "up"],
                  ["-6", "addr", "add", "fd00:88::1/64", "dev", name, "nodad"]):  # fmt: skip
        subprocess.run(["ip", *words], check=True)
    yield name
    subprocess.run(["ip", "link", "del", peer], capture_output=True)
    subprocess.run(["ip", "link", "del", name], capture_output=True)


@pytest.mark.parametrize(("name", "called"), [("", None), ("inside0", "inside0"), ("eth%d", "eth0")])
def test_interfaces_of_the_host(see, interface, name, called):
    wanted = {interface: {"name": name} if name else {}}
    out = "\n".join(see("ip addr", lambda config: config["linux"].update(netDevices=wanted)))
    assert f" {called or interface}@" in out
    assert "inet 10.99.8.1/24" in out and "inet6 fd00:88::1/64" in out
    assert "UP" in out.split(f"{called or interface}@")[1].splitlines()[0]


def test_an_interface_that_is_not_there_or_whose_name_is_taken(make, interface):
    with pytest.raises(InvalidConfig, match=r"linux\.netDevices: there is no 'nosuch0'"):
        make("true", change=lambda config: config["linux"].update(netDevices={"nosuch0": {}}))
    with pytest.raises(InvalidConfig, match=r"linux\.netDevices: .* a 'lo' in the container"):
        make("true", change=lambda config: config["linux"].update(netDevices={interface: {"name": "lo"}}))
    assert interface in {name for _, name in socket.if_nameindex()}


def test_cgroups_path(make):
    container = make("sleep", "300", change=lambda c: c["linux"].update(cgroupsPath=f"/labrt/deep-{os.getpid()}/x"))
    lines = Path(f"/proc/{container.state.pid}/cgroup").read_text()
    assert f"/labrt/deep-{os.getpid()}/x" in lines
    container.start()
    container.delete(force=True)
    for tree in cgroups.detect().trees:
        with contextlib.suppress(OSError):
            os.rmdir(f"{tree.mountpoint}/labrt/deep-{os.getpid()}")


def test_unified(make):
    if cgroups.detect().v2 is None:
        pytest.skip("no cgroup v2 here")
    container = make("true", change=lambda c: c["linux"]["resources"].update(unified={"cgroup.max.depth": "3"}))
    directory = cgroups.load(container.state.cgroup, parent="/").paths["unified"]
    assert Path(directory, "cgroup.max.depth").read_text() == "3\n"
    with pytest.raises(NotSupported, match="nosuch.max"):
        make("true", change=lambda c: c["linux"]["resources"].update(unified={"nosuch.max": "3"}))


def test_a_cgroup_that_is_the_users_own(tmp_path):
    """The files that the kernel names, and no other, are given away."""
    from labrt.linux.cgroups import tree

    listed = tmp_path / "delegate"
    listed.write_text("cgroup.procs\ncgroup.threads\nmemory.oom.group\n")
    group = tmp_path / "group"
    group.mkdir()
    for name in ("cgroup.procs", "cgroup.threads", "memory.max", "cgroup.subtree_control"):
        (group / name).touch()
    tree.delegate(str(group), 1000, listed=str(listed))
    assert [name for name in sorted(os.listdir(group)) if (group / name).stat().st_uid == 1000] == [
        "cgroup.procs", "cgroup.threads",
    ]  # fmt: skip
    assert group.stat().st_uid == 1000
    tree.delegate(str(group), 1001, listed=str(tmp_path / "absent"))
    assert (group / "cgroup.subtree_control").stat().st_uid == 1001
