"""What the kernel says, from inside, of a container that was given these options."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest

import labrt
from labrt.engine.containers import Containers
from labrt.engine.options import Options, init
from labrt.engine.volumes import Volumes
from labrt.errors import Conflict, ContainerError, ContainerNotFound, InvalidConfig, InvalidInput, NotSupported
from labrt.linux import capabilities, cgroups
from labrt.linux.capabilities import CAP

pytestmark = pytest.mark.root
UNIFIED = cgroups.detect().mode == "unified"


def sh(script: str, **options) -> str:
    result = labrt.run("busybox", "sh", "-c", script, **options)
    assert result.exit_code == 0, result
    return result.stdout


def lines(script: str, **options) -> list[str]:
    return sh(script, **options).splitlines()


@contextlib.contextmanager
def container(*command: str, **options):
    made = Containers().create(Options("busybox", command or ("sleep", "300"), **options))
    try:
        yield made
    finally:
        made.remove(force=True, volumes=True)


def caps_inside(**options) -> CAP:
    return CAP(int(sh("grep CapEff /proc/self/status", **options).split()[1], 16))


class TestPower:
    def test_capabilities(self, house):
        default = caps_inside()
        assert caps_inside(cap_add=["net_admin"], cap_drop=["CAP_CHOWN"]) == default & ~CAP.CHOWN | CAP.NET_ADMIN
        assert caps_inside(cap_drop=["ALL"], cap_add=["CHOWN"]) == CAP.CHOWN
        assert caps_inside(cap_add=["ALL"], cap_drop=["SYS_ADMIN"]) == capabilities.bounding() & ~CAP.SYS_ADMIN

    def test_the_filter_follows_the_capabilities(self, house):
        script = "mkdir /m; mount -t tmpfs x /m && echo mounted || echo refused"
        assert sh(script) == "refused\n"
        assert sh(script, cap_add=["SYS_ADMIN"]) == "mounted\n"

    def test_no_new_privileges(self, house):
        assert "\t1\n" in sh("grep NoNewPrivs /proc/self/status", security_opt=["no-new-privileges"])
        assert "\t1\n" in sh("grep NoNewPrivs /proc/self/status", security_opt=["no-new-privileges:true"])
        assert "\t0\n" in sh("grep NoNewPrivs /proc/self/status", security_opt=["no-new-privileges=false"])

    def test_ones_own_filter(self, house, tmp_path):
        profile = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
        }
        (tmp_path / "profile.json").write_text(json.dumps(profile))
        (tmp_path / "broken").write_text("{")
        (tmp_path / "list").write_text("[]")
        said = labrt.run("busybox", "mkdir", "/x", security_opt=[f"seccomp={tmp_path}/profile.json"])
        assert "No space left on device" in said.stderr
        assert "\t0\n" in sh("grep Seccomp: /proc/self/status", security_opt=["seccomp=unconfined"])
        for file, words in (("nowhere", "No such file"), ("broken", "not JSON"), ("list", "no profile is in it")):
            with pytest.raises(InvalidInput, match=words):
                labrt.run("busybox", "true", security_opt=[f"seccomp={tmp_path}/{file}"])

    def test_dockers_format_of_filters(self, house):
        """Podman's own default, where podman is: rules that depend on capabilities, for all machines at once."""
        file = "/usr/share/containers/seccomp.json"
        if not os.path.exists(file):
            pytest.skip(f"{file} is absent: golang-github-containers-common has it")
        script = "mkdir /m; grep Seccomp: /proc/self/status; mount -t tmpfs x /m && echo mounted || echo refused"
        assert lines(script, security_opt=[f"seccomp={file}"]) == ["Seccomp:\t2", "refused"]
        assert lines(script, security_opt=[f"seccomp={file}"], cap_add=["SYS_ADMIN"]) == ["Seccomp:\t2", "mounted"]

    def test_system_paths(self, house):
        script = "mount | grep -c ' /proc/' || true; test -w /proc/sys/kernel/core_pattern; echo $?"
        confined, open_ = lines(script), lines(script, security_opt=["systempaths=unconfined"])
        assert int(confined[0]) > 4 and open_[0] == "0"

    def test_apparmor_where_there_is_none(self, house):
        if os.path.exists("/sys/module/apparmor/parameters/enabled"):
            pytest.skip("this kernel has AppArmor")
        with pytest.raises(NotSupported, match="apparmor=mine: this kernel has no AppArmor"):
            labrt.run("busybox", "true", security_opt=["apparmor=mine"])
        assert sh("echo fine", security_opt=["apparmor=unconfined", "label=disable"]) == "fine\n"

    def test_privileged(self, house):
        script = """grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; mount | grep -c ' /proc/'
        test -c /dev/kmsg && echo kmsg; mount | grep -E ' /sys type sysfs' | grep -c '(rw'; ls -d /dev/pts /dev/shm;
        mkdir /m; mount -t tmpfs x /m && echo mounted; true"""
        found = lines(script, privileged=True)
        assert CAP(int(found[0].split()[1], 16)) == capabilities.bounding()
        assert found[1:3] == ["Seccomp:\t0", "0"]
        assert found[3:] == ["kmsg", "1", "/dev/pts", "/dev/shm", "mounted"]

    def test_privileged_but_for_what_was_said(self, house):
        assert CAP.SYS_ADMIN not in caps_inside(privileged=True, cap_drop=["SYS_ADMIN"])
        with container(privileged=True, security_opt=["writable-cgroups=false"]) as made:
            options = {each["destination"]: each["options"] for each in made.runtime.config()["mounts"]}
        assert "ro" in options["/sys/fs/cgroup"] and "ro" not in options["/sys"]

    def test_cgroups_of_its_own(self, house):
        place = "/sys/fs/cgroup" if UNIFIED else "/sys/fs/cgroup/pids"
        script = f"mkdir {place}/mine 2>/dev/null; echo $?"
        assert sh(script) == "1\n"
        if UNIFIED:
            assert sh(script, security_opt=["writable-cgroups=true"]) == "0\n"
        else:
            with pytest.raises(NotSupported, match="it takes cgroup v2"):
                sh(script, security_opt=["writable-cgroups=true"])

    def test_groups(self, house):
        said = sh("id", user="nobody", group_add=["tty", "4711"])
        assert said == "uid=65534(nobody) gid=65534(nogroup) groups=5(tty),4711,65534(nogroup)\n"
        assert "groups=50,4711\n" in sh("id", user="1000:50", group_add=["4711"])
        with pytest.raises(ContainerError, match="no group 'nosuch'"):
            sh("id", group_add=["nosuch"])
        with container(user="nobody", group_add=["tty"]) as made:
            made.start()
            assert "groups=5(tty),65534" in made.exec("id").stdout
            assert "uid=0(root) gid=0(root) groups=0(root),5(tty)" in made.exec("id", user="root").stdout


