"""What `run`, `create` and `exec` can be told on the command line beside what test_cli_run.py has."""

from __future__ import annotations

import signal

import pytest

from labrt.cli.commands import create, run
from labrt.engine import keys
from labrt.engine.containers import Containers
from labrt.engine.options import Options
from labrt.engine.options.model import FIELDS
from labrt.errors import InvalidInput


def test_every_option_of_python_is_one_of_the_command_line():
    ours = {"attach", "cidfile", "quiet", "words"}
    fields = set(FIELDS) - {"command", "console_size", "further_networks"}  # the last: more of --network
    typed = {parameter.name for parameter in create.command.params}
    assert typed - ours == fields
    only_run = {parameter.name for parameter in run.command.params} - typed
    assert only_run == {"detach", "detach_keys", "sig_proxy"}


def test_no_option_given_is_as_python_has_it():
    """A default of the command line that differs would be another container, and an import more."""
    given = create.command.make_context("create", ["busybox"]).params
    assert given["network"] == ()  # it may be given several times
    for field in set(FIELDS) & set(given) - {"image", "network"}:
        assert given[field] == getattr(Options, field), field


@pytest.mark.parametrize(
    ("text", "sent"),
    [("", b"\x10\x11"), ("ctrl-a", b"\x01"), ("ctrl-Z,x", b"\x1ax"), ("ctrl-@,ctrl-[", b"\x00\x1b"), ("a", b"a")],
)
def test_keys_by_name(text, sent):
    assert keys.parse(text) == sent


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "alt-a", "ab", "a,,b", "ctrl-é"])
def test_keys_that_are_none(text):
    with pytest.raises(InvalidInput, match="--detach-keys"):
        keys.parse(text)


def test_what_may_be_the_first_of_the_keys_is_held_back():
    assert [keys.held_back(data, b"aab") for data in (b"", b"x", b"xa", b"xaa", b"aab", b"xaaa")] == [0, 0, 1, 2, 0, 2]


@pytest.mark.root
class TestRunning:
    def test_as_one_types_them(self, cli, tmp_path):
        (tmp_path / "env").write_text("FROM=file\n")
        script = "id -G; grep NoNew /proc/self/status; echo $FROM; ulimit -n; cat /proc/sys/kernel/msgmax; ls -d /data"
        found = cli.ok(
            "run", "--rm", "--group-add", "4711", "--security-opt", "no-new-privileges", "--env-file", tmp_path / "env",
            "--ulimit", "nofile=99", "--sysctl", "kernel.msgmax=4711", "--mount", f"type=bind,src={tmp_path},dst=/data",
            "--cap-drop", "ALL", "--tmpfs", "/run", "-c", "512", "--label", "a=b", "busybox", "sh", "-c", script,
        )  # fmt: skip
        assert found.split() == ["0", "4711", "NoNewPrivs:", "1", "file", "99", "4711", "/data"]

    def test_its_id_in_a_file(self, cli, tmp_path):
        file = tmp_path / "cid"
        id = cli.ok("run", "-d", "--cidfile", file, "busybox", "sleep", "300").strip()
        assert file.read_text() == id
        again = cli("create", "--cidfile", file, "busybox")
        assert again.code == 125 and "is there already" in again.err and file.read_text() == id
        other = tmp_path / "other"
        failed = cli("create", "--cidfile", other, "--pull", "never", "nosuchimage")
        assert failed.code == 125 and not other.exists()
        assert len(cli.containers()) == 1
        cli.ok("rm", "-f", id)

    def test_attached_to_one_stream_only(self, cli):
        script = "echo out; echo err >&2"
        done = cli("run", "--rm", "-a", "stderr", "busybox", "sh", "-c", script)
        assert (done.code, done.out, done.err) == (0, "", "err\n")
        done = cli("run", "--rm", "-a", "STDOUT", "busybox", "sh", "-c", script)
        assert (done.code, done.out, done.err) == (0, "out\n", "")
        refused = cli("run", "-d", "-a", "stdout", "busybox")
        assert refused.code == 125 and "contradict" in refused.err

    def test_signals_are_not_passed_on(self, cli):
        options = ("--name", "goes-on", "--sig-proxy=false")
        process = cli.start("run", *options, "busybox", "sh", "-c", "echo go; sleep 300")
        assert process.stdout.readline() == b"go\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130 and cli.status("goes-on") == "running"
        cli.ok("rm", "-f", "goes-on")

    def test_other_keys_leave(self, cli):
        terminal = cli.terminal("run", "-it", "--name", "left", "--detach-keys", "ctrl-x,y", "busybox", "cat")
        terminal.type("\x18z\x10\x11\n")  # the first of the two, and something else; the usual ones are just keys
        terminal.expect("z")
        terminal.type("\x18y")
        assert terminal.wait() == 0 and cli.status("left") == "running"
        terminal = cli.terminal("exec", "-it", "--detach-keys", "ctrl-a", "left", "cat")
        terminal.type("meow\n")
        terminal.expect("meow")
        terminal.type("\x01")
        assert terminal.wait() == 0
        cli.ok("rm", "-f", "left")

    def test_exec(self, cli, tmp_path):
        (tmp_path / "env").write_text("FROM=file\nA=1\n")
        cli.ok("run", "-d", "--name", "nap", "--cap-drop", "ALL", "busybox", "sleep", "300")
        script = "grep CapEff /proc/self/status; echo $FROM$A"
        power = cli.ok("exec", "--privileged", "-e", "A=2", "--env-file", tmp_path / "env", "nap", "sh", "-c", script)
        none = cli.ok("exec", "nap", "sh", "-c", script)
        assert int(power.split()[1], 16) and power.split()[2] == "file2" and none.split() == ["CapEff:", "0" * 16]
        cli.ok("rm", "-f", "nap")

    def test_inspect_is_dockers(self, cli):
        cli.ok(
            "create", "--name", "seen", "--cap-add", "net_admin", "--device", "/dev/null:/dev/n:r", "--dns", "9.9.9.9",
            "--ulimit", "nofile=1:2", "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m", "-v", "/etc:/e:ro", "busybox",
        )  # fmt: skip
        seen = Containers(cli.where).get("seen").inspect()
        host = seen["HostConfig"]
        assert host["CapAdd"] == ["CAP_NET_ADMIN"] and host["Dns"] == ["9.9.9.9"] and host["Binds"] == ["/etc:/e:ro"]
        device = {"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "r"}
        assert host["Devices"] == [device]
        assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1, "Hard": 2}]
        sized = {"SizeBytes": 1 << 20, "Mode": 0o1777}
        assert host["Mounts"] == [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": sized}]
        assert {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in seen["Mounts"]} == {
            "/e": ("bind", False), "/t": ("tmpfs", True),
        }  # fmt: skip

    def test_pulling_in_silence(self, cli):
        done = cli("run", "--rm", "-q", "busybox", "true")
        assert (done.code, done.out, done.err) == (0, "", "")
