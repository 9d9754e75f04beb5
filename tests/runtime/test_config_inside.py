"""Each property of config.json as it is seen from inside the container that asked for it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from labrt.errors import ContainerError, InvalidConfig, LabrtError, LabrtWarning, NotSupported
from labrt.linux import capabilities, cgroups, labels, mounts, process
from labrt.runtime import config as oci

pytestmark = pytest.mark.root


@pytest.fixture
def labrt_root(monkeypatch):
    """A house that the users of a user namespace can reach: pytest's own directories are closed to them."""
    with tempfile.TemporaryDirectory(prefix="labrt-inside-") as house:
        os.chmod(house, 0o711)
        monkeypatch.setenv("LABRT_ROOT", f"{house}/labrt")
        yield Path(house) / "labrt"


@pytest.fixture
def see(make, outcome):
    """Run a shell line in a container with a changed config; return what it wrote, by lines."""

    def run(script: str, change=None, code: int = 0) -> list[str]:
        got, out, err = outcome(make("sh", "-c", script, change=change))
        assert got == code, err or out
        return out.splitlines()

    return run


# Process --------------------------------------------------------------------------------------------------------------


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


def test_a_program_that_is_brought_in_has_the_same(make):
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


def run_in(container, script: str) -> str:
    """Bring a shell line into a container; return what it wrote."""
    out, out_end = os.pipe()
    with open(out) as reading, open(os.devnull) as nothing:
        execution = container.exec(["sh", "-c", script], stdio=(nothing.fileno(), out_end, out_end))
        os.close(out_end)
        text = reading.read()
        assert execution.wait(20) == 0, text
    return text


def test_cpus_of_exec(make):
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


# Namespaces -----------------------------------------------------------------------------------------------------------


KINDS = {"mount": "mnt", "pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "user": "user", "cgroup": "cgroup",
         "time": "time"}  # fmt: skip
MAPS = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]


def with_users(config):
    """Ask for a user namespace, and let its root own what it shall write to, and reach it."""
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"] |= {"uidMappings": MAPS, "gidMappings": MAPS}
    house = Path(os.environ["LABRT_ROOT"])
    for directory in (house, house / "lib", house / "lib/containers"):
        directory.chmod(0o711)
    for container in (house / "lib/containers").iterdir():
        container.chmod(0o711)
        for name in ("rootfs", "upper", "work"):
            os.chown(container / name, MAPS[0]["hostID"], MAPS[0]["hostID"])


@pytest.fixture
def users(make, labrt_root, busybox_root):
    """Make containers in a user namespace: `users("id", change=…)`."""
    root = labrt_root.parent / "image"
    shutil.copytree(busybox_root, root, symlinks=True)
    for directory, _, names in os.walk(root):
        for name in (".", *names):
            os.chown(os.path.join(directory, name), MAPS[0]["hostID"], MAPS[0]["hostID"], follow_symlinks=False)

    def build(*args: str, change=None):
        def both(config):
            with_users(config)
            if change:
                change(config)

        return make(*args, change=both, root=root)

    return build


def test_new_namespaces(users, outcome):
    script = "; ".join(f"readlink /proc/self/ns/{name}" for name in KINDS.values())
    container = users("sh", "-c", script, change=lambda c: c["linux"]["namespaces"].append({"type": "time"}))
    code, out, err = outcome(container)
    assert code == 0, err
    assert len(out.split()) == 8
    assert not {os.readlink(f"/proc/self/ns/{name}") for name in KINDS.values()} & {*out.split()}


def test_joined_namespaces(make, see):
    first = make("sleep", "300", change=lambda config: config["linux"]["namespaces"].append({"type": "time"}))
    first.start()
    pid = first.state.pid
    joined = [kind for kind in KINDS if kind not in ("mount", "user", "cgroup")]

    def change(config):
        config["hostname"] = ""
        config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "cgroup"}] + [
            {"type": kind, "path": f"/proc/{pid}/ns/{KINDS[kind]}"} for kind in joined
        ]

    script = "; ".join(f"readlink /proc/self/ns/{KINDS[kind]}" for kind in joined)
    assert see(f"{script}; ps -o args | grep -c '^sleep'", change) == [
        *(os.readlink(f"/proc/{pid}/ns/{KINDS[kind]}") for kind in joined), "1",
    ]  # fmt: skip