class TestNamespaces:
    def test_the_hosts(self, house):
        kinds = ("pid", "ipc", "uts", "cgroup")
        ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
        script = "".join(f"readlink /proc/self/ns/{kind};" for kind in kinds) + "hostname"
        own, shared = lines(script), lines(script, pid="host", ipc="host", uts="host", cgroupns="host")
        assert not set(own) & set(ours)
        assert shared == [*ours, os.uname().nodename]

    def test_with_the_hosts_processes_it_still_ends_whole(self, house):
        with container("sh", "-c", "sleep 4711 & exec sleep 4712", pid="host") as made:
            made.start()
            assert f"{os.getpid()} " in made.exec("ps").stdout
            inside = made.runtime.state.pid
            assert made.stop(timeout=0) in (137, 143)
            assert not os.path.exists(f"/proc/{inside}")
        left = subprocess.run(["pgrep", "-f", "^sleep 471[12]$"], capture_output=True, check=False)
        assert left.stdout == b""

    def test_shared_memory_of_another_one(self, house):
        with container("sh", "-c", "echo ours > /dev/shm/x; sleep 300", name="owner", ipc="shareable") as owner:
            owner.start()
            for _ in range(500):
                if owner.exec("cat", "/dev/shm/x").stdout:
                    break
            script = "cat /dev/shm/x; echo back > /dev/shm/y; readlink /proc/self/ns/ipc; mount | grep -c /dev/shm"
            found = lines(script, ipc="container:owner")
            assert found == ["ours", owner.exec("readlink", "/proc/self/ns/ipc").stdout.strip(), "1"]
            assert owner.exec("cat", "/dev/shm/y").stdout == "back\n"

    def test_a_link_for_dev_shm_leads_nowhere(self, house):
        """Who shares its /dev/shm may put anything in its place: it must not lead to the host's files."""
        script = "umount /dev/shm && rmdir /dev/shm && ln -s /etc /dev/shm && echo done; exec sleep 300"
        with container("sh", "-c", script, name="evil", ipc="shareable", cap_add=["SYS_ADMIN"]) as evil:
            evil.start()
            for entry in evil.logs(follow=True):
                assert entry.text == "done\n"
                break
            with container("sleep", "300", ipc="container:evil") as victim:
                victim.start()  # it got what /etc is in there, and that is their own
                assert "labrt" not in victim.exec("ls", "/dev/shm").stdout
                assert victim.exec("cat", "/dev/shm/passwd").stdout == evil.exec("cat", "/etc/passwd").stdout
                assert "nosuid,nodev,noexec" in victim.exec("grep", " /dev/shm ", "/proc/mounts").stdout

    def test_processes_of_another_one(self, house):
        with container(name="first") as first, container(name="second", pid="container:first") as second:
            with pytest.raises(Conflict, match="whose namespace is to be joined, is not running"):
                second.start()
            first.start()
            second.start()
            assert second.exec("ps").stdout.count("sleep 300") == 2
            first.stop(timeout=0)  # with PID 1 all of its namespace ends
            assert second.wait(20) == 137
            first.start()  # another namespace by now
            second.start()
            assert second.exec("readlink", "/proc/self/ns/pid").stdout == first.exec(
                "readlink", "/proc/self/ns/pid"
            ).stdout
            assert second.inspect()["HostConfig"]["PidMode"] == f"container:{first.id}"

    def test_who_is_not_there_or_does_not_share(self, house):
        with pytest.raises(ContainerNotFound, match="--pid container:nosuch"):
            sh("true", pid="container:nosuch")
        with container(name="private"), pytest.raises(Conflict, match="private shares its IPC namespace with nobody"):
            sh("true", ipc="container:private")

    def test_without_shared_memory(self, house):
        assert labrt.run("busybox", "ls", "/dev/shm", ipc="none").exit_code == 1


