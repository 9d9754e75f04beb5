"""Control groups as the kernel keeps them: one suite for v1, v2 and both together."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labrt.errors import Conflict, InvalidConfig, InvalidInput, KernelError, NotFound, NotSupported
from labrt.linux import cgroups, ledger, syscalls
from labrt.linux.cgroups import devices

PROJECT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.root
Need = Callable[[str], None]


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def finish(process: subprocess.Popen[str]) -> str:
    tell(process)
    assert process.stdout
    output = process.stdout.read()
    process.wait()
    return output


def directories(group: cgroups.Cgroup) -> list[str]:
    return list(dict.fromkeys(group.paths.values()))


def test_made_in_every_tree_and_gone_afterwards(hierarchy, parent, labrt_root):
    with cgroups.create("demo", hierarchy=hierarchy, parent=parent) as group:
        assert group.path.endswith(f"{parent}/demo")
        assert all(os.path.isdir(directory) for directory in directories(group))
        assert [entry[:2] for entry in ledger.entries()] == [("cgroup", group.path)]
    assert not any(os.path.exists(directory) for directory in directories(group))
    assert ledger.entries() == []
    assert not group.exists


def test_a_process_is_where_it_was_put(group, child):
    with child("time.sleep(1000)") as process:
        group.add(process.pid)
        assert group.procs == [process.pid]
        lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
        fields = [line.split(":") for line in lines]
        places = {name or "unified": path for _, names, path in fields for name in names.split(",")}
        assert {name: places[name] for name in group.paths} == dict.fromkeys(group.paths, group.path)
    assert group.procs == []


def test_the_shared_parent_goes_with_the_last_one(hierarchy, parent, labrt_root, monkeypatch):
    monkeypatch.setattr(cgroups.protocol, "PARENT", parent)
    with cgroups.create("one", hierarchy=hierarchy, parent=parent) as group:
        parents = [os.path.dirname(directory) for directory in directories(group)]
        other = cgroups.create("other", hierarchy=hierarchy, parent=parent)
    assert all(map(os.path.isdir, parents))
    other.remove()
    assert all(map(os.path.isdir, parents))  # on the way of every container: the parent stays
    with cgroups.create("one", hierarchy=hierarchy, parent=parent):
        pass
    assert not any(map(os.path.exists, parents))
    other = cgroups.create("other", hierarchy=hierarchy, parent=parent)
    cgroups.prune(parent, hierarchy=hierarchy)  # not while something is in it
    assert other.exists
    other.remove()
    cgroups.prune(parent, hierarchy=hierarchy)
    assert not any(map(os.path.exists, parents))


@pytest.mark.parametrize("call", ["add(0)", "enter()"])
def test_the_caller_moves_itself(group, hierarchy, parent, call):
    code = f"""
from labrt.linux import cgroups
hierarchy = cgroups.detect()
version = {[tree.version for tree in hierarchy.trees]}
hierarchy = cgroups.Hierarchy(tuple(tree for tree in hierarchy.trees if tree.version in version))
cgroups.load({group.path!r}, hierarchy=hierarchy).{call}
print(open("/proc/self/cgroup").read())
"""
    seen = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert seen.count(f":{group.path}\n") >= len(directories(group))


def test_memory_limit_kills(group, need: Need, child):
    need("memory")
    group.memory.max = "32M"
    assert group.memory.max == 32 << 20
    if len(Path("/proc/swaps").read_text().splitlines()) > 1:
        group.memory.swap_max = 0
    with child("hog = b'x' * (128 << 20); print('survived')") as process:
        group.add(process.pid)
        assert finish(process) == ""
        assert process.returncode == -signal.SIGKILL
    assert group.memory.events["oom_kill"] == 1
    assert group.memory.events["max"] > 0 or group.memory.swap_max == 0


def test_memory_is_counted(group, need: Need, child):
    need("memory")
    with child("held = b'x' * (24 << 20); print('held', flush=True); time.sleep(1000)") as process:
        group.add(process.pid)
        tell(process)
        assert process.stdout and process.stdout.readline() == "held\n"
        assert 24 << 20 <= group.memory.current < 48 << 20
        assert group.memory.stat["anon"] >= 20 << 20  # the kernel counts in batches per CPU
        with contextlib.suppress(NotSupported):  # v2 has it from Linux 5.19
            assert group.memory.peak >= group.memory.current - (1 << 20)
    group.memory.max = "max"
    assert group.memory.max is None


def test_pids_limit_stops_forks(group, need: Need, child):
    need("pids")
    group.pids.max = 4
    forks = """
made = 0
try:
    for _ in range(20):
        if os.fork() == 0:
            time.sleep(1000)
        made += 1
except BlockingIOError:
    print(made, flush=True)