def test_a_user_namespace_and_all_that_belongs_to_it_can_be_joined(users, outcome):
    """As podman joins a pod's: what is new then belongs to the namespace that was joined, and so can be mounted in."""
    first = users("sleep", "300")
    first.start()
    pid = first.state.pid

    def change(config):
        config["hostname"] = ""
        config["linux"]["namespaces"] = [{"type": kind} for kind in ("mount", "pid", "cgroup")] + [
            {"type": kind, "path": f"/proc/{pid}/ns/{KINDS[kind]}"} for kind in ("user", "network", "ipc", "uts")
        ]

    script = "readlink /proc/self/ns/user; readlink /proc/self/ns/net; id -u; echo $$; cat /proc/self/uid_map; hostname"
    code, out, err = outcome(users("sh", "-c", script, change=change))
    assert code == 0, err
    own, network, uid, number, maps, name = out.splitlines()
    assert (own, network) == (os.readlink(f"/proc/{pid}/ns/user"), os.readlink(f"/proc/{pid}/ns/net"))
    assert (uid, number, maps.split(), name) == ("0", "1", ["0", "100000", "65536"], "labrt")


def test_what_is_not_asked_for_is_the_hosts(tmp_path, busybox_root, labrt_root):
    """A config without namespaces: the program is in ours, and only its root is another one."""
    from labrt.runtime.container import Container

    bundle = tmp_path / "bundle"
    shutil.copytree(busybox_root, bundle / "rootfs", symlinks=True)
    script = "ls -d /bin/busybox /dev/null; ls /proc | wc -l; id -u; mkdir -p /x && stat -c %h / >/dev/null && echo $$"
    process = {"cwd": "/", "args": ["/bin/sh", "-c", script], "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]}
    config = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "process": process}
    (bundle / "config.json").write_text(json.dumps(config))
    before = Path("/proc/self/mountinfo").read_text()
    container = Container("bare", str(bundle))
    with container.run() as attached:
        lines = b"".join(data for _, data in attached.output()).decode().split()
    pid = lines.pop()
    assert lines == ["/bin/busybox", "/dev/null", "0", "0"] and int(pid) > 1
    assert (bundle / "rootfs/x").is_dir() and Path("/proc/self/mountinfo").read_text() == before
    container.wait(20)
    container.delete()


def test_a_path_of_another_kind_is_refused(make):
    for path, words in (("/proc/self/ns/net", "is no uts namespace"), ("/no/such", "No such file"),
                        ("/etc/hostname", "is no uts namespace")):  # fmt: skip

        def change(config, path=path):
            config["hostname"] = ""
            config["linux"]["namespaces"][4] = {"type": "uts", "path": path}

        with pytest.raises(InvalidConfig, match=rf"linux\.namespaces: {path}.* ?{words}"):
            make("true", change=change)


def test_a_user_namespace(users, outcome):
    script = (
        "id -u; cat /proc/self/uid_map /proc/self/gid_map /proc/self/oom_score_adj; touch /tmp/x /dev/shm/x && ls /tmp"
    )
    container = users("sh", "-c", script, change=lambda config: config["process"].update(oomScoreAdj=10))
    code, out, err = outcome(container)
    assert code == 0, err
    uid, uids, gids, oom, file = out.splitlines()
    assert (uid, uids.split(), gids.split(), oom, file) == (
        "0",
        ["0", "100000", "65536"],
        ["0", "100000", "65536"],
        "10",
        "x",
    )
    assert os.stat(Path(container.directory) / "upper/tmp/x").st_uid == 100_000


def test_clocks(see):
    def change(config):
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 604_800}, "monotonic": {"secs": 5, "nanosecs": 7}}

    up, monotonic, boot = see("cat /proc/uptime; grep -v x /proc/self/timens_offsets", change)
    here = float(Path("/proc/uptime").read_text().split()[0])
    assert 604_700 < float(up.split()[0]) - here < 604_900
    assert (monotonic.split(), boot.split()) == (["monotonic", "5", "7"], ["boottime", "604800", "0"])


