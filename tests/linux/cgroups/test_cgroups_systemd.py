"""Scopes from systemd: what is asked for, and where it is PID 1 (the guest in tests/vm), what one gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labrt.errors import Conflict, InvalidConfig, NotFound, NotSupported
from labrt.linux import cgroups
from labrt.linux.cgroups import properties, systemd

BUS = Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "bus")
here = pytest.mark.skipif(
    not systemd.present() or not (os.geteuid() == 0 or BUS.exists()) or cgroups.detect().mode != "unified",
    reason="systemd is not PID 1 here, or this user has no session with it, or there is not only cgroup v2",
)


def test_present(tmp_path: Path):
    assert not systemd.present(str(tmp_path))
    (tmp_path / "systemd/system").mkdir(parents=True)
    assert systemd.present(str(tmp_path))


def test_what_is_asked_for():
    words = systemd.start_transient_unit(4242, "labrt-x.scope")
    assert words[:4] == ["ssa(sv)a(sa(sv))", "labrt-x.scope", "fail", "5"]
    text = " ".join(words)
    for asked in ("Delegate b true", "Slice s labrt.slice", "PIDs au 1 4242"):
        assert asked in text
    assert words[-1] == "0"


@pytest.mark.parametrize(("spec", "expected"), [
    ({"memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20}},
     {"MemoryMax": "67108864", "MemoryLow": "33554432", "MemorySwapMax": "33554432"}),
    ({"memory": {"limit": -1}, "pids": {"limit": 7}}, {"MemoryMax": str(properties.INFINITY), "TasksMax": "7"}),
    ({"cpu": {"shares": 1024, "quota": 50_000}}, {"CPUWeight": "100", "CPUQuotaPerSecUSec": "500000"}),
    ({"cpu": {"quota": 33_333, "period": 50_000}}, {"CPUQuotaPerSecUSec": "670000", "CPUQuotaPeriodUSec": "50000"}),
    ({"cpu": {"quota": -1, "idle": 1}}, {"CPUQuotaPerSecUSec": str(properties.INFINITY), "CPUWeight": "0"}),
    ({"cpu": {"cpus": "0-2,9", "mems": "0"}}, {"AllowedCPUs": "2 7 2", "AllowedMemoryNodes": "1 1"}),
    ({"blockIO": {"weight": 1000, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}, {"IOWeight": "10000"}),
    ({"unified": {"memory.high": "1048576", "cpu.weight": "33", "io.max": "8:0 rbps=1"}},
     {"MemoryHigh": "1048576", "CPUWeight": "33"}),
])  # fmt: skip
def test_limits_as_systemd_has_them(spec, expected):
    assert {name: " ".join(value) for name, _, *value in properties.of_resources(spec)} == expected


def test_properties_of_the_creators_own():
    told = {"TimeoutStopUSec": "uint64 5000000", "KillSignal": "15", "SendSIGHUP": "true", "CollectMode": "'inactive'"}
    annotations = {"a": "b"} | {f"org.systemd.property.{name}": text for name, text in told.items()}
    assert [*properties.of_annotations(annotations)] == [
        ("TimeoutStopUSec", "t", "5000000"), ("KillSignal", "i", "15"), ("SendSIGHUP", "b", "true"),
        ("CollectMode", "s", "inactive"),
    ]  # fmt: skip
    for key, text in (("X-Y", "1"), ("After", "['a']"), ("After", "'"), ("After", "'a' 'b'"), ("After", "")):
        with pytest.raises(InvalidConfig, match=key):
            [*properties.of_annotations({f"org.systemd.property.{key}": text})]


def test_without_systemd(monkeypatch):
    monkeypatch.setattr(systemd, "present", lambda: False)
    with pytest.raises(NotSupported, match="no systemd"):
        systemd.scope(os.getpid(), "x")


@here
def test_a_scope_and_a_cgroup_below_it(child, labrt_root, eventually):
    name = f"test-{os.getpid()}"
    v2 = cgroups.detect().v2
    assert v2 is not None
    with child("time.sleep(1000)") as monitor, child("time.sleep(1000)") as inner:
        path = systemd.scope(monitor.pid, name)
        try:
            assert path.endswith(f"/labrt.slice/labrt-{name}.scope")
            assert Path(f"/proc/{monitor.pid}/cgroup").read_text() == f"0::{path}/monitor\n"
            if os.geteuid() != 0:
                # Only from inside may an ordinary user move processes, and then only between one's own.
                inner_path = systemd.scope(inner.pid, f"{name}-inner")
                assert inner_path != path
            with cgroups.create("container", parent=path) as group:
                assert group.path == f"{path}/container"
                group.apply({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}})
                assert (group.memory.max, group.pids.max) == (64 << 20, 20)
                group.add(inner.pid)
                assert group.procs == [inner.pid]
            assert inner.wait() < 0
            with pytest.raises(Conflict, match="already"):
                systemd.scope(monitor.pid, name)
        finally:
            systemd.stop(name)
            systemd.stop(f"{name}-inner")
        monitor.wait()
        assert eventually(lambda: not os.path.exists(v2.directory(path)))
    systemd.stop(name)  # harmless


@here
def test_a_scope_for_nobody():
    with pytest.raises((NotFound, NotSupported)):
        systemd.scope(1 << 22, f"nobody-{os.getpid()}")