class TestFiles:
    def test_tmpfs(self, house):
        script = "grep ' /run ' /proc/mounts; stat -c %a /run; touch /run/x; grep ' /t ' /proc/mounts"
        first, mode, second = lines(script, tmpfs=["/run:size=64k,mode=1770,exec", "/t"])
        assert "size=64k" in first and "noexec" not in first and "nosuid" in first and mode == "1770"
        assert {"rw", "nosuid", "nodev", "noexec"} <= set(second.split()[3].split(","))

    def test_mounts_in_full(self, house, tmp_path):
        (tmp_path / "a,b").mkdir()
        (tmp_path / "a,b" / "file").write_text("there\n")
        script = "cat /data/file; touch /data/x 2>/dev/null || echo read-only; grep -o 'size=1024k' /proc/mounts"
        mounts = [f'type=bind,"src={tmp_path}/a,b",dst=/data,readonly', "type=tmpfs,destination=/t,tmpfs-size=1m"]
        assert lines(script, mount=mounts) == ["there", "read-only", "size=1024k"]

    def test_volumes_are_filled_or_not(self, house):
        with container("true", volumes=["filled:/etc", "empty:/bin:nocopy"], mount=["src=bare,dst=/usr,volume-nocopy"]):
            inside = {name: os.listdir(Volumes().get(name).path) for name in ("filled", "empty", "bare")}
        assert "passwd" in inside["filled"] and inside["empty"] == inside["bare"] == []

    def test_what_is_below_a_read_only_bind(self, house, tmp_path):
        (tmp_path / "below").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "x", tmp_path / "below"], check=True)
        try:
            script = "touch /d/below/x 2>/dev/null && echo written || echo read-only"
            assert sh(script, volumes=[f"{tmp_path}:/d:ro"]) == "read-only\n"
            how = f"type=bind,src={tmp_path},dst=/d,readonly"
            assert sh(script, mount=[f"{how},bind-recursive=writable"]) == "written\n"
            assert lines("ls /d/below | wc -l", mount=[f"{how},bind-recursive=disabled"]) == ["0"]
        finally:
            subprocess.run(["umount", tmp_path / "below"], check=True)

    def test_others_volumes(self, house, tmp_path):
        (tmp_path / "file").write_text("host\n")
        given = ["/anonymous", "named:/named", f"{tmp_path}:/bound"]
        with container("sh", "-c", "echo theirs > /anonymous/x", name="source", volumes=given) as source:
            source.run_to_end()
            script = "cat /anonymous/x /bound/file; touch /named/y 2>/dev/null || echo read-only"
            assert lines(script, volumes_from=["source:ro"]) == ["theirs", "host", "read-only"]
            assert sh("touch /named/y && echo written", volumes_from=["source"]) == "written\n"
            assert lines("cat /anonymous/x || echo mine", volumes_from=["source"], volumes=["/anonymous"]) == ["mine"]
            assert len(source.record()["volumes"]) == 2 and len(Volumes().list()) == 2, "the runs took theirs only"

    def test_size_of_shared_memory(self, house):
        assert lines("df -k /dev/shm | tail -1 | awk '{print $2}'", shm_size="1m") == ["1024"]
        assert lines("df -k /dev/shm | tail -1 | awk '{print $2}'") == ["65536"]

    def test_ones_own_dev(self, house, tmp_path):
        with container("true", volumes=[f"{tmp_path}:/dev/shm"]) as made:
            places = [mount["destination"] for mount in made.runtime.config()["mounts"]]
        assert places.count("/dev/shm") == 1 and "/dev/pts" in places
        (tmp_path / "own").mkdir()
        assert sh("ls /dev", volumes=[f"{tmp_path}/own:/dev"]) == "", "nothing is made in a directory of the host"

    def test_propagation(self, house, tmp_path):
        """With rslave what the host mounts later shows inside, with rshared also the other way round."""
        subprocess.run(["mount", "-t", "tmpfs", "x", tmp_path], check=True)
        try:
            subprocess.run(["mount", "--make-private", tmp_path], check=True)
            with pytest.raises(InvalidInput, match=f"rslave on /d: {tmp_path} lies on .* which is private"):
                sh("true", volumes=[f"{tmp_path}:/d:rslave"])
            subprocess.run(["mount", "--make-rshared", tmp_path], check=True)
            (tmp_path / "late").mkdir()
            with container(volumes=[f"{tmp_path}:/follows:rslave", f"{tmp_path}:/alone"]) as made:
                made.start()
                subprocess.run(["mount", "-t", "tmpfs", "late", tmp_path / "late"], check=True)
                seen = made.exec("grep", "^late ", "/proc/mounts").stdout
            assert "/follows/late" in seen and "/alone" not in seen
            (tmp_path / "theirs").mkdir()
            script = "mount -t tmpfs theirs /d/theirs"
            for word, shows in (("rslave", False), ("rshared", True)):
                sh(script, volumes=[f"{tmp_path}:/d:{word}"], cap_add=["SYS_ADMIN"])
                assert os.path.ismount(tmp_path / "theirs") == shows
        finally:
            subprocess.run(["umount", "-R", tmp_path], check=True)

    def test_hosts_and_name_servers(self, house):
        script = "cat /etc/hosts /etc/resolv.conf; hostname -f; cat /proc/sys/kernel/domainname"
        found = lines(
            script, add_host=["box:10.0.0.1", "six=fd00::1"], dns=["9.9.9.9"], dns_search=["lab.test"],
            dns_option=["ndots:2"], hostname="me", domainname="lab.test",
        )  # fmt: skip
        assert {"10.0.0.1\tbox", "fd00::1\tsix", "127.0.1.1\tme.lab.test me"} <= set(found)
        assert [line for line in found if line.startswith("nameserver")] == ["nameserver 9.9.9.9"]
        assert {"search lab.test", "options ndots:2"} <= set(found) and found[-2:] == ["me.lab.test", "lab.test"]


