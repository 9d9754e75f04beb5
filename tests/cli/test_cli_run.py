"""`labrt run`, and what else has a container in the foreground: streams, signals, clients that die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from labrt.engine.containers import Containers

pytestmark = pytest.mark.root

# A PID 1 that can be told: it says when it is ready, and what it hears.
LISTENER = "trap 'echo heard INT' INT; trap 'echo heard TERM; exit 3' TERM; trap 'echo heard USR1' USR1; {}".format(
    "trap 'echo heard HUP' HUP; echo ready; while :; do sleep 0.05; done"
)


def test_streams_stay_apart(cli):
    done = cli("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 4")
    assert done == (4, "out\n", "err\n")


def test_a_megabyte_of_anything_comes_back_as_it_was(cli):
    data = os.urandom(1 << 20)
    process = cli.start("run", "--rm", "-i", "busybox", "cat")
    out, err = process.communicate(data, timeout=60)
    assert (process.returncode, err) == (0, b"") and out == data


def test_more_than_fits_in_between_both_ways(cli):
    """A command that writes before it reads: nobody may wait for nobody."""
    data = os.urandom(4 << 20)
    process = cli.start("run", "--rm", "-i", "busybox", "sh", "-c", "head -c 3000000 /dev/zero; cat")
    out, err = process.communicate(data, timeout=60)
    assert err == b"" and out == bytes(3_000_000) + data


def test_input_from_a_file_and_output_to_one(cli, tmp_path):
    data = os.urandom(1 << 18)
    (tmp_path / "in").write_bytes(data)
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
        process = cli.start("run", "--rm", "-i", "busybox", "cat", stdin=source, stdout=target)
        assert process.wait(60) == 0
    assert (tmp_path / "out").read_bytes() == data


def test_without_i_there_is_no_input(cli):
    assert cli("run", "--rm", "busybox", "cat", input=b"unheard") == (0, "", "")


def test_the_end_of_input_is_passed_on(cli):
    """And only when it comes: the pipe stays open while somebody might still write."""
    process = cli.start("run", "--rm", "-i", "busybox", "cat")
    process.stdin.write(b"first\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"first\n" and process.poll() is None
    assert process.communicate(b"second\n", timeout=60) == (b"second\n", b"")


def test_a_command_that_ends_before_it_has_read_all(cli):
    process = cli.start("run", "--rm", "-i", "busybox", "head", "-c", "3")
    process.stdin.write(b"abcdef")
    process.stdin.flush()  # and it stays open
    assert process.stdout.read() == b"abc" and process.wait(60) == 0


def test_options_end_at_the_image(cli):
    assert cli.ok("run", "--rm", "busybox", "echo", "--rm", "-it", "--name", "x", "--help") == (
        "--rm -it --name x --help\n"
    )
    assert cli.ok("run", "--rm", "--", "busybox", "echo", "--", "-n") == "-- -n\n"


def test_options_as_one_types_them(cli, tmp_path):
    (tmp_path / "file").write_text("from the host\n")
    tmp_path.chmod(0o755)  # another user is to read it
    script = "hostname; id -u; pwd; echo $A-$B-$C-$D; cat /data/file; touch /x 2>&1; touch /data/x 2>&1"
    cli.env["C"] = "ours"
    lines = cli(
        "run", "--rm", "-h", "box", "-u65534", "-w", "/tmp", "-eA=1", "-e", "B=2", "--env=C", "-e", "LABRT_NOWHERE",
        "--read-only", "-m64m", "--cpus", ".5", "--pids-limit=50", f"-v{tmp_path}:/data:ro", "--network", "none",
        "busybox", "sh", "-c", script,
    ).out.splitlines()  # fmt: skip
    del cli.env["C"]
    assert lines[:5] == ["box", "65534", "/tmp", "1-2-ours-", "from the host"]
    assert all("Read-only file system" in line for line in lines[5:]) and len(lines) == 7


def test_limits_are_in_the_config(cli):
    cli.ok("create", "--name", "limited", "-m", "64m", "--cpus", ".5", "--pids-limit", "50", "busybox")
    resources = Containers(cli.where).get("limited").runtime.config()["linux"]["resources"]
    assert resources["memory"]["limit"] == 64 << 20
    assert resources["memory"]["swap"] == 128 << 20
    assert resources["cpu"] == {"period": 100_000, "quota": 50_000} and resources["pids"]["limit"] == 50


def test_memory_and_swap_together(cli):
    cli.ok("create", "--name", "swaps", "-m", "64m", "--memory-swap", "-1", "busybox")
    assert Containers(cli.where).get("swaps").runtime.config()["linux"]["resources"]["memory"]["swap"] == -1
    assert Containers(cli.where).get("swaps").inspect()["HostConfig"]["MemorySwap"] == -1
    refused = cli("run", "--rm", "-m", "64m", "--memory-swap", "63m", "busybox", "true")
    assert refused.code == 125 and "--memory-swap 63m: --memory is 64m" in refused.err


def test_entrypoint(cli):
    assert cli.ok("run", "--rm", "--entrypoint", "echo", "busybox", "a", "b") == "a b\n"
    assert cli.ok("run", "--rm", "-i", "busybox", input=b"echo the default") == "the default\n"


def test_without_rm_it_stays(cli):
    assert cli("run", "--name", "stays", "busybox", "sh", "-c", "echo x; exit 5").code == 5
    assert cli.status("stays") == "exited" and cli.ok("logs", "stays") == "x\n"
    taken = cli("run", "--name", "stays", "busybox")
    assert taken.code == 125 and "the name stays is taken" in taken.err


def test_what_could_not_start_stays_unless_rm(cli):
    assert cli("run", "--name", "broken", "busybox", "nosuch").code == 127
    assert cli.containers() == ["broken"]
    assert cli("run", "-d", "busybox", "nosuch").code == 127 and len(cli.containers()) == 2
    assert cli("run", "-d", "--rm", "busybox", "nosuch").code == 127 and len(cli.containers()) == 2


def test_in_the_background(cli):
    id = cli.ok("run", "-d", "--name", "back", "busybox", "sleep", "1000").strip()
    assert re.fullmatch("[0-9a-f]{64}", id) and cli.status("back") == "running"
    assert cli.ok("ps", "-q", "--no-trunc").strip() == id
    assert cli.ok("stop", "-t", "0", "back") == "back\n"


def test_in_the_background_with_rm_it_removes_itself(cli):
    cli.ok("run", "-d", "--rm", "--name", "brief", "busybox", "true")
    cli.eventually(lambda: cli.containers() == [], "the end of a container that removes itself")


def test_names_are_free_again_when_run_returns(cli):
    for _ in range(4):
        assert cli("run", "--rm", "--name", "same", "busybox", "true") == (0, "", "")


# Readers that go away -------------------------------------------------------------------------------------------------


def test_head_ends_us_and_not_the_container(cli, tmp_path):
    tmp_path.chmod(0o777)
    script = "seq 100000; until [ -e /flag/go ]; do sleep .05; done; echo so > /flag/on"
    line = f'"$0" -m labrt run --rm --name unread -v {tmp_path}:/flag busybox sh -c "$1" | head -n 1'
    done = subprocess.run(["sh", "-c", line, sys.executable, script], env=cli.env, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"1\n", b"")
    assert cli.status("unread") == "running"
    (tmp_path / "go").touch()
    cli.eventually(lambda: cli.containers() == [], "the removal of a container that went on")
    assert (tmp_path / "on").read_text() == "so\n"


def test_its_exit_code_is_that_of_sigpipe(cli):
    reader, writer = os.pipe()
    os.close(reader)
    process = cli.start("run", "--rm", "--name", "unread", "busybox", "yes", stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=60)[1] == b"" and process.returncode == 128 + signal.SIGPIPE
    assert cli.status("unread") == "running"
    cli.ok("rm", "-f", "unread")
    assert cli.containers() == []


# Signals --------------------------------------------------------------------------------------------------------------


def listening(cli, *options: str) -> subprocess.Popen[bytes]:
    process = cli.start("run", *options, "busybox", "sh", "-c", LISTENER, stdin=subprocess.DEVNULL)
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("name", ["INT", "USR1", "HUP"])
def test_signals_go_to_the_container(cli, name):
    process = listening(cli, "--rm")
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert process.stdout.readline() == f"heard {name}\n".encode()
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == b"heard TERM\n"
    assert process.wait(60) == 3 and cli.containers() == []


def test_the_third_of_the_unheeded_lets_the_user_go(cli):
    process = listening(cli, "--name", "deaf")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"heard INT\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and cli.status("deaf") == "running"
    assert err == b"labrt: left after three signals; deaf goes on (`labrt rm -f deaf` ends it)\n"


def test_ctrl_c_of_one_that_has_no_handler_is_not_the_end_but_the_third_is(cli):
    process = cli.start("run", "--rm", "busybox", "sh", "-c", "echo ready; exec sleep 1000")
    assert process.stdout.readline() == b"ready\n"

    def ended_or_read() -> bool:
        """Signals of one number that come together are one: each must have been taken before the next."""
        if process.poll() is not None:
            return True
        with open(f"/proc/{process.pid}/status") as file:
            return "ShdPnd:\t0000000000000000" in file.read()

    for _ in range(3):
        process.send_signal(signal.SIGINT)
        cli.eventually(ended_or_read, "that the signal is taken")
    assert process.wait(60) == 130


def test_a_client_that_is_killed_leaves_the_container_alone(cli):
    process = listening(cli, "--name", "orphan")
    process.kill()
    process.communicate()
    assert cli.status("orphan") == "running"
    cli.ok("kill", "-s", "USR1", "orphan")
    cli.eventually(lambda: "heard USR1" in cli.ok("logs", "orphan"), "the container's answer")
    assert cli.ok("stop", "orphan") == "orphan\n" and cli.ok("wait", "orphan") == "3\n"


def test_and_with_rm_its_monitor_removes_it(cli):
    process = listening(cli, "--rm", "--name", "orphan")
    process.kill()
    process.communicate()
    assert cli.status("orphan") == "running"
    assert cli.ok("stop", "orphan") == "orphan\n"
    cli.eventually(lambda: cli.containers() == [], "the end of a container that removes itself")


def test_a_detached_container_outlives_its_client(cli):
    process = cli.start("run", "-d", "--name", "back", "busybox", "sleep", "1000")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and cli.status("back") == "running"
    assert cli.ok("inspect", "back").count(out.decode().strip()) > 0