time.sleep(1000)
"""
    with child(forks) as process:
        group.add(process.pid)
        tell(process)
        assert process.stdout and process.stdout.readline() == "3\n"
        assert group.pids.current == 4
        assert len(group.procs) == 4
        assert group.pids.events["max"] >= 1
        group.kill()
        assert process.wait() == -signal.SIGKILL
    group.pids.max = "max"
    assert group.pids.max is None


def test_cpu_limit_throttles(group, need: Need, child, eventually):
    need("cpu")
    group.cpu.max = 0.1
    assert group.cpu.max == pytest.approx(0.1)
    with child("while True: pass") as process:
        group.add(process.pid)
        tell(process)
        assert eventually(lambda: group.cpu.stat["nr_throttled"] > 0)
    assert group.cpu.stat["throttled_usec"] > 0
    assert group.cpu.stat["usage_usec"] > 0


def test_cpu_words(group, need: Need):
    need("cpu")
    assert group.cpu.max is None
    assert group.cpu.weight == 100
    group.cpu.weight = 300
    assert group.cpu.weight == 300
    group.cpu.max = "20000 50000"
    assert group.cpu.max == pytest.approx(0.4)
    group.cpu.max = None
    assert group.cpu.max is None


def test_cpuset(group, need: Need, child):
    need("cpuset")
    cpu = min(os.sched_getaffinity(0))
    group.cpuset.cpus = [cpu]
    assert group.cpuset.cpus == str(cpu)
    with child("time.sleep(1000)") as process:
        group.add(process.pid)
        assert os.sched_getaffinity(process.pid) == {cpu}
        assert group.cpuset.effective_cpus == str(cpu)


def test_io_limits(group, need: Need):
    need("io")
    disk = next((path.name for path in sorted(Path("/sys/block").glob("[vsn][dv]*"))), None)
    if disk is None:
        pytest.skip("no disk here")
    number = Path(f"/sys/block/{disk}/dev").read_text().strip()
    group.io.max = {f"/dev/{disk}" if os.path.exists(f"/dev/{disk}") else number: {"wbps": "1M", "riops": 500}}
    assert group.io.max == {number: {"rbps": None, "wbps": 1 << 20, "riops": 500, "wiops": None}}
    group.io.max = f"{number} wbps=max riops=max"
    assert group.io.max in ({}, {number: dict.fromkeys(("rbps", "wbps", "riops", "wiops"))})
    assert isinstance(group.io.stat, dict)


def test_freeze_and_thaw(group, child, eventually):
    with child("while True: os.write(1, b'.')") as process:
        group.add(process.pid)
        tell(process)
        assert process.stdout
        pipe = process.stdout.fileno()
        assert os.read(pipe, 1) == b"."
        group.freeze()
        assert group.frozen
        os.set_blocking(pipe, False)
        while True:  # drain what it had written
            try:
                os.read(pipe, 1 << 16)
            except BlockingIOError:
                break
        if "freezer" in group.paths:
            assert Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "D"
        with pytest.raises(BlockingIOError):  # it stands still: nothing more comes
            os.read(pipe, 1)
        os.set_blocking(pipe, True)
        group.thaw()
        assert os.read(pipe, 1) == b"."
        assert not group.frozen


def test_kill_reaches_the_frozen_and_those_below(group, child, hierarchy, parent):
    below = cgroups.create("demo/below", hierarchy=hierarchy, parent=parent, controllers=())
    with child("time.sleep(1000)") as one, child("time.sleep(1000)") as other:
        for_both = below if "freezer" not in group.paths else group
        group.add(one.pid)
        for_both.add(other.pid)
        assert set(group.procs) == {one.pid, other.pid}
        group.freeze()
        group.kill()
        assert one.wait() == other.wait() == -signal.SIGKILL
    assert group.procs == []


def test_remove_kills_what_is_left(hierarchy, parent, labrt_root, child):
    group = cgroups.create("demo", hierarchy=hierarchy, parent=parent)
    for directory in directories(group):  # as a container with a writable cgroup mount can
        os.makedirs(f"{directory}/a/b")
    with child("time.sleep(1000)") as process:
        group.add(process.pid)
        group.freeze()
        group.remove()
        assert process.wait() == -signal.SIGKILL
    assert not any(os.path.exists(directory) for directory in directories(group))
    group.remove()  # harmless


def test_the_same_name_twice(group, hierarchy, parent):
    with pytest.raises(Conflict, match="exists already"):
        cgroups.create("demo", hierarchy=hierarchy, parent=parent)
    assert group.exists
    assert len(ledger.entries()) == 1


def test_a_failed_creation_leaves_nothing(hierarchy, parent, labrt_root):
    last = [tree for tree in hierarchy.trees if tree.version == 2 or "blkio" in tree.controllers][-1]
    os.makedirs(last.directory(f"{parent}/demo"))
    try:
        with pytest.raises(Conflict):
            cgroups.create("demo", hierarchy=hierarchy, parent=parent)
        left = [tree.mountpoint for tree in hierarchy.trees if os.path.exists(tree.directory(f"{parent}/demo"))]
        assert left == [last.mountpoint]
        assert ledger.entries() == []
    finally:
        os.rmdir(last.directory(f"{parent}/demo"))


def test_load(group, hierarchy, parent):
    again = cgroups.load("demo", hierarchy=hierarchy, parent=parent)
    assert again.path == group.path
    again.remove()
    assert not group.exists
    assert ledger.entries() == []
    with pytest.raises(NotFound, match="there is no cgroup"):
        cgroups.load("demo", hierarchy=hierarchy, parent=parent)


def test_what_a_crash_leaves_can_be_taken_down(labrt_root):
    parent = f"/labrt-test-{os.getpid()}"
    code = f"""