class TestDevices:
    @pytest.fixture
    def device(self) -> tuple[str, int, int]:
        """A device that root may open, and that no container has."""
        for path in ("/dev/fuse", "/dev/loop-control", "/dev/net/tun"):
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_RDWR))
                number = os.stat(path).st_rdev
                return path, os.major(number), os.minor(number)
        pytest.skip("there is no device here to try it with")

    def test_a_device(self, house, device):
        path, major, minor = device
        script = f": < /dev/there && echo opens; ls -l /dev/there | awk '{{print $5 $6}}'; test -e {path} || echo no"
        assert lines(script, device=[f"{path}:/dev/there"]) == ["opens", f"{major},{minor}", "no"]

    def test_only_as_was_allowed(self, house, device):
        script = """for how in '<' '>>'; do (eval ": $how /dev/it") 2>/dev/null && echo yes || echo no; done"""
        assert lines(script, device=[f"{device[0]}:/dev/it:r"]) == ["yes", "no"]
        assert lines(script, device=[f"{device[0]}:/dev/it:w"]) == ["no", "yes"]

    def test_a_node_alone_opens_nothing(self, house, device):
        _, major, minor = device
        script = f"mknod /node c {major} {minor}; (: < /node) 2>/dev/null && echo opens || echo refused"
        assert sh(script) == "refused\n"
        assert sh(script, device_cgroup_rule=[f"c {major}:{minor} rwm"]) == "opens\n"
        assert sh(script, device_cgroup_rule=[f"c {major}:* r"]) == "opens\n"

    def test_a_directory_of_them_and_none(self, house, tmp_path):
        (tmp_path / "plain").write_text("")
        os.mknod(tmp_path / "zero", 0o644 | 0o020000, os.makedev(1, 5))
        assert lines("ls /dev/some", device=[f"{tmp_path}:/dev/some"]) == ["zero"]
        for path, words in (("/dev/nosuch", "no such file"), ("/etc/passwd", "no device"), ("/etc", "no device")):
            with pytest.raises(InvalidInput, match=f"--device {path}: {words}"):
                labrt.run("busybox", "true", device=[path])