def test_names(see):
    def change(config):
        config["hostname"], config["domainname"] = "probe", "example.test"

    assert see("hostname; cat /proc/sys/kernel/domainname", change) == ["probe", "example.test"]


def test_sysctls(see):
    wanted = {"net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/forwarding": "1", "kernel.shmmax": "12345678",
              "fs.mqueue.msg_max": "17", "kernel.domainname": "by.sysctl"}  # fmt: skip
    files = (
        "net/ipv4/ip_forward",
        "net/ipv4/conf/lo/forwarding",
        "kernel/shmmax",
        "fs/mqueue/msg_max",
        "kernel/domainname",
    )
    script = "cat " + " ".join(f"/proc/sys/{file}" for file in files)
    assert see(script, lambda c: c["linux"].update(sysctl=wanted)) == list(wanted.values())
    assert Path("/proc/sys/kernel/domainname").read_text().strip() != "by.sysctl"


def test_a_sysctl_that_the_kernel_refuses_is_named(make):
    with pytest.raises(LabrtError, match=r"linux\.sysctl\.net\.no\.such: .*ENOENT"):
        make("true", change=lambda config: config["linux"].update(sysctl={"net.no.such": "1"}))


# Mounts ---------------------------------------------------------------------------------------------------------------


def options_of(lines: list[str], path: str) -> set[str]:
    """The options of a mount, from the lines of mountinfo. See proc_pid_mountinfo(5)."""
    return set(next(line.split()[5].split(",") for line in lines if line.split()[4] == path))


@pytest.mark.parametrize(
    ("options", "has", "has_not"),
    [
        (["ro"], {"ro"}, {"rw"}),
        (["ro", "rw"], {"rw"}, {"ro"}),
        (["nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec"}, set()),
        (["nosuid", "suid", "nodev", "dev", "noexec", "exec"], set(), {"nosuid", "nodev", "noexec"}),
        (["noatime"], {"noatime"}, {"relatime"}),
        (["noatime", "atime"], {"relatime"}, {"noatime"}),
        (["strictatime"], set(), {"relatime", "noatime"}),
        (["strictatime", "relatime"], {"relatime"}, set()),
        (["nodiratime"], {"nodiratime"}, set()),
        (["nodiratime", "diratime"], set(), {"nodiratime"}),
        (["nosymfollow"], {"nosymfollow"}, set()),
        (["defaults", "norelatime", "nostrictatime", "async", "symfollow", "loud"], {"rw", "relatime"}, set()),
    ],
)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_mount_options(see, tmp_path, options, has, has_not, kind):
    def change(config):
        how = {"type": "tmpfs", "source": "x"} if kind == "tmpfs" else {"source": str(tmp_path)}
        words = options if kind == "tmpfs" else [*options, "bind"]
        config["mounts"].append({"destination": "/tmp/there", "options": words, **how})

    found = options_of(see("cat /proc/self/mountinfo", change), "/tmp/there")
    assert has <= found and not has_not & found


def test_options_of_the_file_system(see):
    def change(config):
        options = ["sync", "dirsync", "lazytime", "silent", "iversion", "noiversion", "mode=1750", "size=64k", "uid=5"]
        config["mounts"].append({"destination": "/tmp/there", "type": "tmpfs", "source": "x", "options": options})

    lines = see("cat /proc/self/mountinfo", change)
    line = next(line for line in lines if " /tmp/there " in line)
    assert {"sync", "dirsync", "lazytime", "size=64k", "mode=1750", "uid=5"} <= set(line.split()[-1].split(","))


