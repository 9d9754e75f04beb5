"""create, start, state, kill, delete and run: runtime.md, "Operations", with nobody of ours behind the container."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from labrt.linux import cgroups

pytestmark = pytest.mark.root


def in_cgroup(id: str) -> list[int]:
    return cgroups.load(f"/labrt/{id}", parent="/", every_tree=True).procs


def test_a_life(oci, tmp_path):
    id = oci.create("sh", "-c", "echo out; sleep 1000", options=("--pid-file", str(tmp_path / "pid")),
                    output=tmp_path / "out")  # fmt: skip
    state = oci.state(id)
    assert state["status"] == "created"
    assert (state["id"], state["bundle"], state["rootfs"]) == (id, str(oci.bundles / id), str(oci.busybox))
    assert (tmp_path / "pid").read_text() == str(state["pid"])
    assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{state['pid']}/status").read_text(), "left to its subreaper"
    assert in_cgroup(id) == [state["pid"]]
    assert (tmp_path / "out").read_text() == ""
    oci("start", id)
    assert oci.state(id) | {"status": "created"} == state
    assert oci.state(id)["status"] == "running"
    oci("kill", id, "KILL")
    assert oci.wait(id) == -signal.SIGKILL
    assert (tmp_path / "out").read_text() == "out\n"
    assert (oci.state(id)["status"], oci.state(id)["pid"]) == ("stopped", 0)
    oci("delete", id)
    assert "does not exist" in oci("state", id, code=1).stderr
    assert oci("list", "-q").stdout == ""


def test_what_is_not_allowed_has_no_effect(oci):
    id = oci.create("sleep", "1000")
    assert "created, not stopped" in oci("delete", id, code=1).stderr
    assert "exists already" in oci("create", "--bundle", str(oci.bundles / id), id, code=1).stderr
    oci("start", id)
    assert "cannot start a container that is running" in oci("start", id, code=1).stderr
    assert "running, not stopped" in oci("delete", id, code=1).stderr
    assert oci.state(id)["status"] == "running"
    assert len(in_cgroup(id)) == 1
    oci("kill", id, "9")
    oci.wait(id)
    assert "is stopped" in oci("kill", id, code=1).stderr
    assert "that is stopped" in oci("start", id, code=1).stderr
    for words in (("create",), ("start",), ("state", "nobody"), ("kill", "nobody"), ("delete", "nobody"),
                  ("create", "../up"), ("state", ".."), ("kill", id, "NOSUCH"), ("nonsense",)):  # fmt: skip
        assert oci(*words, code=1).stderr


def test_a_container_that_waits_can_be_told_to_end(oci):
    id = oci.create("sleep", "1000")
    oci("kill", id)
    assert oci.wait(id) == 128 + signal.SIGTERM
    assert oci.state(id)["status"] == "stopped"


def test_the_config_is_that_of_create(oci, tmp_path):
    id = oci.create("sh", "-c", "echo first; sleep 1000", output=tmp_path / "out")
    config = json.loads(oci.config(id).read_text())
    config["process"]["env"].append("LATE=1")
    oci.config(id).write_text(json.dumps(config))
    oci("start", id)
    assert "LATE" not in oci("exec", id, "env").stdout


def no_command(config):
    config["process"]["args"] = ["no-such-command"]


def not_executable(config):
    config["process"]["args"] = ["/etc/passwd"]


def no_such_mount(config):
    config["mounts"].append({"destination": "/tmp", "type": "bind", "source": "/no/such/thing", "options": ["bind"]})


def no_such_limit(config):
    config["linux"]["resources"]["unified"] = {"no.such_file": "1"}


def failing_hook(config):
    config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}


def terminal_for_nobody(config):
    config["process"]["terminal"] = True


@pytest.mark.parametrize(("change", "said"), [
    (no_command, "executable file not found in $PATH"), (not_executable, "permission denied"),
    (no_such_mount, "/no/such/thing"), (no_such_limit, "no.such_file"), (failing_hook, "hooks.createRuntime[0]"),
    (terminal_for_nobody, "terminal"),
])  # fmt: skip
def test_of_a_create_that_fails_nothing_is_left(oci, tmp_path, change, said):
    id = oci.bundle("sleep", "1000", change=change)
    pid_file = tmp_path / "pid"
    done = oci("create", "--bundle", str(oci.bundles / id), "--pid-file", str(pid_file), id, code=1)
    assert said in done.stderr
    assert not pid_file.exists()
    assert os.listdir(oci.root) == [] if oci.root.exists() else True
    assert not [path for tree in cgroups.detect().trees for path in Path(tree.mountpoint).glob(f"labrt/{id}")]


@pytest.mark.parametrize("instant", range(6))
def test_a_create_that_is_killed_leaves_nothing_that_delete_does_not_find(oci, eventually, instant):
    id = oci.bundle("sleep", "1000")
    words = [*oci.words, "create", "--bundle", str(oci.bundles / id), id]
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: (oci.root / id).exists() or child.poll() is not None)
    time.sleep(instant * 0.008)
    child.kill()
    child.wait()
    oci("delete", "--force", id)
    assert oci("list", "-q").stdout == ""
    assert not [path for tree in cgroups.detect().trees for path in Path(tree.mountpoint).glob(f"labrt/{id}")]


def test_what_a_killed_create_had_only_named_is_not_taken_down(oci):
    """It was killed after its record was written, and before it had found that the cgroup is another container's."""
    first = oci.create("sleep", "1000")
    oci("start", first)
    second = oci.bundle("sleep", "1000")
    (oci.root / second).mkdir()
    record = json.loads((oci.root / first / "state.json").read_text())
    half = record | {"id": second, "pid": 0, "creator": [1 << 30, 1]}
    (oci.root / second / "state.json").write_text(json.dumps(half))
    assert oci.state(second)["status"] == "stopped"
    oci("delete", second)
    assert in_cgroup(first) == [record["pid"]]
    assert oci.state(first)["status"] == "running"