import os, subprocess
from labrt.linux import cgroups
group = cgroups.create("crash", parent={parent!r})
group.add(subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL).pid)
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 9
    (entry,) = ledger.entries()
    group = cgroups.load(entry.what)
    assert len(group.procs) == 1
    cgroups.remove_recorded(entry.what)
    assert not group.exists
    assert ledger.entries() == []
    cgroups.remove_recorded(entry.what)  # harmless
    cgroups.prune(parent)
    assert not any(os.path.exists(tree.directory(parent)) for tree in cgroups.detect().trees)


def test_clone_into(group, hierarchy):
    fd = group.open_fd()
    if hierarchy.v2 is None:
        assert fd is None
        return
    assert fd is not None
    reader, writer = os.pipe()
    pid, pidfd = syscalls.clone3(0, cgroup=fd)
    if pid == 0:
        try:
            os.read(reader, 1)
        finally:
            os._exit(0)
    try:
        assert f"0::{group.path}\n" in Path(f"/proc/{pid}/cgroup").read_text()
        group.add(pid)
        assert group.procs == [pid]
    finally:
        os.write(writer, b".")
        os.waitpid(pid, 0)
        for descriptor in (fd, reader, writer, pidfd):
            os.close(descriptor)


def test_apply_oci_resources(group, hierarchy, need: Need):
    for controller in ("memory", "cpu", "pids", "cpuset"):
        need(controller)
    cpus = group.cpuset.effective_cpus
    spec = {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 2048, "quota": 25000, "period": 50000, "cpus": cpus, "mems": "0"},
        "pids": {"limit": 30},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    group.apply(spec)
    assert (group.memory.max, group.memory.low, group.pids.max) == (64 << 20, 32 << 20, 30)
    assert group.cpu.max == pytest.approx(0.5)
    assert group.cpuset.cpus == cpus
    assert group.cpu.weight > 100
    group.apply({"memory": {"limit": 128 << 20}})
    assert (group.memory.max, group.pids.max) == (128 << 20, 30)


def test_apply_raises_and_lowers_memory_with_swap(group, need: Need):
    need("memory")
    try:
        swap = group.memory.swap_max
    except NotSupported:
        pytest.skip("no swap accounting here")
    assert swap is None
    for limit in (64 << 20, 256 << 20, 32 << 20):  # v1 wants them written in the right order, each time
        group.apply({"memory": {"limit": limit, "swap": 2 * limit}})
        assert (group.memory.max, group.memory.swap_max) == (limit, limit)


def test_nothing_is_written_when_a_field_is_wrong(group, need: Need):
    need("pids")
    for wrong in ({"memory": {"limit": "1"}}, {"cpu": {"shares": "many"}}, {"unified": {"../x.y": "1"}}):
        with pytest.raises((InvalidConfig, NotSupported)):
            group.apply({"pids": {"limit": 7}, **wrong})
    assert group.pids.max is None


def test_a_controller_that_only_few_ask_for():
    where = cgroups.detect().where("hugetlb")
    if where is None:
        pytest.skip("no tree here has hugetlb")
    spec = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}
    with cgroups.create("huge", also=["hugetlb"]) as cgroup:
        cgroup.apply(spec)
        directory = cgroup.paths["unified"] if where.version == 2 else cgroup.paths["hugetlb"]
        files = [file for file in Path(directory).iterdir() if file.name.startswith("hugetlb.2MB.")]
        limits = [file.read_text().strip() for file in files if file.suffix in (".max", ".limit_in_bytes")]
        assert "4194304" in limits
    # In one of its own: as long as anything else is in /labrt, that hands hugetlb on.
    with (
        cgroups.create("own") as own,
        cgroups.create("usual", parent=own.path) as cgroup,
        pytest.raises(NotSupported, match="hugetlb"),
    ):
        cgroup.apply(spec)


