"""pause, restart, rename, update, top, stats, cp, events, logs, wait: as they are typed."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

pytestmark = pytest.mark.root
FOREVER = ("sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done")


@pytest.fixture
def nap(cli):
    cli.ok("run", "-d", "--name", "nap", "busybox", *FOREVER)
    cli.eventually(lambda: cli.ok("logs", "nap") == "ready\n", "the handler of SIGTERM")
    return "nap"


def test_pause_shows_in_ps(cli, nap):
    assert cli.ok("pause", nap) == "nap\n"
    assert "(Paused)" in cli.ok("ps") and cli.status(nap) == "paused"
    done = cli("exec", nap, "true")
    assert done.code == 1 and "`labrt unpause nap`" in done.err
    assert cli.ok("unpause", nap) == "nap\n"
    assert "(Paused)" not in cli.ok("ps")
    done = cli("unpause", nap)
    assert done.code == 1 and "not paused" in done.err


def test_restart_rename_update(cli, nap):
    cli.ok("restart", nap)
    cli.ok("rename", nap, "siesta")
    assert cli.containers() == ["siesta"]
    assert cli.ok("update", "-m", "64m", "--memory-swap", "64m", "--pids-limit", "20", "--restart", "always", "siesta")
    host = json.loads(cli.ok("inspect", "siesta"))[0]["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["RestartPolicy"]["Name"]) == (64 << 20, 20, "always")
    assert cli("update", "siesta").code == 125
    done = cli("update", "--restart", "sometimes", "siesta")
    assert done.code == 1 and "sometimes" in done.err


def test_health_shows_in_ps(cli):
    cli.ok("run", "-d", "--name", "well", "--health-cmd", "true", "--health-interval", "100ms", "busybox", *FOREVER)
    cli.eventually(lambda: "(healthy)" in cli.ok("ps"), "health")
    assert json.loads(cli.ok("inspect", "well"))[0]["State"]["Health"]["Status"] == "healthy"


def test_restarting_shows_in_ps_and_stop_ends_it(cli):
    cli.ok("run", "-d", "--name", "fails", "--restart", "always", "busybox", "false")
    cli.eventually(lambda: json.loads(cli.ok("inspect", "fails"))[0]["RestartCount"] >= 5, "pauses of a second or more")
    cli.eventually(lambda: "Restarting (1)" in cli.ok("ps"), "the pause between two runs")
    cli.ok("stop", "fails")
    assert "Exited (1)" in cli.ok("ps", "-a")


def test_top(cli, nap):
    head, *lines = cli.ok("top", nap).splitlines()
    assert head.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert any(line.startswith("root") and "trap" in line for line in lines)
    assert cli.ok("top", nap, "-o", "pid,args").splitlines()[0].split() == ["PID", "COMMAND"]
    done = cli("top", nap, "-o", "args")
    assert done.code == 1 and "PID" in done.err


def test_stats(cli, nap):
    head, line = cli.ok("stats", "--no-stream", nap).splitlines()
    assert head.startswith("CONTAINER ID") and head.endswith("PIDS") and "nap" in line and "%" in line
    assert cli.ok("stats", "--no-stream", "--format", "{{.Name}}:{{.PIDs}}", nap).startswith("nap:")
    assert json.loads(cli.ok("stats", "--no-stream", "--format", "json"))["Name"] == "nap"
    done = cli("stats", "--no-stream", "--format", "{{.Colour}}", nap)
    assert done.code == 1 and ".Colour" in done.err and ".Name" in done.err


def test_cp(cli, nap, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content")
    cli.ok("cp", str(tmp_path / "tree"), f"{nap}:/tmp")
    assert cli.ok("exec", nap, "cat", "/tmp/tree/file") == "content"
    cli.ok("cp", f"{nap}:/tmp/tree", str(tmp_path / "back"))
    assert (tmp_path / "back/file").read_text() == "content"
    cli.ok("exec", nap, "ln", "-s", "tree/file", "/tmp/link")
    cli.ok("cp", f"{nap}:/tmp/link", str(tmp_path / "as_link"))
    cli.ok("cp", "-L", f"{nap}:/tmp/link", str(tmp_path / "followed"))
    assert (tmp_path / "as_link").is_symlink() and (tmp_path / "followed").read_text() == "content"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(tmp_path / "tree", "sent")
    cli.ok("cp", "-", f"{nap}:/tmp", input=buffer.getvalue())
    assert cli.ok("exec", nap, "ls", "/tmp/sent") == "file\n"
    assert cli("cp", "here", "there").code == 125
    assert cli("cp", f"{nap}:/a", f"{nap}:/b").code == 1
    done = cli("cp", f"{nap}:/absent", str(tmp_path))
    assert done.code == 1 and "/absent" in done.err


def test_events(cli, nap):
    cli.ok("kill", nap)
    cli.ok("wait", nap)
    lines = cli.ok("events", "--since", "10m", "--until", "0s", "--filter", "container=nap").splitlines()
    assert [line.split()[2] for line in lines][-4:] == ["create", "start", "kill", "die"] or "die" in lines[-2]
    assert all("name=nap" in line for line in lines)
    (event,) = [json.loads(line) for line in cli.ok(
        "events", "--since", "10m", "--until", "0s", "-f", "event=die", "-f", "container=nap", "--format", "json"
    ).splitlines()][-1:]  # fmt: skip
    assert event["Actor"]["Attributes"]["exitCode"] == "137"


def test_logs_of_a_time(cli):
    cli.ok("run", "--name", "said", "busybox", "sh", "-c", "echo one; sleep 1; echo two")
    assert cli.ok("logs", "said") == "one\ntwo\n"
    stamp = cli.ok("logs", "-t", "-n", "1", "said").split()[0]
    assert cli.ok("logs", "--since", stamp, "said") == "two\n"
    assert cli.ok("logs", "--until", "1h", "said") == ""
    assert cli.ok("logs", "--details", "said") == " one\n two\n"
    assert cli("logs", "--since", "soon", "said").code == 1


def test_wait_for_removal(cli):
    cli.ok("run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "2")
    cli.ok("wait", "--condition", "removed", "brief")
    assert cli.containers() == []
