"""linux.namespaces, id maps, clocks, names and sysctls, seen from inside."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from labrt.errors import InvalidConfig, LabrtError

pytestmark = pytest.mark.root


KINDS = {"mount": "mnt", "pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "user": "user", "cgroup": "cgroup",
         "time": "time"}  # fmt: skip


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
