"""labrt-oci for an ordinary user, and with systemd's cgroups."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labrt.errors import InvalidConfig
from labrt.linux import cgroups, userns
from labrt.linux.cgroups import systemd
from labrt.runtime.oci import groups

pytestmark = pytest.mark.root
UID = 61234  # nobody's
PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def as_user(busybox_root: Path) -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """Run labrt-oci as an ordinary user, in a directory of theirs with a root file system in it."""
    with tempfile.TemporaryDirectory(prefix="oci-", dir="/tmp") as name:
        home = Path(name)
        shutil.copytree(busybox_root, home / "rootfs", symlinks=True)
        for path in [home, *home.rglob("*")]:
            os.chown(path, UID, UID, follow_symlinks=False)
        env = {"PATH": os.environ["PATH"], "HOME": name, "XDG_RUNTIME_DIR": name, "PYTHONPATH": str(PROJECT)}

        def run(*words: str, code: int = 0) -> subprocess.CompletedProcess:
            command = [sys.executable, "-m", "labrt.cli.oci", *words]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=home, env=env,
                                  user=UID, group=UID, extra_groups=[], timeout=60)  # fmt: skip
            assert done.returncode == code, done.stderr
            return done

        run.home = home
        yield run


def test_without_root(as_user):
    if userns.obstacles():
        pytest.skip(f"no user namespaces here: {userns.obstacles()}")
    as_user("spec", "--rootless")
    bundle = Path(as_user.home, "config.json")
    config = json.loads(bundle.read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", "id -u; cat /proc/self/uid_map; exit 3"]}
    bundle.write_text(json.dumps(config))
    assert as_user("run", "one", code=3).stdout.split() == ["0", "0", str(UID), "1"]
    assert as_user("list", "-q").stdout == ""
    config["linux"]["resources"] = {"pids": {"limit": 7}}
    bundle.write_text(json.dumps(config))
    assert "may not make the cgroup" in as_user("run", "two", code=1).stderr, "a limit is never left out silently"
    assert as_user("list", "-q").stdout == ""


@pytest.mark.parametrize(("path", "unit"), [
    ("", ("system.slice", "labrt-ID.scope")),
    ("user.slice:libpod:c0ffee", ("user.slice", "libpod-c0ffee.scope")),
    (":labrt:x", ("system.slice", "labrt-x.scope")),
    ("a.slice::x", ("a.slice", "x.scope")),
    ("machine-a_b-c.slice:p:x", ("machine-a_b-c.slice", "p-x.scope")),
    ("-.slice:p:x", ("-.slice", "p-x.scope")),
])  # fmt: skip
def test_names_of_units(path, unit):
    assert groups.unit_of(path, "ID") == unit


@pytest.mark.parametrize("path", ["/a/b", "a:b", "a:b:c", "a.slice:b:", "a.slice:b:c:d", "a.slice:b:c.slice",
                                  ".slice:b:c", "-a.slice:b:c", "a--b.slice:b:c", "a-.slice:b:c"])  # fmt: skip
def test_what_names_no_unit(path):
    with pytest.raises(InvalidConfig, match=r"linux\.cgroupsPath"):
        groups.unit_of(path, "ID")


def shown(unit: str, *names: str) -> dict[str, str]:
    """What systemd knows of a unit."""
    command = ["systemctl", "show", *(word for name in names for word in ("-p", name)), unit]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in said.splitlines())


@pytest.mark.vm
def test_a_scope_of_systemd(oci, eventually):
    if not systemd.present() or cgroups.detect().mode != "unified":
        pytest.skip("systemd is not PID 1 here, or there is not only cgroup v2")

    def change(config):
        config["linux"]["cgroupsPath"] = "labrt-test-inner.slice:labrt-test:nap"
        config["linux"]["resources"] |= {"pids": {"limit": 17}, "memory": {"limit": 64 << 20},
                                         "cpu": {"quota": 33_333, "shares": 512, "cpus": "0"}}  # fmt: skip
        config["annotations"]["org.systemd.property.TimeoutStopUSec"] = "uint64 5000000"

    id, unit = oci.bundle("sleep", "1000", change=change), "labrt-test-nap.scope"
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    oci("--systemd-cgroup", "create", "--bundle", str(oci.bundles / id), id, **nowhere)
    pid = oci.state(id)["pid"]
    path = f"/labrt.slice/labrt-test.slice/labrt-test-inner.slice/{unit}"
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::{path}\n"
    group = cgroups.load(path, parent="/")
    assert (group.procs, group.pids.max, group.memory.max) == ([pid], 17, 64 << 20)
    limits = ("TasksMax", "MemoryMax", "CPUQuotaPerSecUSec", "CPUWeight", "AllowedCPUs", "Delegate", "TimeoutStopUSec")
    assert shown(unit, *limits) == {
        "TasksMax": "17", "MemoryMax": str(64 << 20), "CPUQuotaPerSecUSec": "340ms", "CPUWeight": "59",
        "AllowedCPUs": "0", "Delegate": "yes", "TimeoutStopUSec": "5s",
    }  # fmt: skip
    assert Path(f"/sys/fs/cgroup{path}/cpu.max").read_text() == "33333 100000\n", "exactly, where systemd rounds"
    oci("start", id)
    oci("update", "--pids-limit", "23", "--memory", str(96 << 20), id)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert shown(unit, "TasksMax", "MemoryMax") == {"TasksMax": "23", "MemoryMax": str(96 << 20)}
    assert (group.pids.max, group.memory.max) == (23, 96 << 20), "and systemd does not take them back"
    assert oci("exec", id, "cat", "/proc/self/cgroup").stdout == "0::/\n"
    oci("delete", "--force", id)
    eventually(lambda: not group.exists)
    assert shown(unit, "ActiveState") == {"ActiveState": "inactive"}