class TestLimits:
    def test_of_the_cgroup(self, house):
        given = {"memory": "64m", "memory_reservation": "32m", "cpu_shares": 512, "cpu_period": 50_000,
                 "cpu_quota": 25_000, "cpuset_cpus": "0", "cpuset_mems": "0", "blkio_weight": 500}  # fmt: skip
        with container(**given) as made:
            made.start()
            own = cgroups.load(made.state.cgroup, parent="/")
            assert own.cpu.max == 0.5 and own.cpuset.cpus == "0" and own.memory.low == 32 << 20
            host = made.inspect()["HostConfig"]
            assert (host["CpuPeriod"], host["CpuQuota"], host["NanoCpus"]) == (50_000, 25_000, 0)
            assert host["CpuShares"] == 512
            assert (host["MemoryReservation"], host["CpusetCpus"], host["BlkioWeight"]) == (32 << 20, "0", 500)

    @pytest.mark.skipif(UNIFIED, reason="cgroup v2 has nothing like it")
    def test_of_v1_only(self, house):
        script = "cd /sys/fs/cgroup/memory; cat memory.swappiness memory.oom_control"
        found = lines(script, memory="64m", memory_swappiness=7, oom_kill_disable=True)
        assert found[:2] == ["7", "oom_kill_disable 1"]

    @pytest.mark.skipif(not UNIFIED, reason="cgroup v1 has it")
    @pytest.mark.parametrize("given", [{"memory_swappiness": 7}, {"oom_kill_disable": True}])
    def test_of_v1_only_on_v2(self, house, given):
        with pytest.raises(NotSupported, match="cgroup v2 has nothing like it"):
            sh("true", **given)

    def test_of_processes(self, house):
        said = lines("ulimit -n; ulimit -Hn; ulimit -c", ulimit=["nofile=100:200", "core=0"])
        assert said == ["100", "200", "0"]
        assert lines("ulimit -Hs", ulimit=["stack=-1"]) == ["unlimited"]

    def test_who_is_killed_first(self, house):
        assert lines("cat /proc/self/oom_score_adj", oom_score_adj=500) == ["500"]

    def test_lowering_that_takes_a_capability(self, house):
        if CAP.SYS_RESOURCE in capabilities.bounding():
            assert lines("cat /proc/self/oom_score_adj", oom_score_adj=-500) == ["-500"]
        else:
            with pytest.raises(NotSupported, match="--oom-score-adj -500: less than our own"):
                sh("true", oom_score_adj=-500)

    def test_kernel_parameters(self, house):
        script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
        assert lines(script, sysctl=["net.ipv4.ip_forward=1", "kernel/msgmax=4711"], volumes=["/an"]) == ["1", "4711"]
        for wrong in ({"sysctl": ["kernel.panic=1"]}, {"sysctl": ["net.core.somaxconn=1"], "network": "host"},
                      {"sysctl": ["kernel.shmmax=1"], "ipc": "host"}):  # fmt: skip
            with pytest.raises(InvalidConfig, match="not the container's own"):
                sh("true", **wrong)
        assert not Containers().list(all=True)

    def test_a_parent_for_its_cgroup(self, house):
        parent = "labrt-class.slice" if UNIFIED else "/labrt-class/one"
        with container(cgroup_parent=parent) as made:
            made.start()
            assert parent.strip("/") in made.state.cgroup and made.id in made.state.cgroup
            assert made.inspect()["HostConfig"]["CgroupParent"] == parent
        # What was made for it goes with `reset`, which the fixture asks for.


