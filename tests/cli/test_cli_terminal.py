"""In front of a terminal: sizes, keys, leaving, and that it is as it was afterwards."""

from __future__ import annotations

import os
import signal

import pytest

pytestmark = pytest.mark.root
CTRL_C, CTRL_D, CTRL_P, CTRL_Q = "\x03", "\x04", "\x10", "\x11"


def shell(cli, *options: str, **how):
    """A shell in a terminal, at its prompt."""
    terminal = cli.terminal("run", "-it", *options, "busybox", "sh", **how)
    terminal.expect("# ")
    return terminal


def interrupt_cat(terminal):
    """Type Ctrl-C when `cat` has the terminal and no longer the shell: it gives back what is typed."""
    terminal.type("meow\n")
    terminal.expect("meow\r\n")
    terminal.expect("meow\r\n")
    terminal.type(CTRL_C)


def test_a_shell(cli):
    terminal = shell(cli, "--rm")
    terminal.type("tty; echo $TERM; exit 6\n")
    terminal.expect("/dev/pts/0\r\n")
    terminal.expect("xterm\r\n")
    assert terminal.wait() == 6 and cli.containers() == []


def test_the_size_is_ours_from_the_start_and_follows(cli):
    terminal = cli.terminal("run", "--rm", "-it", "busybox", "sh", "-c", "stty size; exec sh", rows=33, columns=111)
    terminal.expect("33 111\r\n")
    terminal.expect("# ")
    terminal.resize(44, 122)
    # The size travels by way of the monitor: ask until it has come.
    terminal.type("until stty size | grep -x '44 122'; do sleep 0.05; done; echo fol''lowed\n")
    terminal.expect("44 122\r\n")
    terminal.expect("followed")
    terminal.type("exit\n")
    assert terminal.wait() == 0


def test_ctrl_c_is_a_key(cli):
    terminal = shell(cli, "--rm")
    terminal.type("echo go''ing; cat\n")
    terminal.expect("going\r\n")
    interrupt_cat(terminal)
    terminal.expect("# ")  # what is typed before the prompt, the shell throws away
    terminal.type("exit $?\n")
    assert terminal.wait() == 130


def test_ctrl_d_ends_the_shell(cli):
    terminal = shell(cli, "--rm")
    terminal.type(CTRL_D)
    assert terminal.wait() == 0 and cli.containers() == []


def test_leaving_and_coming_back(cli):
    terminal = shell(cli, "--name", "shell")
    terminal.type(CTRL_P)
    terminal.type("x" + CTRL_P + CTRL_Q)
    terminal.expect("read escape sequence")
    assert terminal.wait() == 0 and cli.status("shell") == "running"
    again = cli.terminal("attach", "shell")
    again.type("\nexit 9\n")
    assert again.wait() == 9 and cli.status("shell") == "exited"


def test_ctrl_p_alone_arrives(cli):
    script = "stty raw -echo; echo ready; head -c 2 | od -t x1"
    terminal = cli.terminal("run", "--rm", "-it", "busybox", "sh", "-c", script)
    terminal.expect("ready")
    terminal.type(CTRL_P)
    terminal.type("a")
    terminal.expect("10 61")
    assert terminal.wait() == 0


def test_start_with_its_terminal(cli):
    cli.ok("create", "-it", "--name", "shell", "busybox")
    terminal = cli.terminal("start", "-ai", "shell")
    terminal.expect("# ")
    terminal.type("exit 3\n")
    assert terminal.wait() == 3


def test_a_terminal_without_input(cli):
    terminal = cli.terminal("run", "--rm", "-t", "busybox", "sh", "-c", "tty; exit 5")
    terminal.expect("/dev/pts/0\r")
    assert terminal.wait() == 5


def test_ctrl_c_without_a_terminal_inside_is_a_signal(cli):
    script = "trap 'exit 8' INT; echo ready; while :; do sleep 0.05; done"
    terminal = cli.terminal("run", "--rm", "-i", "busybox", "sh", "-c", script)
    terminal.expect("ready")
    terminal.type(CTRL_C)
    assert terminal.wait() == 8


def test_it_needs_a_terminal_to_type_at(cli):
    for command in (["run", "-it", "busybox"], ["run", "--rm", "-ti", "busybox", "sh"]):
        done = cli(*command)
        assert done.code == 1 and "the input device is not a TTY" in done.err and cli.containers() == []
    cli.ok("run", "-d", "--name", "nap", "busybox", "sleep", "1000")
    done = cli("exec", "-it", "nap", "sh")
    assert done.code == 1 and "the input device is not a TTY" in done.err


def test_t_alone_needs_none(cli):
    done = cli("run", "--rm", "-t", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert done == (0, "out\r\nerr\r\n", "")  # one stream, with a terminal's line ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_client_that_is_ended_restores_the_terminal(cli, number):
    terminal = shell(cli, "--name", "shell")
    terminal.process.send_signal(number)
    assert terminal.wait() == 128 + number and cli.status("shell") == "running"


def test_exec(cli):
    cli.ok("run", "-d", "--name", "nap", "busybox", "sleep", "1000")
    terminal = cli.terminal("exec", "-it", "nap", "sh", "-c", "stty size; exec sh", rows=30, columns=100)
    terminal.expect("30 100\r\n")
    terminal.expect("# ")
    terminal.resize(31, 101)
    terminal.type("until stty size | grep -x '31 101'; do sleep 0.05; done; echo $TERM; cat\n")
    terminal.expect("xterm\r\n")
    interrupt_cat(terminal)
    terminal.expect("# ")
    terminal.type("exit 11\n")
    assert terminal.wait() == 11 and cli.status("nap") == "running"


def test_leaving_an_exec(cli):
    cli.ok("run", "-d", "--name", "nap", "busybox", "sleep", "1000")
    terminal = cli.terminal("exec", "-it", "nap", "sh")
    terminal.expect("# ")
    terminal.type(CTRL_P + CTRL_Q)
    terminal.expect("read escape sequence")
    assert terminal.wait() == 0 and cli.status("nap") == "running"


def test_reset_asks_first(cli):
    cli.ok("run", "-d", "--name", "nap", "busybox", "sleep", "1000")
    terminal = cli.terminal("reset")
    terminal.expect("nap. Go on? [y/N]")
    terminal.type("n\n")
    assert terminal.wait() == 1 and cli.status("nap") == "running"
    terminal = cli.terminal("reset")
    terminal.expect("Go on? [y/N]")
    terminal.type("y\n")
    terminal.expect("taken down")
    assert terminal.wait() == 0 and cli.containers() == []


def test_logs_that_are_followed_end_with_ctrl_c(cli):
    cli.ok("run", "-d", "--name", "talk", "busybox", "sh", "-c", "echo hello; exec sleep 1000")
    terminal = cli.terminal("logs", "-f", "talk")
    terminal.expect("hello")
    terminal.type(CTRL_C)
    assert terminal.wait() == 130 and cli.status("talk") == "running"
    assert "Traceback" not in terminal.seen


def test_a_hangup_of_the_terminal_leaves_the_container(cli):
    terminal = shell(cli, "--name", "shell")
    pid = terminal.process.pid
    os.close(terminal.pair.master)  # the window is closed: SIGHUP, and EIO from then on
    terminal.process.wait(60)
    assert not os.path.exists(f"/proc/{pid}") and cli.status("shell") == "running"
