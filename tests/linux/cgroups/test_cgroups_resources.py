"""linux.resources of the OCI runtime-spec as files, without a kernel; and what runc makes of the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from labrt.errors import Conflict, InvalidConfig
from labrt.linux import cgroups
from labrt.linux.cgroups import resources, v1, v2

MANY = {
    "memory": {"limit": 536870912, "reservation": 268435456, "swap": 1073741824, "disableOOMKiller": False},
    "cpu": {"shares": 1024, "quota": 20000, "period": 50000, "burst": 10000, "cpus": "0-1", "mems": "0", "idle": 0},
    "pids": {"limit": 32771},
    "blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 100}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 300}],
    },
}


def none(name: str) -> bool:
    return False


def swap_only(name: str) -> bool:
    return name in ("memory.swap.max", "memory.memsw.limit_in_bytes")


def test_in_v2s_words():
    assert list(resources.to_v2(MANY, swap_only)) == [
        ("memory.max", "536870912"),
        ("memory.swap.max", "536870912"),
        ("memory.low", "268435456"),
        ("cpu.weight", "100"),
        ("cpu.max", "20000 50000"),
        ("cpu.max.burst", "10000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "32771"),
        ("io.weight", "4950"),
        ("io.weight", "8:0 910"),
        ("io.max", "8:0 rbps=600"),
        ("io.max", "8:16 wiops=300"),
    ]


def test_in_v1s_words():
    assert list(resources.to_v1(MANY, swap_only)) == [
        ("memory.limit_in_bytes", "536870912"),
        ("memory.memsw.limit_in_bytes", "1073741824"),
        ("memory.soft_limit_in_bytes", "268435456"),
        ("cpu.shares", "1024"),
        ("cpu.cfs_period_us", "50000"),
        ("cpu.cfs_quota_us", "20000"),
        ("cpu.cfs_burst_us", "10000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "32771"),
        ("blkio.weight", "500"),
        ("blkio.weight_device", "8:0 100"),
        ("blkio.throttle.read_bps_device", "8:0 600"),
        ("blkio.throttle.write_iops_device", "8:16 300"),
    ]


def test_bfq_keeps_the_weights_where_it_is():
    assert ("io.bfq.weight", "500") in list(resources.to_v2(MANY, lambda name: name == "io.bfq.weight"))
    assert ("blkio.bfq.weight_device", "8:0 100") in list(resources.to_v1(MANY, lambda name: "bfq" in name))


@pytest.mark.parametrize(
    ("spec", "writes"),
    [
        ({"memory": {"limit": -1, "swap": -1}}, [("memory.max", "max"), ("memory.swap.max", "max")]),
        ({"memory": {"limit": 100, "swap": 100}}, [("memory.max", "100"), ("memory.swap.max", "0")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
        ({"pids": {"limit": 0}}, [("pids.max", "0")]),
        ({"cpu": {"quota": 50000}}, [("cpu.max", "50000")]),
        ({"cpu": {"quota": -1, "period": 50000}}, [("cpu.max", "max 50000")]),
        ({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}}, []),
        ({"memory": None, "cpu": {"shares": None}}, []),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}}, [("io.max", "8:0 rbps=max")]),
    ],
)
def test_no_limit_and_nothing_said(spec, writes):
    resources.check(spec)
    assert list(resources.to_v2(spec, swap_only)) == writes


def test_swap_is_not_limited_where_the_kernel_does_not_count_it():
    spec = {"memory": {"limit": 100, "swap": 200}}
    assert list(resources.to_v2(spec, none)) == [("memory.max", "100")]
    assert list(resources.to_v1(spec, none)) == [("memory.limit_in_bytes", "100")]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"memory": {"swap": 100}}, "memory.swap"),
        ({"memory": {"limit": 200, "swap": 100}}, "memory.swap"),
        ({"memory": {"kernel": 100}}, "memory.kernel"),
        ({"memory": {"swappiness": 10}}, "memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        ({"cpu": {"realtimeRuntime": 950000}}, "cpu.realtimeRuntime"),
        ({"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
        ({"network": {"classID": 1}}, "network.classID"),
        ({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}, "network.priorities"),
        ({"rdma": {"mlx5_1": {}}}, "rdma.mlx5_1"),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "rate": 1}]}}, "minor"),
    ],
)
def test_what_v2_cannot_do_is_an_error(spec, field):
    with pytest.raises(InvalidConfig, match=field):
        list(resources.to_v2(spec, none))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"network": {"classID": "1"}}, r"linux\.resources\.network\.classID: '1' is no int"),
        ({"hugepageLimits": [{"pageSize": 2}]}, r"linux\.resources\.hugepageLimits\[0\]\.pageSize: 2"),
        ({"memory": {"limit": "64M"}}, r"linux\.resources\.memory\.limit: '64M' is no int"),
        ({"memory": {"limit": True}}, r"linux\.resources\.memory\.limit: True"),
        ({"memory": [1]}, r"linux\.resources\.memory: \[1\] is no object"),
        ({"devices": {"allow": True}}, r"linux\.resources\.devices: .* is no array"),
        ({"blockIO": {"weightDevice": [{"major": 1, "weight": "3"}]}}, r"blockIO\.weightDevice\[0\]\.weight: '3'"),
        ({"devices": [{"allow": "yes"}]}, r"devices\[0\]\.allow: 'yes' is no bool"),
    ],
)
def test_wrong_types_are_named(spec, field):
    with pytest.raises(InvalidConfig, match=field):
        resources.check(spec)


def test_the_specifications_own_example_is_known(shared: Path):
    example = shared / "specs/runtime-spec/schema/test/config/good/spec-example.json"
    spec = json.loads(example.read_text())["linux"]["resources"]
    resources.check(spec)
    files = list(resources.to_v1(spec, none))
    assert ("cpu.cfs_quota_us", str(spec["cpu"]["quota"])) in files
    assert ("hugetlb.2MB.limit_in_bytes", "9223372036854772000") in files
    assert ("net_cls.classid", "1048577") in files
    assert [value for name, value in files if name == "net_prio.ifpriomap"] == ["eth0 500", "eth1 1000"]
    assert resources.further(spec) == {"hugetlb", "net_cls", "net_prio"}


def test_rdma():
    spec = {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 0}}}
    resources.check(spec)
    expected = [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"), ("rdma.max", "rxe3 hca_object=0")]
    assert list(resources.to_v1(spec, none)) == list(resources.to_v2(spec, none)) == expected
    assert resources.further(spec) == {"rdma"}


def test_fields_that_the_specification_does_not_have_are_passed_over():
    spec = {"oomScoreAdj": 100, "memory": {"limit": 100, "limits": 1}}
    resources.check(spec)
    assert list(resources.to_v2(spec, none)) == [("memory.max", "100")]


def test_huge_pages_are_counted_when_they_are_reserved_where_the_kernel_can():
    spec = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}, {"pageSize": "1GB", "limit": (1 << 64) - 1}]}

    def reserves(name: str) -> bool:
        return "rsvd" in name

    assert list(resources.to_v2(spec, none)) == [("hugetlb.2MB.max", "4194304"), ("hugetlb.1GB.max", "max")]
    assert list(resources.to_v2(spec, reserves))[0] == ("hugetlb.2MB.rsvd.max", "4194304")
    assert list(resources.to_v1(spec, reserves))[1] == ("hugetlb.1GB.rsvd.limit_in_bytes", "-1")


def test_what_unified_names_needs_its_controller():
    assert resources.further({"unified": {"misc.max": "x 1", "cgroup.max.depth": "1"}}) == {"misc"}


def test_a_plain_directory_plays_v2(tmp_path: Path):
    directory = tmp_path / "demo"
    directory.mkdir()
    for name in ("memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "cpu.max.burst", "pids.max"):
        (directory / name).write_text("an older and longer text\n")
    (directory / "memory.current").write_text("1000\n")
    group = v2.Cgroup("/demo", root=str(tmp_path))
    spec = {"memory": MANY["memory"], "cpu": {"shares": 2048, "quota": 20000}, "pids": {"limit": 7}}
    plan = group.plan(spec)
    assert [str(write) for write in plan][:1] == [f"{directory}/memory.max ← '536870912'"]
    assert (directory / "memory.max").read_text() == "an older and longer text\n"
    group.apply(spec)
    assert (directory / "memory.max").read_text() == "536870912"
    assert (directory / "cpu.max").read_text() == "20000"
    group.memory.max = "1M"
    group.cpu.max = 2
    assert (group.memory.max, group.cpu.max, group.pids.max) == (1 << 20, 2.0, 7)
    with pytest.raises(Conflict, match="1000 bytes in use"):
        group.apply({"memory": {"limit": 500, "checkBeforeUpdate": True}})
    assert group.memory.max == 1 << 20


def test_plain_directories_play_v1(tmp_path: Path):
    for name in ("memory", "cpu,cpuacct"):
        (tmp_path / name / "demo").mkdir(parents=True)
    memory, cpu = tmp_path / "memory/demo", tmp_path / "cpu,cpuacct/demo"
    (memory / "memory.limit_in_bytes").write_text("9223372036854710272\n")  # no limit, with pages of 64 KiB
    (memory / "memory.memsw.limit_in_bytes").write_text("300\n")
    (memory / "memory.soft_limit_in_bytes").write_text("9223372036854771712\n")
    for name, text in {
        "cpu.shares": "1024", "cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000", "cpuacct.usage": "5000000",
        "cpuacct.usage_user": "3000000", "cpuacct.usage_sys": "2000000",
        "cpu.stat": "nr_periods 7\nnr_throttled 2\nthrottled_time 9000",
    }.items():  # fmt: skip
        (cpu / name).write_text(f"{text}\n")
    both = str(tmp_path / "cpu,cpuacct")
    group = v1.Cgroup("/demo", trees={"memory": str(tmp_path / "memory"), "cpu": both, "cpuacct": both})
    assert (group.memory.max, group.memory.low, group.cpu.max, group.cpu.weight) == (None, None, None, 100)
    assert group.cpu.stat == {
        "usage_usec": 5000, "user_usec": 3000, "system_usec": 2000, "nr_periods": 7, "nr_throttled": 2,
        "throttled_usec": 9,
    }  # fmt: skip
    names = [os.path.basename(write.path) for write in group.plan({"memory": {"limit": 400, "swap": 800}})]
    assert names == ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]  # raising: the wider one first
    group.memory.max = 200
    assert group.memory.swap_max == 100
    group.cpu.weight = 300
    group.cpu.max = "max"
    assert (cpu / "cpu.shares").read_text() == "3072"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "-1"


RUNC_SPEC = {
    "memory": {"limit": 64 << 20, "reservation": 32 << 20},
    "cpu": {"shares": 512, "quota": 40000, "period": 80000, "mems": "0"},
    "pids": {"limit": 33},
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"},
    ],
}
WRITTEN = (  # files that both versions' runc writes; those that are not here are the other version's
    "memory.limit_in_bytes", "memory.soft_limit_in_bytes", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us",
    "pids.max", "cpuset.mems", "memory.max", "memory.low", "cpu.max",
)  # fmt: skip


@pytest.mark.root
@pytest.mark.oracle
def test_runc_writes_the_same(tmp_path: Path, labrt_root: Path):
    runc, busybox = shutil.which("runc"), "/bin/busybox"
    if not runc or not os.path.exists(busybox) or subprocess.run(["ldd", busybox], capture_output=True).returncode == 0:
        pytest.skip("runc or a static busybox is not installed")
    parent = f"/labrt-test-runc-{os.getpid()}"
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    shutil.copy(busybox, rootfs / "busybox")
    subprocess.run([runc, "spec", "-b", str(tmp_path)], check=True)
    config = json.loads((tmp_path / "config.json").read_bytes())
    config["process"] |= {"terminal": False, "args": ["/busybox", "true"], "rlimits": []}
    config["linux"] |= {"cgroupsPath": f"{parent}/runc", "resources": RUNC_SPEC, "seccomp": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [runc, "--root", str(tmp_path / "state")]
    name = f"labrt-test-{os.getpid()}"
    log = tmp_path / "log"  # a file: the container holds what it is given open, and a pipe would never end
    with log.open("w") as stream:
        streams = {"stdin": subprocess.DEVNULL, "stdout": stream, "stderr": stream}
        created = subprocess.run([*command, "create", "-b", str(tmp_path), name], **streams, timeout=60)
    try:
        assert created.returncode == 0, log.read_text()
        theirs = cgroups.load(f"{parent}/runc")
        with cgroups.create("ours", parent=parent) as ours:
            ours.apply(RUNC_SPEC)
            assert _contents(ours) == _contents(theirs)
            assert len(_contents(ours)) >= 5
    finally:
        subprocess.run([*command, "delete", "--force", name], stdin=subprocess.DEVNULL, timeout=60, check=True)
        cgroups.prune(parent)
        for tree in cgroups.detect().trees:  # runc joins more trees than we do
            if os.path.isdir(tree.directory(parent)):
                os.rmdir(tree.directory(parent))


def _contents(group: cgroups.Cgroup) -> dict[str, str]:
    paths = [Path(directory, name) for directory in dict.fromkeys(group.paths.values()) for name in WRITTEN]
    return {path.name: path.read_text() for path in paths if path.exists()}