def test_recursive_options(see, tmp_path):
    words = ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow"]
    undo = ["rrw", "rsuid", "rdev", "rexec", "rrelatime", "rdiratime", "rsymfollow"]
    (tmp_path / "below").mkdir()
    with mounts.tmpfs(str(tmp_path / "below")):  # which is nosuid and nodev itself
        for options, has, has_not in (
            (words, {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"}, set()),
            ([*words, *undo], {"rw", "relatime"}, {"nosuid", "nodev", "noexec", "noatime"}),
        ):

            def change(config, options=options):
                entry = {"destination": "/tmp/there", "source": str(tmp_path), "options": ["rbind", *options]}
                config["mounts"].append(entry)

            lines = see("cat /proc/self/mountinfo", change)
            for path in ("/tmp/there", "/tmp/there/below"):
                found = options_of(lines, path)
                assert has <= found and not has_not & found, path


def test_recursive_options_are_for_what_comes_before(see):
    def change(config):
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x"})
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["remount", "ro"]})

    assert "ro" in options_of(see("cat /proc/self/mountinfo", change), "/tmp")


@pytest.mark.parametrize(
    "word", ["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"]
)
def test_propagation_of_a_mount(see, word):
    def change(config):
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": [word]})

    line = next(line for line in see("cat /proc/self/mountinfo", change) if " /tmp " in line)
    fields = line.partition(" - ")[0].split()[6:]
    kind = word.removeprefix("r") if word != "runbindable" else "unbindable"
    assert bool([field for field in fields if field.startswith("shared:")]) == (kind == "shared")
    assert ("unbindable" in fields) == (kind == "unbindable")


def test_a_mount_that_is_shared_with_the_host(make, tmp_path):
    """What is mounted below it in the container shows on the host; below another mount it does not."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with mounts.tmpfs(str(outside)):
        mounts.set_propagation(str(outside), "shared")
        for name in ("seen", "unseen"):
            (outside / name).mkdir()

        def change(config):
            for name, options in (("/shared", ["rbind", "rshared"]), ("/slave", ["rbind", "rslave"])):
                config["mounts"].append({"destination": name, "source": str(outside), "options": options})
            for kind in ("bounding", "effective", "permitted"):
                config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
            del config["linux"]["seccomp"]

        container = make("sleep", "300", change=change)
        container.start()
        run_in(container, "mount -t tmpfs x /shared/seen && mount -t tmpfs x /slave/unseen")
        try:
            assert os.path.ismount(outside / "seen")
            assert not os.path.ismount(outside / "unseen")
        finally:
            mounts.unmount(str(outside / "seen"))


@pytest.mark.parametrize("word", ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"])
def test_propagation_of_the_root(see, word):
    lines = see("cat /proc/self/mountinfo", lambda config: config["linux"].update(rootfsPropagation=word))
    root = next(line for line in lines if line.split()[4] == "/").partition(" - ")[0].split()[6:]
    proc = next(line for line in lines if line.split()[4] == "/proc").partition(" - ")[0].split()[6:]
    kind = word.removeprefix("r")
    assert bool([field for field in root if field.startswith("shared:")]) == (kind == "shared")
    assert bool([field for field in proc if field.startswith("shared:")]) == (word == "rshared")
    assert ("unbindable" in root) == (kind == "unbindable")


def test_relative_paths_of_mounts(make, outcome):
    """A destination counts from the root, a bind's source from the bundle."""

    def change(config):
        config["mounts"].append({"destination": "tmp/there", "source": "files", "options": ["bind"]})

    container_files = []

    def files_first(config):
        change(config)
        directory = Path(os.environ["LABRT_ROOT"]) / "lib/containers" / f"test0-{os.getpid()}" / "files"
        directory.mkdir()
        (directory / "hello").write_text("from the bundle\n")
        container_files.append(directory)

    assert outcome(make("cat", "/tmp/there/hello", change=files_first)) == (0, "from the bundle\n", "")


def test_a_destination_does_not_lead_out(make, outcome, tmp_path, busybox_root):
    """A symbolic link in the image that points at the host is a link within the image."""
    root = tmp_path / "image"
    shutil.copytree(busybox_root, root, symlinks=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "trap").symlink_to(outside)
    (root / "far").symlink_to("../../../../../../" + str(outside))

    def change(config):
        for name in ("/trap/a", "/far/b"):
            config["mounts"].append({"destination": name, "type": "tmpfs", "source": "x"})

    code, out, err = outcome(make("sh", "-c", f"ls {outside}", change=change, root=root))
    assert (code, out.split()) == (0, ["a", "b"]), err
    assert list(outside.iterdir()) == []