def test_the_interpreter_is_out_of_reach(oci):
    id = oci.create("sleep", "1000")
    assert os.statvfs(f"/proc/{oci.state(id)['pid']}/exe").f_flag & os.ST_RDONLY


def test_the_terminal_goes_over_the_console_socket(oci, tmp_path):
    path = tmp_path / "console.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        id = oci.create("sh", "-c", "tty; stty size", options=("--console-socket", str(path)), change=with_terminal)
        connection, _ = listener.accept()
        with connection:
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    master = array.array("i", ancillary[0][2])[0]
    oci("start", id)
    shown = b""
    while shown.count(b"\n") < 2:
        shown += os.read(master, 4096)
    os.close(master)
    assert shown == b"/dev/pts/0\r\n33 77\r\n"
    assert oci.wait(id) == 0


def with_terminal(config):
    config["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 77}}


def test_a_console_socket_without_a_terminal_is_refused(oci, tmp_path):
    id = oci.bundle("true")
    words = ("create", "--bundle", str(oci.bundles / id), "--console-socket", str(tmp_path / "x"), id)
    assert "no terminal" in oci(*words, code=1).stderr


def test_descriptors_are_handed_on(oci, tmp_path):
    (tmp_path / "a").write_text("from a")
    (tmp_path / "b").write_text("from b")
    script = f'exec 3<"{tmp_path}/a" 4<"{tmp_path}/b"; exec "$@"'
    command = "cat <&3; cat <&4; echo; ls /proc/self/fd | wc -l; env | grep ^LISTEN_ | sort"
    id = oci.bundle("sh", "-c", command)
    words = ["sh", "-c", script, "sh", *oci.words, "run", "--bundle", str(oci.bundles / id),
             "--preserve-fds", "1", id]  # fmt: skip
    environment = os.environ | {"LISTEN_FDS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, timeout=60)
    assert (done.returncode, done.stdout) == (0, "from afrom b\n6\nLISTEN_FDS=1\nLISTEN_PID=1\n"), done.stderr
    id = oci.bundle("true")
    done = oci("run", "--bundle", str(oci.bundles / id), "--preserve-fds", "2", id, code=1)
    assert "descriptor 3 is not open" in done.stderr


def test_hooks_at_their_moments(oci, tmp_path):
    log = tmp_path / "log"

    def hooks(config):
        def hook(kind):
            script = f'sed "s/.*\\"status\\": \\"\\([a-z]*\\)\\".*/{kind} \\1/" >> {log}; echo >> {log}'
            return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}

        kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
        config["hooks"] = {kind: [hook(kind)] for kind in kinds}

    id = oci.create("sleep", "1000", change=hooks)
    oci("start", id)
    oci("delete", "--force", id)
    assert log.read_text().split() == [
        "prestart", "creating", "createRuntime", "creating", "createContainer", "creating", "poststart", "running",
        "poststop", "stopped",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_hook_that_fails_at_start_ends_the_container(oci, tmp_path, kind):
    def hooks(config):
        config["hooks"] = {kind: [{"path": "/bin/false"}], "poststop": [
            {"path": "/bin/touch", "args": ["touch", str(tmp_path / "poststop")]}]}  # fmt: skip

    id = oci.create("sleep", "1000", change=hooks)
    assert f"hooks.{kind}[0]" in oci("start", id, code=1).stderr
    assert "does not exist" in oci("state", id, code=1).stderr
    assert (tmp_path / "poststop").exists()


def test_without_a_process_it_can_be_created_and_not_started(oci):
    id = oci.create("true", change=lambda config: config.pop("process"))
    assert oci.state(id)["status"] == "created"
    assert "process" in oci("start", id, code=1).stderr
    assert oci.state(id)["status"] == "stopped"


def test_processes_of_another_containers_namespaces(oci, tmp_path):
    first = oci.create("sleep", "1000")
    oci("start", first)
    pid = oci.state(first)["pid"]

    def joined(config):
        config["linux"]["namespaces"] = [
            {"type": "mount"}, {"type": "pid", "path": f"/proc/{pid}/ns/pid"}, {"type": "ipc"},
            {"type": "network", "path": f"/proc/{pid}/ns/net"}, {"type": "uts", "path": f"/proc/{pid}/ns/uts"},
        ]  # fmt: skip
        config.pop("hostname")

    second = oci.create("sh", "-c", "cat /proc/1/cmdline; hostname", change=joined, output=tmp_path / "out")
    oci("start", second)
    assert oci.wait(second) == 0
    assert (tmp_path / "out").read_text() == "sleep\x001000\0labrt\n"


def test_run(oci):
    id = oci.bundle("sh", "-c", "cat; echo err >&2; exit 7")
    done = oci("run", "--bundle", str(oci.bundles / id), id, code=7, input="typed\n")
    assert (done.stdout, done.stderr) == ("typed\n", "err\n")
    assert oci("list", "-q").stdout == ""
    oci("run", "--keep", "--bundle", str(oci.bundles / id), id, code=7)
    assert oci.state(id)["status"] == "stopped"


def test_run_forwards_signals(oci, eventually):
    id = oci.bundle("sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
    words = [*oci.words, "run", "--bundle", str(oci.bundles / id), id]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        child.terminate()
        assert child.wait(60) == 42


def test_run_detached(oci):
    id = oci.bundle("sleep", "1000")
    oci("run", "-d", "--bundle", str(oci.bundles / id), id, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert oci.state(id)["status"] == "running"


def test_pause_and_resume(oci):
    id = oci.create("sleep", "1000")
    oci("start", id)
    assert "it is running" in oci("resume", id, code=1).stderr
    oci("pause", id)
    assert oci.state(id)["status"] == "paused"
    assert "it is paused" in oci("pause", id, code=1).stderr
    oci("resume", id)
    assert oci.state(id)["status"] == "running"
    oci("pause", id)
    oci("kill", id, "KILL")
    assert oci.wait(id) == -signal.SIGKILL, "who stands still dies, too"


def test_kill_all(oci, eventually):
    id = oci.create("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    oci("start", id)
    eventually(lambda: len(in_cgroup(id)) == 3)
    oci("kill", "--all", id, "KILL")
    oci.wait(id)
    eventually(lambda: in_cgroup(id) == [])
    oci("kill", "--all", id, "KILL")  # harmless: docker's shim does it after the end


def test_a_cgroup_of_others_is_not_taken(oci):
    first = oci.create("sleep", "1000")
    second = oci.bundle("sleep", "1000", change=lambda config: config["linux"].update(cgroupsPath=f"/labrt/{first}"))
    assert "has processes already" in oci("create", "--bundle", str(oci.bundles / second), second, code=1).stderr
    assert in_cgroup(first) == [oci.state(first)["pid"]]


def test_without_a_cgroup_namespace_only_its_own_is_seen(oci, tmp_path):
    def change(config):
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [entry for entry in spaces if entry["type"] != "cgroup"]
        config["linux"]["resources"]["pids"] = {"limit": 17}

    find = "cat $(find /sys/fs/cgroup -name pids.max); find /sys/fs/cgroup -mindepth 2 -type d | wc -l"
    id = oci.create("sh", "-c", find, change=change, output=tmp_path / "out")
    oci("start", id)
    assert oci.wait(id) == 0
    assert (tmp_path / "out").read_text() == "17\n0\n"


def test_a_systemd_cgroup_without_systemd(oci):
    from labrt.linux.cgroups import systemd

    if systemd.present():
        pytest.skip("systemd is here")
    id = oci.bundle("true", change=lambda config: config["linux"].update(cgroupsPath="system.slice:labrt:x"))
    assert "systemd" in oci("--systemd-cgroup", "create", "--bundle", str(oci.bundles / id), id, code=1).stderr