class TestInit:
    @pytest.fixture(autouse=True)
    def installed(self):
        if not any(os.access(path, os.X_OK) for path in init.CANDIDATES):
            pytest.skip("no static init is installed: apt install tini")

    def test_it_is_pid_1_and_tells_the_programs_end(self, house):
        assert sh("tr '\\0' ' ' < /proc/1/cmdline", init=True).startswith("/sbin/docker-init -- sh -c")
        assert labrt.run("busybox", "sh", "-c", "exit 7", init=True).exit_code == 7
        assert labrt.run("busybox", "sh", "-c", "kill -9 $$", init=True).exit_code == 137

    def test_signals_are_handed_on(self, house):
        with container("sleep", "300") as deaf, container("sleep", "300", init=True) as heeds:
            deaf.start()
            heeds.start()
            assert heeds.stop(timeout=20) == 143
            assert deaf.stop(timeout=0.2) == 137, "sleep as PID 1 has no handler, so the kernel drops the signal"

    def test_orphans_are_reaped(self, house):
        script = "for i in 1 2 3; do (sleep 0.1 &) ; done; sleep 0.5; ps -o stat,comm | grep -c ^Z || true"
        assert lines(script, init=True) == ["0"]

    def test_what_is_shown_is_the_program(self, house):
        with container("sleep", "300", init=True, read_only=True, user="nobody") as made:
            made.start()
            seen = made.inspect()
        assert (seen["Path"], seen["Args"], seen["HostConfig"]["Init"]) == ("sleep", ["300"], True)
        assert seen["Mounts"] == []


def test_what_is_only_remembered(house, tmp_path):
    (tmp_path / "labels").write_text("# ours\nfrom=file\nkey=file\n")
    (tmp_path / "env").write_text("A=1\n\n  B=two words \nHOME\n")
    with container(
        label=["key=given", "bare"], label_file=[str(tmp_path / "labels")],
        env_file=[str(tmp_path / "env")], env=["A=9"], expose=["80", "8000-8001/udp"],
        restart="on-failure:3", log_opt=["max-size=1m", "max-file=2"],
        health_cmd="true", health_interval="1m30s", health_start_period="500ms", health_retries=2, stop_signal="USR1",
        stop_timeout=3, annotation=["who=me"],
    ) as made:  # fmt: skip
        seen = made.inspect()
        assert seen["OCI"]["annotations"]["who"] == "me"
    config, host = seen["Config"], seen["HostConfig"]
    assert {"from": "file", "key": "given", "bare": ""}.items() <= config["Labels"].items()
    assert {"A=9", "B=two words ", f"HOME={os.environ['HOME']}"} <= set(config["Env"])
    assert list(config["ExposedPorts"]) == ["80/tcp", "8000/udp", "8001/udp"]
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}
    assert config["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"], "Interval": 90 * 10**9, "StartPeriod": 500 * 10**6, "Retries": 2,
    }  # fmt: skip
    assert (config["StopSignal"], config["StopTimeout"]) == ("USR1", 3)
    assert host["Annotations"] == {"who": "me"}


def test_files_that_are_not_there(house, tmp_path: Path):
    for option in ("env_file", "label_file"):
        flag = f"--{option.replace('_', '-')} {tmp_path}/nowhere: No such file"
        with pytest.raises(InvalidInput, match=flag):
            sh("true", **{option: [f"{tmp_path}/nowhere"]})
    (tmp_path / "env").write_text("two words=1\n")
    with pytest.raises(InvalidInput, match="'two words=1' names no variable"):
        sh("true", env_file=[str(tmp_path / "env")])
    assert not Containers().list(all=True)