def test_tmpcopyup(make, outcome, tmp_path, busybox_root):
    root = tmp_path / "image"
    shutil.copytree(busybox_root, root, symlinks=True)
    (root / "data/deep").mkdir(parents=True)
    (root / "data").chmod(0o751)
    (root / "data/file").write_text("content\n")
    (root / "data/deep/link").symlink_to("/etc/passwd")
    os.mkfifo(root / "data/fifo", 0o604)
    os.chown(root / "data/file", 7, 8)
    (root / "data/file").chmod(0o4755)
    os.utime(root / "data/deep", (1, 1_000_000_000))

    def change(config):
        options = ["tmpcopyup", "size=1m"]
        config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "x", "options": options})

    script = (
        "cd /data; cat file; stat -c '%a %u:%g' . file fifo; readlink deep/link; stat -c %Y deep; echo new >file;"
        "df . | tail -1"
    )
    code, out, err = outcome(make("sh", "-c", script, change=change, root=root))
    assert code == 0, err
    lines = out.splitlines()
    assert lines[:6] == ["content", "751 0:0", "4755 7:8", "604 0:0", "/etc/passwd", "1000000000"]
    assert lines[6].split()[1] == "1024"
    assert (root / "data/file").read_text() == "content\n"


@pytest.mark.parametrize("own_users", [False, True])
def test_idmapped_mounts(make, users, outcome, mappable, own_users):
    (mappable / "mine").write_text("x")
    os.chown(mappable / "mine", 3, 4)

    def change(config):
        maps = [{"containerID": 0, "hostID": 100_000 if own_users else 500, "size": 1000}]
        given = {"uidMappings": maps, "gidMappings": maps}
        entry = {"destination": "/tmp/there", "source": str(mappable), "options": ["rbind", "ridmap", "ro"]}
        config["mounts"].append(entry | given)
        config["mounts"].append({"destination": "/tmp/plain", "source": str(mappable), "options": ["rbind"]})

    script = "stat -c %u:%g /tmp/there/mine /tmp/plain/mine; touch /tmp/there/x 2>&1; true"
    code, out, err = outcome((users if own_users else make)("sh", "-c", script, change=change))
    assert code == 0, err
    there, plain, refused = out.splitlines()
    assert there == ("3:4" if own_users else "503:504")
    assert plain == ("65534:65534" if own_users else "3:4")
    assert "Read-only" in refused


def test_an_idmapped_mount_takes_the_containers_map(users, outcome, mappable):
    (mappable / "mine").write_text("x")

    def change(config):
        config["mounts"].append({"destination": "/tmp/there", "source": str(mappable), "options": ["bind", "idmap"]})

    code, out, err = outcome(users("sh", "-c", "cd /tmp/there; stat -c %u:%g mine; touch new", change=change))
    assert (code, out) == (0, "0:0\n"), err
    assert (mappable / "new").stat().st_uid == 0


@pytest.fixture
def mappable(labrt_root):
    """A directory on a file system that can be idmapped: a tmpfs of ours from Linux 6.3 on, else what /tmp lies on."""
    labrt_root.mkdir(exist_ok=True)
    place = labrt_root.parent / "mappable"
    place.mkdir()
    with mounts.mounted(mounts.Mount(str(place), "tmpfs", "tmpfs", ("mode=755",))):
        if takes_ids(place):
            yield place
            return
    if not takes_ids(place):
        pytest.skip("neither a tmpfs nor /tmp can be idmapped here")
    yield place


def takes_ids(place: Path) -> bool:
    from labrt.linux import idmap
    from labrt.linux.userns import IdMap

    with contextlib.suppress(OSError):
        os.close(idmap.open(mounts.Mount("/", "bind", str(place), ("bind",)), [IdMap(0, 1, 1)], [IdMap(0, 1, 1)]))
        return True
    return False


def test_a_read_only_root(see):
    script = "touch /x 2>&1; touch /dev/shm/x && echo written; touch /tmp/x"

    def change(config):
        config["root"]["readonly"] = True
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x"})

    refused, written = see(script, change)
    assert "Read-only file system" in refused and written == "written"


