"""The process section: the program as it finds itself, by init and by exec."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from labrt.errors import InvalidConfig, LabrtError, LabrtWarning
from labrt.linux import capabilities, labels, process
from labrt.runtime import config as oci

pytestmark = pytest.mark.root


def test_the_program(see):
    def change(config):
        config["process"] |= {
            "cwd": "/tmp", "env": ["PATH=/bin", "A=b c", "A=last"], "oomScoreAdj": 77, "noNewPrivileges": True,
            "user": {"uid": 1000, "gid": 50, "umask": 0o27, "additionalGids": [5, 6]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                        {"type": "RLIMIT_RTTIME", "soft": 5, "hard": 9},
                        {"type": "RLIMIT_CPU", "soft": 70, "hard": (1 << 64) - 1}],
        }  # fmt: skip
        del config["annotations"][oci.USER]
        config["process"]["args"] += ["name", "one two"]

    script = (
        'pwd; echo "$A" "$0" "$1"; umask; cat /proc/self/oom_score_adj; id -u; id -g; id -G;'
        "grep NoNewPrivs /proc/self/status; grep -e files -e realtime\\ timeout -e Max\\ cpu /proc/self/limits"
    )
    cwd, words, umask, oom, uid, gid, groups, nnp, *limits = see(script, change)
    assert (cwd, words, umask, oom) == ("/tmp", "last name one two", "0027", "77")
    assert (uid, gid, groups, nnp) == ("1000", "50", "50 5 6", "NoNewPrivs:\t1")
    assert sorted(" ".join(line.split()) for line in limits) == [
        "Max cpu time 70 unlimited seconds", "Max open files 100 200 files", "Max realtime timeout 5 9 us",
    ]  # fmt: skip


def test_a_limit_that_cannot_be(make):
    limits = [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]
    with pytest.raises(InvalidConfig, match=r"process\.rlimits: RLIMIT_NOFILE: soft 2 is above hard 1"):
        make("true", change=lambda config: config["process"].update(rlimits=limits))
    limits = [{"type": "RLIMIT_MADEUP", "soft": 1, "hard": 1}]
    with pytest.raises(InvalidConfig, match=r"process\.rlimits: no limit is called 'RLIMIT_MADEUP'"):
        make("true", change=lambda config: config["process"].update(rlimits=limits))


def test_the_terminal_has_its_size(make):
    def change(config):
        config["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 111}}

    with make("stty", "size", change=change).attach() as attached:
        attached.start()
        assert b"".join(data for _, data in attached.output()).strip() == b"33 111"


def test_without_a_terminal_its_size_means_nothing(see):
    assert see("tty; true", lambda config: config["process"].update(consoleSize={"height": 33, "width": 111})) == [
        "not a tty"
    ]


def test_capabilities(make, outcome):
    def change(config):
        sets = {"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_OF_TOMORROW"], "permitted": ["CAP_KILL"],
                "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}  # fmt: skip
        config["process"] |= {"capabilities": sets, "user": {"uid": 1000, "gid": 1000}}
        del config["annotations"][oci.USER]

    with pytest.warns(LabrtWarning, match="CAP_OF_TOMORROW: no capability is called so"):
        container = make("grep", "^Cap", "/proc/self/status", change=change)
    found = dict(line.split(":\t") for line in outcome(container)[1].splitlines())
    kill, chown = int(capabilities.CAP.KILL), int(capabilities.CAP.CHOWN)
    assert {int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {kill}
    assert int(found["CapBnd"], 16) == kill | chown


@pytest.mark.parametrize(
    ("scheduler", "policy", "more"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, 0, "7"),
        ({"policy": "SCHED_BATCH", "nice": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, 3, "3"),
        ({"policy": "SCHED_IDLE"}, 5, "0"),
        ({"policy": "SCHED_FIFO", "priority": 10}, 1, None),
        ({"policy": "SCHED_RR", "priority": 99}, 2, None),
        ({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "period": 20_000_000}, 6, None),
    ],
)
def test_schedulers(see, scheduler, policy, more):
    if policy in (1, 2, 6) and not can_schedule(scheduler):
        pytest.skip(f"this machine lets nobody have {scheduler['policy']}")

    def change(config):
        config["process"]["scheduler"] = scheduler
        config["linux"]["cgroupsPath"] = ""  # where the kernel has time for real-time groups, a new cgroup has none

    # proc_pid_stat(5): 19 is the nice value, 40 the real-time priority, 41 the policy.
    nice, priority, found = see("exec awk '{ print $19; print $40; print $41 }' /proc/self/stat", change)
    assert int(found) == policy
    assert more is None or nice == more
    assert int(priority) == scheduler.get("priority", 0)


def can_schedule(scheduler: dict) -> bool:
    from labrt.linux import scheduler as linux_scheduler

    def attempt() -> bool:
        with contextlib.suppress(OSError):
            linux_scheduler.set(linux_scheduler.pack(scheduler))
            return True
        return False

    return process.run_in_child(attempt)


def test_io_priority(see):
    wanted = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    assert see("ionice -p $$", lambda c: c["process"].update(ioPriority=wanted)) == ["best-effort: prio 6"]
    assert see("ionice -p $$", lambda c: c["process"].update(ioPriority={"class": "IOPRIO_CLASS_IDLE"}))[0].startswith(
        "idle"
    )


def test_personality(see):
    native = platform.machine()
    expected = {"x86_64": "i686", "aarch64": "armv8l"}[native]
    assert see("uname -m", lambda c: c["linux"].update(personality={"domain": "LINUX32"})) == [expected]
    assert see("uname -m", lambda c: c["linux"].update(personality={"domain": "LINUX"})) == [native]


def test_a_program_that_is_brought_in_has_the_same(make, run_in):
    """The container's personality and memory policy are those of its exec'd programs, too."""

    def change(config):
        config["linux"]["personality"] = {"domain": "LINUX32"}
        config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 4}
        config["process"]["oomScoreAdj"] = 55

    container = make("sleep", "300", change=change)
    container.start()
    words = run_in(
        container, "uname -m; cat /proc/self/oom_score_adj; exec awk '{ print $41 }' /proc/self/stat"
    ).split()
    assert words == [{"x86_64": "i686", "aarch64": "armv8l"}[platform.machine()], "55", "3"]


def test_cpus_of_exec(make, run_in):
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) < 2:
        pytest.skip("one CPU is no choice")

    def change(config):
        config["process"]["execCPUAffinity"] = {"initial": str(ours[0]), "final": str(ours[1])}

    container = make("sleep", "300", change=change)
    container.start()
    assert run_in(container, "grep Cpus_allowed_list /proc/self/status").split()[1] == str(ours[1])
    line = Path(f"/proc/{container.state.pid}/status").read_text()  # it is not for the container's own program
    assert f"Cpus_allowed_list:\t{ours[1]}\n" not in line


def test_memory_policy(see):
    if not os.path.exists("/proc/self/numa_maps"):
        pytest.skip("this kernel knows no NUMA")

    def change(config):
        config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}

    assert see("head -1 /proc/self/numa_maps", change)[0].split()[1] == "bind=static:0"
    with pytest.raises(LabrtError, match="set_mempolicy"):
        see("true", lambda c: c["linux"].update(memoryPolicy={"mode": "MPOL_BIND", "nodes": "900"}))


@pytest.mark.vm
def test_apparmor(see, tmp_path):
    if not labels.has_apparmor() or not shutil.which("apparmor_parser"):
        pytest.skip("no AppArmor, or no apparmor_parser, here")
    profile = tmp_path / "profile"
    profile.write_text("profile labrt-test flags=(attach_disconnected,mediate_deleted) {\n  file,\n  capability,\n"
                       "  network,\n  deny /tmp/secret r,\n}\n")  # fmt: skip
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache", str(profile)], check=True)
    try:

        def change(config):
            config["process"]["apparmorProfile"] = "labrt-test"

        script = "cat /proc/self/attr/current; echo x >/tmp/secret; cat /tmp/secret 2>&1"
        name, denied = see(script, change, code=1)
        assert name == "labrt-test (enforce)" and "Permission denied" in denied
        with pytest.raises(LabrtError, match="no-such-profile"):
            see("true", lambda c: c["process"].update(apparmorProfile="no-such-profile"))
    finally:
        subprocess.run(["apparmor_parser", "--remove", str(profile)], check=True)
