"""--uidmap, --gidmap, --userns auto: a container whose root is nobody on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from labrt.engine import commit, copy
from labrt.engine.containers import Containers
from labrt.engine.options import Options, users
from labrt.errors import InvalidInput
from labrt.linux import idmap, userns
from labrt.linux.mounts import Mount
from labrt.linux.userns import IdMap

MAP = "0:300000:65536"


@pytest.mark.parametrize(("given", "says"), [
    ({"uidmap": ["0:1"]}, None),
    ({"uidmap": ["0"]}, "not understood"),
    ({"uidmap": ["0:1:2:3"]}, "not understood"),
    ({"gidmap": ["0:-1:2"]}, "not understood"),
    ({"uidmap": ["1:300001:9"]}, "nobody is its root"),
    ({"uidmap": ["0:300000:10", "5:400000:10"]}, "overlap"),
    ({"uidmap": ["0:4294967290:10"]}, "leaves the ids"),
    ({"uidmap": [MAP], "privileged": True}, "--privileged with a user namespace"),
    ({"uidmap": [MAP], "network": "container:x"}, "not its own to enter"),
    ({"uidmap": [MAP], "userns": "auto"}, "contradict"),
    ({"userns": "auto", "pid": "container:x"}, "not its own to enter"),
    ({"userns": "moon"}, "--userns 'moon'"),
])  # fmt: skip
def test_what_can_be(given: dict[str, Any], says: str | None) -> None:
    if says is None:
        assert users.maps(Options("busybox", **given)) == ([IdMap(0, 1)], [IdMap(0, 1)])
    else:
        with pytest.raises(InvalidInput, match=says):
            Options("busybox", **given)


def test_ids_that_nobody_else_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = [userns.IdRange(500_000, 3 * 65536)]
    monkeypatch.setattr(userns, "subordinate_ids", lambda user: (ranges, ranges) if user == "containers" else ([], []))
    wanted, taken = Options("busybox", userns="auto"), [IdMap(0, 565_535, 2)]
    chosen = users.choose(wanted, taken)
    assert chosen.uidmap == chosen.gidmap == [f"0:{500_000 + 2 * 65536}:65536"], "the first two are taken in part"
    taken += users.maps(chosen)[0]
    with pytest.raises(InvalidInput, match="are taken"):
        users.choose(wanted, taken)
    monkeypatch.setattr(userns, "subordinate_ids", lambda user: ([], []))
    with pytest.raises(InvalidInput, match="no ids are set aside") as error:
        users.choose(wanted, [])
    assert "containers:" in error.value.remedy


@pytest.mark.root
def test_an_overlay_with_other_owners(tmp_path: Path) -> None:
    lower, container = tmp_path / "l", tmp_path / "c"
    for path in (lower, container, container / "upper", container / "work"):
        path.mkdir()
    (lower / "f").write_text("lower")
    os.chown(lower / "f", 5, 7)
    options = (f"lowerdir={lower}", f"upperdir={container}/upper", f"workdir={container}/work")
    maps = [IdMap(0, 300_000, 65536)]
    fd = idmap.overlay(Mount("/", "overlay", "overlay", options), maps, maps)
    try:
        found = os.stat("f", dir_fd=fd)
        assert (found.st_uid, found.st_gid) == (300_005, 300_007)
        os.chown("f", 300_001, 300_002, dir_fd=fd)
    finally:
        os.close(fd)
    written = os.stat(container / "upper/f")
    assert (written.st_uid, written.st_gid) == (1, 2), "on the disk are the container's own ids"
    assert sorted(os.listdir(container)) == ["upper", "work"]


@pytest.mark.root
class TestAtWork:
    def test_root_is_nobody_here(self, house: Path, tmp_path: Path) -> None:
        (tmp_path / "host").write_text("host")
        container = Containers().create(Options(
            "busybox", ("sh", "-c", "touch /a /data/b /run/c && chown 7:8 /data/b && sleep 1000"), name="mapped",
            network="none", uidmap=[MAP], volumes=["data:/data", f"{tmp_path}:/host"], tmpfs=["/run"], memory="64m",
            device=["/dev/null:/dev/nil"],
        ))  # fmt: skip
        assert container.inspect()["HostConfig"]["IDMappings"] == {"UidMap": [MAP], "GidMap": [MAP]}
        container.start()
        pid = container.state.pid
        assert pid is not None and os.stat(f"/proc/{pid}").st_uid == 300_000
        script = "until [ -e /run/c ]; do :; done; id -u; cat /proc/self/uid_map; touch /host/x; echo >/dev/nil; "
        script += "stat -c %u:%g /a /data/b /run/c /etc/hosts /etc/passwd /host"
        said = container.exec("sh", "-c", script).stdout
        assert said.split() == ["0", *MAP.split(":"), "0:0", "7:8", "0:0", "0:0", "0:0", "65534:65534"]
        assert not (tmp_path / "x").exists(), "a directory of root's is not its root's"
        (tmp_path / "in").write_text("copied")
        copy.copy_in(container, str(tmp_path / "in"), "/tmp/in")
        assert container.exec("stat", "-c", "%u", "/tmp/in").stdout == "0\n"
        made = commit.commit(container, "made:1")
        container.remove(force=True)
        plain = Containers().create(Options(str(made.reference), ("stat", "-c", "%u", "/a", "/tmp/in"), network="none"))
        assert plain.run_to_end().stdout == "0\n0\n", "and the image is as any other"

    def test_networks(self, house: Path) -> None:
        for network in ("host", "bridge"):
            options = Options("busybox", ("sh", "-c", "ls /sys/class/net; id -u"), network=network, uidmap=[MAP])
            said = Containers().create(options).run_to_end().stdout.split()
            assert said[-1] == "0" and "lo" in said