def test_masked_and_read_only_paths(see):
    def change(config):
        config["linux"]["maskedPaths"] = ["/proc/version", "/proc/fs", "/no/such"]
        config["linux"]["readonlyPaths"] = ["/proc/sys", "/etc"]

    script = (
        "wc -c </proc/version; ls /proc/fs | wc -l; (echo x >/proc/sys/kernel/hostname) 2>&1; touch /etc/x 2>&1; true"
    )
    size, entries, refused, etc = see(script, change)
    assert (size, entries) == ("0", "0")
    assert "Read-only" in refused and "Read-only" in etc


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


# Network --------------------------------------------------------------------------------------------------------------


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


# Cgroups --------------------------------------------------------------------------------------------------------------


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


# Seccomp --------------------------------------------------------------------------------------------------------------


def test_seccomp(see):
    def change(config):
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                                         "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"] if platform.machine() == "x86_64" else [],
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11,
                 "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]},
            ],
        }  # fmt: skip

    script = "mkdir /tmp/x 2>&1; kill -USR1 $$ 2>&1; kill -CONT $$ && echo continued; grep ^Seccomp: /proc/self/status"
    full, again, continued, mode = see(script, change)
    assert "No space left" in full and "temporarily unavailable" in again
    assert (continued, mode.split()) == ("continued", ["Seccomp:", "2"])


NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_…, linux/seccomp.h


class Agent:
    """A seccomp agent: takes listeners, and answers each call with one errno."""

    def __init__(self, path: Path, errno: int) -> None:
        self.received: list[dict] = []
        self.errno = errno
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(str(path))
        self.server.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.server.accept()
            with connection:
                data, ancillary, *_ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(16))
                while more := connection.recv(1 << 16):
                    data += more
            self.received.append(json.loads(data))
            (listener,) = array.array("i", ancillary[0][2])
            threading.Thread(target=self._answer, args=(listener,), daemon=True).start()

    def _answer(self, listener: int) -> None:
        with contextlib.suppress(OSError):  # ENOENT: whoever called is gone
            while True:
                request = bytearray(80)
                fcntl.ioctl(listener, NOTIF_RECV, request)
                (id,) = struct.unpack_from("=Q", request)
                fcntl.ioctl(listener, NOTIF_SEND, struct.pack("=QqiI", id, 0, -self.errno, 0))
        os.close(listener)


@pytest.fixture
def agent(tmp_path_factory):
    path = tmp_path_factory.mktemp("agent") / "agent.sock"
    return Agent(path, 123), path  # ENOMEDIUM


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_seccomp_agent_answers(make, outcome, agent, no_new_privileges):
    server, path = agent

    def change(config):
        config["process"]["noNewPrivileges"] = no_new_privileges
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path), "listenerMetadata": "for the agent",
            "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        }  # fmt: skip

    container = make("sh", "-c", "mkdir /tmp/x 2>&1; sleep 300", change=change)
    pid = container.state.pid
    with container.attach() as attached:
        attached.start()
        stream = attached.output()
        assert b"No medium found" in next(stream)[1]
        assert "No medium found" in run_in(container, "mkdir /tmp/y 2>&1; true")
    first, second = server.received
    assert first["fds"] == second["fds"] == ["seccompFd"]
    assert first["metadata"] == "for the agent"
    assert (first["pid"], first["state"]["pid"], first["state"]["id"]) == (pid, pid, container.id)
    assert first["state"]["bundle"] == container.bundle and first["ociVersion"] == oci.OCI_VERSION
    assert second["pid"] != pid and second["state"]["status"] == "running"


def test_without_an_agent_the_container_does_not_start(make, tmp_path):
    def change(config):
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(tmp_path / "nobody"), "syscalls": [rule],
        }  # fmt: skip

    container = make("sleep", "300", change=change)
    with pytest.raises(ContainerError, match=r"linux\.seccomp\.listenerPath: .*nobody: No such file"):
        container.start()
    container.wait(20)
    assert container.state.status == "stopped"
