"""The life of a container, as its runtime sees it: create, start, exec, kill, delete; and what may go wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time

import pytest

from labrt.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ContainerError,
    ContainerNotFound,
    InvalidConfig,
    KernelError,
    LabrtWarning,
)
from labrt.linux import capabilities, cgroups, namespaces, process, procfs
from labrt.runtime import launcher, log_reader, wire
from labrt.runtime.attachment import Attachment

pytestmark = pytest.mark.root


def eventually(condition, seconds: float = 20.0):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def test_created_waits_for_start(make, outcome):
    container = make("sh", "-c", "echo ran")
    state = container.state
    assert (state.status, state.exit_code) == ("created", None)
    assert state.to_oci()["pid"] == state.pid
    assert log_reader.read(container.log) == []
    assert outcome(container) == (0, "ran\n", "")
    assert container.state.status == "stopped"
    assert container.wait() == 0


def test_run_is_create_attach_and_start(make):
    container, attached = make("sh", "-c", "echo ran; cat; exit 7", run=True, stdin=True)
    with attached:
        attached.wait_started()
        assert container.state.status == "running"
        attached.send(b"given")
        attached.end_input()
        assert b"".join(data for _, data in attached.output()) == b"ran\ngiven"
    assert (attached.exit_code, container.wait(), container.state.status) == (7, 7, "stopped")


def test_run_reports_what_keeps_it_from_starting(make):
    container, attached = make("/no/such", run=True)
    with attached, pytest.raises(CommandNotFound, match="no such file"):
        list(attached.output())
    assert container.wait() == 127


def test_run_of_what_cannot_be_created_leaves_nothing(make):
    with pytest.raises(InvalidConfig, match="RLIMIT_NONE"):
        make("true", run=True, change=lambda c: c["process"]["rlimits"].append(
            {"type": "RLIMIT_NONE", "soft": 1, "hard": 1}))  # fmt: skip


@pytest.mark.skipif(capabilities.CAP.SYS_RESOURCE in capabilities.bounding(), reason="nothing is missing here")
@pytest.mark.parametrize("run", [False, True])
def test_who_asks_for_more_than_there_is_hears_of_it(make, run):
    def change(config):
        config["process"]["capabilities"]["bounding"].append("CAP_SYS_RESOURCE")

    with pytest.warns(LabrtWarning, match="cannot grant CAP_SYS_RESOURCE"):
        made = make("true", run=run, change=change)
    if run:
        with made[1] as attached:
            assert list(attached.output()) == []


def test_streams_are_apart_and_exit_codes_come_through(make, outcome):
    assert outcome(make("sh", "-c", "echo out; echo err >&2; exit 42")) == (42, "out\n", "err\n")


@pytest.mark.parametrize("sig", ["KILL", "TERM", "SEGV"])
def test_killed_by_a_signal_is_128_and_its_number(make, sig, outcome):
    # PID 1 is deaf to what it does not handle, so a child kills itself and its parent says how it ended.
    code, _, _ = outcome(make("sh", "-c", f"sh -c 'kill -{sig} $$'; exit $?"))
    assert code == 128 + signal.Signals[f"SIG{sig}"]


def test_input_is_given_and_ends(make, outcome):
    data = b"x" * 300_000 + b"\n"
    code, out, _ = outcome(make("cat", stdin=True), data)
    assert (code, len(out)) == (0, len(data))


def test_without_input_standard_input_is_empty(make, outcome):
    assert outcome(make("cat")) == (0, "", "")


def test_bytes_come_through_as_they_are(make):
    data = bytes(range(256)) * 1000
    with make("cat", stdin=True).attach(stdin=True) as attached:
        attached.start()
        threading.Thread(target=lambda: (attached.send(data), attached.end_input())).start()
        assert b"".join(piece for _, piece in attached.output()) == data


def test_a_slow_reader_makes_the_container_wait_and_loses_nothing(make):
    container = make("sh", "-c", "yes a line of text | head -c 8000000")
    with container.attach() as attached:
        attached.start()
        attached.wait_started()
        time.sleep(0.3)
        assert sum(len(data) for _, data in attached.output()) == 8_000_000


def test_several_clients_see_the_same(make):
    container = make("sh", "-c", "read x; echo got $x", stdin=True)
    with container.attach() as first, container.attach(stdin=True) as second:
        second.start()
        second.send(b"that\n")
        assert [b"".join(data for _, data in each.output()) for each in (first, second)] == [b"got that\n"] * 2


def test_the_log_is_dockers_json(make, outcome):
    container = make("sh", "-c", "echo one; echo two >&2; printf unfinished")
    outcome(container)
    with open(container.log) as file:
        lines = [json.loads(line) for line in file]
    assert sorted((line["stream"], line["log"]) for line in lines) == [
        ("stderr", "two\n"), ("stdout", "one\n"), ("stdout", "unfinished"),
    ]  # fmt: skip
    assert all(line["time"].endswith("Z") for line in lines)
    assert len(log_reader.read(container.log, tail=1)) == 1


class TestTerminal:
    @staticmethod
    def terminal(config):
        config["process"]["terminal"] = True
        config["process"]["consoleSize"] = {"height": 33, "width": 99}

    def test_is_one_of_the_containers_own(self, make, outcome):
        code, out, _ = outcome(make("sh", "-c", "tty; stty size; [ -c /dev/console ]", change=self.terminal))
        assert (code, out) == (0, "/dev/pts/0\r\n33 99\r\n")

    def test_can_be_resized_and_interrupted(self, make):
        script = "trap 'stty size' WINCH; trap 'echo bye; exit 5' INT; echo ready; while :; do sleep 0.05; done"
        container = make("sh", "-c", script, change=self.terminal, stdin=True)
        seen = b""
        with container.attach(stdin=True) as attached:
            attached.start()
            for _, data in attached.output():
                seen += data
                if seen.endswith(b"ready\r\n"):
                    attached.resize(44, 55)
                if seen.endswith(b"44 55\r\n"):
                    attached.send(b"\x03")
        assert b"bye" in seen
        assert attached.exit_code == 5


class TestExec:
    @pytest.fixture
    def running(self, make):
        container = make("sleep", "300")
        container.start()
        return container

    @staticmethod
    def run(container, *command, **how):
        from labrt.engine.execs import run

        result = run(container, command, **how)
        return result.exit_code, result.stdout, result.stderr

    def test_is_in_the_same_namespaces_and_cgroup(self, running):
        script = "for of in self 1; do for n in /proc/$of/ns/*; do readlink $n; done; cat /proc/$of/cgroup; echo; done"
        code, out, _ = self.run(running, "sh", "-c", script)
        own, first, rest = out.split("\n\n")
        assert (code, rest) == (0, "")
        assert own == first
        assert len([line for line in own.splitlines() if ":[" in line]) >= len(namespaces.of("self"))

    def test_has_the_containers_confinement(self, running):
        def confinement(text):
            return [line for line in text.splitlines() if line.startswith(("Cap", "Seccomp", "NoNewPrivs"))]

        _, out, _ = self.run(running, "cat", "/proc/self/status", "/proc/1/status")
        lines = confinement(out)
        assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
        assert "Seccomp:\t2" in lines

    def test_exit_codes_streams_input(self, running):
        assert self.run(running, "sh", "-c", "cat; echo err >&2; exit 9", input=b"in") == (9, "in", "err\n")

    def test_user_directory_environment(self, running):
        script = "id -u; id -G; pwd; echo $A $HOME"
        out = self.run(running, "sh", "-c", script, user="alice", cwd="/tmp", env=["A=b"])[1]
        assert out.splitlines() == ["1000", "1000 50", "/tmp", "b /home/alice"]

    def test_commands_that_are_not_there(self, running):
        with pytest.raises(CommandNotFound, match="'nosuch'.*PATH"):
            self.run(running, "nosuch")
        with pytest.raises(CommandNotExecutable, match="/etc/passwd"):
            self.run(running, "/etc/passwd")

    def test_a_terminal_of_its_own(self, running):
        execution = running.exec(["sh", "-c", "tty; stty size"], console_size=(20, 70))
        seen = b""
        try:
            while data := os.read(execution.master, 4096):
                seen += data
        except OSError:  # EIO: the last program has closed it
            assert execution.wait() == 0
        os.close(execution.master)
        assert seen == b"/dev/pts/0\r\n20 70\r\n"

    def test_of_a_container_that_has_ended(self, running):
        running.kill(signal.SIGKILL)
        running.wait()
        with pytest.raises(Conflict, match="not running"):
            self.run(running, "true")

    def test_ends_with_the_container(self, running):
        execution = running.exec(["sleep", "300"], stdio=(0, 1, 2))
        running.kill(signal.SIGKILL)
        assert execution.wait() == 137


class TestFailures:
    def test_a_command_that_is_not_there_is_127(self, make):
        container = make("nosuch")
        with pytest.raises(CommandNotFound, match="'nosuch': executable file not found"):
            container.start()
        assert container.wait() == 127
        assert "nosuch" in container.state.error

    def test_a_command_that_is_no_program_is_126(self, make):
        container = make("/etc/passwd")
        with pytest.raises(CommandNotExecutable, match="Permission denied"):
            container.start()
        assert container.wait() == 126

    def test_a_script_without_its_interpreter(self, make, busybox_root, tmp_path):
        def with_script(config):
            script = tmp_path / "script"
            script.write_text("#!/nosuch/interpreter\n")
            script.chmod(0o755)
            config["mounts"].append(
                {"destination": "/script", "type": "bind", "source": str(script), "options": ["bind"]}
            )

        with pytest.raises(CommandNotFound, match="interpreter"):
            make("/script", change=with_script).start()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda c: c["process"].update(args=[]), "process.args"),
            (lambda c: c["process"].update(cwd="relative"), "process.cwd"),
            (lambda c: c.update(hooks={"prestart": [{"path": "bin/true"}]}), r"hooks.prestart\[0\].path"),
            (lambda c: c["linux"].update(intelRdt={"closID": "x"}), "linux.intelRdt"),
            (lambda c: c["linux"]["namespaces"].append({"type": "pidd"}), "'pidd'"),
            (lambda c: c["linux"].update(sysctl={"kernel.hostname": "x"}), "kernel.hostname"),
            (lambda c: c["linux"].update(sysctl={"net.x/../../kernel.core_pattern": "x"}), "core_pattern"),
            (lambda c: c["root"].update(path="absent"), "root.path"),
            (lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), "RLIMIT_X"),
            (lambda c: c["linux"]["resources"].update(memory={"limit": "1"}), "memory.limit: '1'"),
            (lambda c: c["linux"]["seccomp"].update(defaultAction="SCMP_ACT_X"), "SCMP_ACT_X"),
        ],
    )
    def test_a_config_that_cannot_be_is_refused_by_name(self, make, change, words):
        with pytest.raises(InvalidConfig, match=words):
            make("true", change=change)

    def test_a_mount_that_fails_says_which(self, make):
        def wrong(config):
            config["mounts"].append({"destination": "/x", "type": "nosuchfs", "source": "none", "options": []})

        with pytest.raises(KernelError, match="nosuchfs.*ENODEV"):
            make("true", change=wrong)

    def test_a_user_that_is_not_there(self, make):
        def nobody(config):
            config["annotations"]["org.labrt.user"] = "mallory"

        with pytest.raises(ContainerError, match="'mallory'.*passwd"):
            make("true", change=nobody).start()

    def test_what_failed_leaves_nothing(self, make, labrt_root):
        with pytest.raises(InvalidConfig):
            make("true", change=lambda config: config["process"].update(cwd=""))
        with pytest.raises(KernelError):
            make("true", change=lambda c: c["mounts"].append({"destination": "/x", "type": "nosuchfs", "source": "n"}))
        assert not list((labrt_root / "run" / "containers").iterdir())
        assert not [path for path in cgroups_of("test") if str(os.getpid()) in path]

    def test_starting_twice_is_a_conflict(self, make):
        container = make("sleep", "300")
        container.start()
        with pytest.raises(Conflict, match="is running"):
            container.start()

    def test_deleting_what_runs_wants_force(self, make):
        container = make("sleep", "300")
        container.start()
        with pytest.raises(Conflict, match="rm -f"):
            container.delete()
        container.delete(force=True)
        with pytest.raises(ContainerNotFound):
            _ = container.state


def cgroups_of(prefix: str) -> list[str]:
    """All cgroups below /labrt whose name begins so."""
    found = []
    for tree in cgroups.detect().trees:
        directory = tree.directory("/labrt")
        if os.path.isdir(directory):
            found += [f"{directory}/{name}" for name in os.listdir(directory) if name.startswith(prefix)]
    return found


class TestSurvival:
    def test_the_container_outlives_its_launcher(self, make):
        container = make("sh", "-c", "sleep 0.2; echo alive; exit 6")
        container.start()
        launcher.default().close()
        assert container.wait(20) == 6
        assert log_reader.read(container.log)[0].text == "alive\n"

    def test_a_killed_monitor_takes_its_container_with_it_and_is_noticed(self, make):
        container = make("sleep", "300")
        container.start()
        state = container.state
        os.kill(state.monitor, signal.SIGKILL)
        eventually(lambda: not procfs.alive(state.pid, state.starttime) or procfs.stat(state.pid).state == "Z")
        now = container.state
        assert (now.status, now.exit_code) == ("stopped", 137)
        assert "monitor" in now.error
        container.delete()
        assert not cgroups_of(container.id)

    def test_a_killed_init_is_an_exit_like_any(self, make):
        container = make("sleep", "300")
        container.start()
        os.kill(container.state.pid, signal.SIGKILL)
        assert container.wait(20) == 137

    def test_a_killed_launcher_is_replaced(self, make, outcome):
        make("true")
        first = launcher.default()
        first.child.kill()
        first.child.wait()
        assert outcome(make("echo", "again"))[1] == "again\n"

    def test_orphans_are_no_concern_of_the_hosts(self, make, outcome):
        container = make("sh", "-c", "(sleep 300 &) ; exit 0")
        assert outcome(container)[0] == 0
        assert not cgroups_of(container.id)


def test_memory_limit_is_the_containers_end_and_is_told(make, outcome):
    def little(config):
        config["linux"]["resources"]["memory"] = {"limit": 20 << 20}

    container = make("sh", "-c", "tail /dev/zero", change=little)
    assert outcome(container)[0] != 0
    assert container.state.oom_killed


def test_clone3_sees_no_threads_of_the_caller(make, outcome):
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        assert outcome(make("echo", "fine"))[1] == "fine\n"
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_frames_are_cut_right_wherever_the_pieces_end():
    sent = wire.frame(1, b"abc") + wire.control(exit=3) + wire.frame(2, b"")
    unpacker = wire.Unpacker()
    got = [frame for byte in sent for frame in unpacker.feed(bytes([byte]))]
    assert got == [(1, b"abc"), (4, b'{"exit": 3}'), (2, b"")]


def test_a_frame_that_is_too_long_is_no_frame():
    with pytest.raises(ValueError, match="frame of"):
        list(wire.Unpacker().feed(b"\x01\x00\x00\x00\xff\xff\xff\xff"))


def test_process_exit_shows_itself():
    assert str(process.Exit(137, 9)) == "killed by SIGKILL"


def test_to_attach_to_one_that_ends_just_then_is_a_conflict(tmp_path):
    # Its monitor hangs up between our connect and our first word: it has ended, and that is what is said.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "attach.sock"))
    listener.listen()
    original = wire.control

    def hang_up_first(**message):
        listener.accept()[0].close()
        return original(**message)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Conflict, match="is not running"):
        patch.setattr(wire, "control", hang_up_first)
        Attachment.connect(str(tmp_path))
    listener.close()