def test_unified_section(group, hierarchy):
    spec = {"unified": {"cgroup.max.depth": "3"}}
    if hierarchy.v2 is None:
        with pytest.raises(InvalidConfig, match="no v2"):
            group.apply(spec)
        return
    group.apply(spec)
    assert Path(group.paths["unified"], "cgroup.max.depth").read_text() == "3\n"
    with pytest.raises(NotSupported, match=r"nothing\.max"):
        group.apply({"unified": {"nothing.max": "1"}})


OPENS = """
for name, flags in ("null", os.O_RDWR), ("full", os.O_RDWR), ("zero", os.O_RDONLY), ("zero", os.O_RDWR):
    try:
        os.close(os.open("/dev/" + name, flags))
        print("yes", end=" ")
    except PermissionError:
        print("no", end=" ")
"""


@pytest.mark.parametrize(
    ("rules", "seen"),
    [
        ([{"allow": False, "access": "rwm"}], "no no no no"),
        (devices.DEFAULT, "yes yes yes yes"),
        (
            [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
                {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"},
            ],
            "yes no yes no",
        ),
        ([{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "w"}], "yes yes yes no"),
        ([{"allow": True}, {"allow": False, "type": "c", "major": 1, "access": "rwm"}], "no no no no"),
        ([{"allow": False}, {"allow": True}], "yes yes yes yes"),
    ],
)
def test_device_rules(group, child, rules, seen):
    group.apply({"devices": list(rules)})
    with child(OPENS) as process:
        group.add(process.pid)
        assert finish(process).split() == seen.split()


def test_device_rules_replace_each_other(group, child):
    for rules, seen in (([{"allow": False}], "no no no no"), (list(devices.DEFAULT), "yes yes yes yes")):
        group.apply({"devices": rules})
        with child(OPENS) as process:
            group.add(process.pid)
            assert finish(process).split() == seen.split()


def test_mknod_is_an_access_too(group, child, tmp_path):
    group.apply({"devices": [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "m"}]})
    nodes = "".join(
        f"""
try:
    os.mknod({str(tmp_path / name)!r}, {stat.S_IFCHR | 0o600}, os.makedev(1, {minor}))
except PermissionError:
    print({name!r}, "refused")
"""
        for name, minor in (("null", 3), ("full", 7))
    )
    with child(nodes) as process:
        group.add(process.pid)
        assert finish(process) == "full refused\n"
    assert (tmp_path / "null").is_char_device()


def test_a_missing_controller_is_named_when_it_is_used(hierarchy, parent, labrt_root):
    with cgroups.create("demo", hierarchy=hierarchy, parent=parent, controllers=["pids"]) as group:
        with pytest.raises(NotSupported, match="memory"):
            group.memory.max = "64M"
        with pytest.raises(NotSupported, match="memory"):
            group.apply({"memory": {"limit": 64 << 20}})
        group.apply({"memory": {}, "cpu": None})


def test_the_kernels_refusal_says_what_was_written(group, need: Need):
    need("pids")
    with pytest.raises(KernelError, match=r"cgroup\.procs.*no such process") as caught:
        group.add(1 << 22)
    assert isinstance(caught.value, ProcessLookupError)
    with pytest.raises(InvalidInput):
        group.pids.max = "many"
    with pytest.raises(AttributeError):
        group.pids.maximum = 3


def test_a_removed_cgroup_says_so(hierarchy, parent, labrt_root):
    with cgroups.create("demo", hierarchy=hierarchy, parent=parent) as group:
        pass
    with pytest.raises(NotFound, match="gone"):
        group.add(os.getpid())
    with pytest.raises(NotFound):
        group.stats()


def test_it_shows_itself(group, child, need: Need):
    need("memory")
    import rich.console

    with child("time.sleep(1000)") as process:
        group.add(process.pid)
        group.memory.max = "64M"
        console = rich.console.Console(width=120)
        with console.capture() as captured:
            console.print(group)
        assert "67108864" in captured.get()
        assert str(process.pid) in captured.get()
        assert group.path in repr(group)
        assert group.stats()["memory"]["max"] == 64 << 20


@pytest.mark.parametrize("name", ["../up", "/", "a/../../b", "", "a//b"])
def test_names_that_are_none(hierarchy, labrt_root, name):
    with pytest.raises(InvalidInput):
        cgroups.create(name, hierarchy=hierarchy)
    with pytest.raises(InvalidInput):
        cgroups.create("ok", hierarchy=hierarchy, controllers=["memery"])
    assert ledger.entries() == []
