"""exec: one more program, as conmon and the shims ask for it, and as people do."""

from __future__ import annotations

import array
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


@pytest.fixture
def running(oci) -> str:
    def change(config):
        config["process"]["env"] += ["A=from config", "B=kept"]
        config["process"]["capabilities"] = {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")}

    id = oci.create("sleep", "1000", change=change)
    oci("start", id)
    return id


def test_in_the_foreground(oci, running):
    done = oci("exec", running, "sh", "-c", "cat; echo err >&2; exit 5", code=5, input="typed\n")
    assert (done.stdout, done.stderr) == ("typed\n", "err\n")
    assert oci("exec", running, "cat", "/proc/1/cmdline").stdout == "sleep\x001000\0"


def test_who_where_and_with_what(oci, running):
    probe = "id -u; id -g; id -G; pwd; echo $A $B; grep -e CapEff -e NoNewPrivs /proc/self/status"
    out = oci("exec", running, "sh", "-c", probe).stdout
    assert out == "0\n0\n0\n/\nfrom config kept\nCapEff:\t0000000000000020\nNoNewPrivs:\t0\n"
    how = ("--user", "1000:50", "-g", "7", "-g", "8", "--cwd", "/tmp", "-e", "A=new", "--no-new-privs")
    out = oci("exec", *how, running, "sh", "-c", probe).stdout
    assert out == "1000\n50\n50 7 8\n/tmp\nnew kept\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n"
    out = oci("exec", "--cap", "CAP_CHOWN", running, "grep", "CapEff", "/proc/self/status").stdout
    assert out == "CapEff:\t0000000000000021\n"


def test_what_sets_a_label_is_not_looked_for_in_the_container(oci, running):
    assert oci("exec", "--apparmor", "unconfined", running, "id", "-u").stdout == "0\n"


def test_a_user_may_open_what_they_write_to(oci, running, tmp_path):
    write = "echo out > /dev/stdout; echo err > /dev/stderr"
    done = oci("exec", "--user", "1000", running, "sh", "-c", write)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    done = oci("exec", "--user", "1000", "-t", running, "sh", "-c", f"{write}; stat -c '%u %g' $(tty)")
    assert done.stdout == "out\nerr\n1000 5\n"
    file = tmp_path / "file"
    with open(file, "w") as stdout:
        oci("exec", "--user", "1000", running, "sh", "-c", "echo out", stdout=stdout)
    assert (file.read_text(), file.stat().st_uid) == ("out\n", 0), "a file stays its owner's"


@pytest.fixture
def open_root(busybox_root) -> Iterator[Path]:
    """A root that others than root may reach, unlike pytest's directories."""
    with tempfile.TemporaryDirectory(prefix="oci-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(shutil.copytree(busybox_root, Path(name, "root"), symlinks=True))


def test_in_a_user_namespace(oci, open_root):
    def change(config):
        config["root"]["path"] = str(open_root)
        config["linux"]["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            config["linux"][name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    id = oci.create("sleep", "1000", change=change)
    oci("start", id)
    probe = "id -u; cat /proc/self/uid_map; stat -c '%u %g' $(tty)"
    assert oci("exec", "-t", id, "sh", "-c", probe).stdout.split() == ["0", "0", "100000", "65536", "0", "5"]
    assert oci("exec", "-u", "33:44", id, "sh", "-c", "id -u; id -g").stdout == "33\n44\n"


def test_a_process_file_is_all_that_counts(oci, running, tmp_path):
    wanted = {"args": ["sh", "-c", "echo $A; pwd; id -u"], "env": ["PATH=/bin", "A=file"], "cwd": "/etc",
              "user": {"uid": 5, "gid": 5}}  # fmt: skip
    (tmp_path / "process.json").write_text(json.dumps(wanted))
    assert oci("exec", "--process", str(tmp_path / "process.json"), running).stdout == "file\n/etc\n5\n"
    (tmp_path / "process.json").write_text("{")
    assert oci("exec", "--process", str(tmp_path / "process.json"), running, code=255).stderr


def test_detached_it_is_left_to_its_subreaper(oci, running, tmp_path):
    oci("exec", "--detach", "--pid-file", str(tmp_path / "pid"), running, "sleep", "1000",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    pid = int((tmp_path / "pid").read_text())
    assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
    assert json.loads(oci("ps", "-f", "json", running).stdout) == sorted([pid, oci.state(running)["pid"]])
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_detached_with_a_terminal(oci, running, tmp_path):
    path = tmp_path / "console.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        oci("exec", "-d", "-t", "--console-socket", str(path), "--pid-file", str(tmp_path / "pid"), running, "tty",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        connection, _ = listener.accept()
        with connection:
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    master = array.array("i", ancillary[0][2])[0]
    assert os.read(master, 4096) == b"/dev/pts/0\r\n"
    os.close(master)
    assert os.waitpid(int((tmp_path / "pid").read_text()), 0)[1] == 0


def test_a_terminal_of_its_own_shows_on_ours(oci, running):
    assert oci("exec", "-t", running, "sh", "-c", "tty; exit 3", code=3).stdout == "/dev/pts/0\n"


def test_a_terminal_takes_and_gives_much_at_once(oci, running):
    """Neither side may wait for the other: cat at a raw terminal echoes what comes, a pipe's worth several times."""
    typed = "x" * (1 << 18)
    script = f"stty raw -echo; echo ready; head -c {len(typed)}"
    with subprocess.Popen([*oci.words, "exec", "-t", running, "sh", "-c", script], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as child:  # fmt: skip
        assert child.stdout.readline().strip() == "ready"
        shown, _ = child.communicate(typed, timeout=60)
    assert (child.returncode, shown.strip()) == (0, typed)


@pytest.mark.parametrize("wrong", [{}, {"args": []}, {"cwd": "relative"}, {"env": ["no equals sign"]},
                                   {"args": "sh"}])  # fmt: skip
def test_a_process_file_that_cannot_be(oci, running, tmp_path, wrong):
    right = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    (tmp_path / "process.json").write_text(json.dumps(right | wrong if wrong else {}))
    done = oci("exec", "--process", str(tmp_path / "process.json"), running, code=255)
    assert "process" in done.stderr and "mistake" not in done.stderr


@pytest.mark.parametrize(("words", "said"), [
    (("no-such-command",), "executable file not found in $PATH"),
    (("/etc/passwd",), "Permission denied"),
    ((), "wants a command"),
])  # fmt: skip
def test_what_cannot_be_run(oci, running, words, said):
    assert said in oci("exec", running, *words, code=255).stderr


def test_not_where_nothing_runs(oci, running):
    oci("pause", running)
    assert "paused" in oci("exec", running, "true", code=255).stderr
    oci("resume", running)
    oci("kill", running, "KILL")
    oci.wait(running)
    assert "stopped" in oci("exec", running, "true", code=255).stderr
    assert "does not exist" in oci("exec", "nobody", "true", code=255).stderr
