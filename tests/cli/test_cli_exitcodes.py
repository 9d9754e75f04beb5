"""One function from exceptions to exit codes: as a table, and as real commands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import click
import pytest

from labrt import errors
from labrt.cli import exitcodes

TABLE = [
    (errors.CommandNotFound("x"), "run", 127),
    (errors.CommandNotFound("x"), "exec", 127),
    (errors.CommandNotExecutable("x"), "run", 126),
    (errors.ContainerError("x"), "run", 125),
    (errors.ImageNotFound("x"), "run", 125),
    (errors.kernel_error("mount()", 1), "run", 125),
    (errors.kernel_error("write()", 32), "run", 125),  # also a BrokenPipeError, but not of our own output
    (errors.InvalidInput("x"), "create", 125),
    (errors.ImageNotFound("x"), "pull", 1),
    (errors.ContainerNotFound("x"), "exec", 1),
    (exitcodes.NoTerminal("x"), "run", 1),
    (click.UsageError("x"), "ps", 125),
    (click.exceptions.Exit(0), "ps", 0),
    (SystemExit(3), "ps", 3),
    (KeyboardInterrupt(), "pull", 130),
    (click.Abort(), "reset", 130),
    (BrokenPipeError(), "ps", 141),
    (exitcodes.Terminated(signal.SIGTERM), "run", 143),
    (exitcodes.Terminated(signal.SIGHUP), "logs", 129),
    (OSError(28, "No space left on device"), "run", 125),
    (RuntimeError("x"), "run", 125),
    (RuntimeError("x"), "ps", 1),
]


@pytest.mark.parametrize(("error", "command", "code"), TABLE)
def test_table(error, command, code):
    assert exitcodes.of(error, command) == code


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError(), click.Abort(), click.exceptions.Exit(0)])
def test_some_speak_for_themselves(error):
    assert exitcodes.message(error) == ""


def test_messages_are_one_line_with_the_remedy(capfd):
    exitcodes.say(errors.Conflict("two\nlines", remedy="do\nthis"))
    assert capfd.readouterr().err == "labrt: two lines (do this)\n"
    assert exitcodes.message(OSError(28, "No space left on device", "/x")) == "No space left on device: /x"
    assert "mistake in labrt: RuntimeError: x" in exitcodes.message(RuntimeError("x"))


@pytest.mark.root
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 77"], 77),
        (["nosuch"], 127),
        (["/nosuch"], 127),
        (["/etc/passwd"], 126),
        (["sh", "-c", "ulimit -t 1; while :; do :; done"], 128 + signal.SIGKILL),
    ],
)
def test_run(cli, command, code):
    done = cli("run", "--rm", "busybox", *command)
    assert done.code == code and done.out == ""
    assert bool(done.err) == (code in (126, 127)) and cli.containers() == []
    if done.err:
        assert done.err.startswith("labrt: ") and done.err.count("\n") == 1 and "(" in done.err


@pytest.mark.root
@pytest.mark.parametrize(
    "arguments",
    [
        ["--pull", "never", "nosuch"],
        ["--name", "x", "busybox"],
        ["-m", "1k", "busybox"],
        ["--platform", "a/b/c/d", "busybox"],
        ["-v", "./relative:/data", "busybox"],
        ["-e", "=x", "busybox"],
        ["Busybox"],
    ],
)
def test_what_run_itself_refuses_is_125(cli, arguments):
    done = cli("run", *arguments)
    assert done.code == 125 and done.out == "" and cli.containers() == []
    assert done.err.startswith("labrt: ") and done.err.count("\n") == 1


@pytest.mark.root
@pytest.mark.parametrize("command", ["logs", "stop", "kill", "start", "wait", "rm", "rmi", "inspect", "attach"])
def test_what_is_not_there_is_1(cli, command):
    done = cli(command, "nosuch")
    assert done.code == 1 and done.out in ("", "[]\n")
    assert done.err.startswith("labrt: ") and "nosuch" in done.err and done.err.count("\n") == 1


@pytest.mark.root
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_in_the_middle_of_a_pull(cli, number, code):
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = cli.start("pull", f"127.0.0.1:{server.getsockname()[1]}/silent", start_new_session=True)
        connection, _ = server.accept()  # it waits for an answer now
        with connection:
            os.kill(process.pid, number)
            _, err = process.communicate(timeout=60)
    assert process.returncode == code and b"Traceback" not in err and b"\n" not in err.strip()


@pytest.mark.root
@pytest.mark.parametrize("command", ["ps", "images", "--help", "inspect busybox"])
def test_a_reader_that_went_away_is_no_error_to_talk_of(cli, command):
    reader, writer = os.pipe()
    os.close(reader)
    process = cli.start(*command.split(), stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=60)[1] == b"" and process.returncode == 141


@pytest.mark.root
def test_closed_descriptors(cli):
    for how in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
        line = f'exec "$0" -m labrt run --rm -i busybox sh -c "cat; echo out; echo err >&2; exit 9" {how}'
        done = subprocess.run(["sh", "-c", line, cli.python], env=cli.env, capture_output=True, input=b"", timeout=60)
        assert done.returncode == 9, how
        assert done.stdout == (b"" if ">&-" in how.split() else b"out\n")
        assert done.stderr == (b"" if "2>&-" in how else b"err\n")
