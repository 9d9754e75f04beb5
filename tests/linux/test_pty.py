"""Pseudo-terminals: real ones, in the host's and in a container's devpts."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import time
from pathlib import Path

import pytest

from labrt.errors import Conflict, InvalidInput, KernelError, NotFound
from labrt.linux import process, pty, syscalls


def read_until(fd: int, wanted: bytes) -> bytes:
    """Read a terminal until something came, for at most ten seconds."""
    seen = b""
    while wanted not in seen:
        assert select.select([fd], [], [], 10)[0], f"{wanted!r} never came: {seen!r}"
        seen += os.read(fd, 4096)
    return seen


def test_both_ends_are_one_terminal_and_not_inherited() -> None:
    with pty.open_in() as pair:
        assert os.ttyname(pair.peer) == f"/dev/pts/{pair.number}"
        assert not os.get_inheritable(pair.master) and not os.get_inheritable(pair.peer)
        os.write(pair.peer, b"hello\n")
        assert read_until(pair.master, b"hello\r\n") == b"hello\r\n"
        os.write(pair.master, b"typed\n")
        assert os.read(pair.peer, 100) == b"typed\n"
        master, peer = pair.master, pair.peer
    for fd in (master, peer):
        with pytest.raises(OSError):
            os.fstat(fd)
    pair.close()


@pytest.mark.root
def test_a_containers_own_devpts(tmp_path: Path) -> None:
    def look() -> tuple[list[int], list[str], bool]:
        syscalls.mount("devpts", tmp_path, "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5")
        with pty.open_in(str(tmp_path)) as first, pty.open_in(str(tmp_path)) as second:
            names = sorted(name for name in os.listdir(tmp_path) if name != "ptmx")
            same = os.fstat(first.peer).st_dev == os.stat(tmp_path).st_dev
            return [first.number, second.number], names, same

    assert process.run_in_child(look, namespaces="mnt") == ([0, 1], ["0", "1"], True)


@pytest.mark.root
def test_the_peer_is_opened_by_the_kernel_not_by_its_path(tmp_path: Path) -> None:
    """Something mounted over the container's /dev/pts/0 must not become our terminal."""

    def look() -> tuple[bool, bytes]:
        syscalls.mount("devpts", tmp_path, "devpts", 0, "newinstance,ptmxmode=0666")
        with pty.open_in(str(tmp_path)):
            syscalls.mount("/dev/null", tmp_path / "0", None, 4096)
        with pty.open_in(str(tmp_path)) as pair:
            os.write(pair.peer, b"x\n")
            return os.isatty(pair.peer), os.read(pair.master, 10)

    assert process.run_in_child(look, namespaces="mnt") == (True, b"x\r\n")


@pytest.mark.root
def test_an_ordinary_user_has_the_hosts_terminals() -> None:
    def look() -> tuple[bool, int]:
        os.setgid(65534)
        os.setuid(65534)
        with pty.open_in() as pair:
            return os.isatty(pair.peer), os.fstat(pair.peer).st_uid

    if not os.stat("/dev/ptmx").st_mode & 0o002:
        pytest.skip("/dev/ptmx is not open to everybody here")
    assert process.run_in_child(look) == (True, 65534)


def test_no_devpts_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no devpts file system"):
        pty.open_in(str(tmp_path))


def test_a_file_in_its_place(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "ptmx").touch()
    with pytest.raises(KernelError, match="ENOTTY"):
        pty.open_in(str(tmp_path))
    (tmp_path / "ptmx").unlink()
    (tmp_path / "ptmx").symlink_to("/dev/pts/ptmx")
    with pytest.raises(KernelError, match="ELOOP"):
        pty.open_in(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_sizes() -> None:
    with pty.open_in() as pair:
        assert pty.get_size(pair.peer) == (0, 0)
        pty.set_size(pair.master, 24, 80)
        assert pty.get_size(pair.peer) == pty.get_size(pair.master) == (24, 80) == os.get_terminal_size(pair.peer)[::-1]
        for size in ((-1, 80), (24, 65536)):
            with pytest.raises(InvalidInput, match="cannot have"):
                pty.set_size(pair.master, *size)


def test_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with open(file) as stream:
        for call in (lambda: pty.get_size(stream.fileno()), lambda: pty.set_size(stream.fileno(), 1, 1)):
            with pytest.raises(KernelError, match="no terminal: run without -t"):
                call()
        with pytest.raises(KernelError, match="no terminal"), pty.raw(stream.fileno()):
            pytest.fail("the block must not run")


def test_a_controlling_terminal_signals_its_session() -> None:
    with pty.open_in() as pair:

        def body() -> int:
            got: list[int] = []
            signal.signal(signal.SIGINT, lambda number, _: got.append(number))
            signal.signal(signal.SIGWINCH, lambda number, _: got.append(number))
            pty.make_controlling(pair.peer)
            ours = (os.getsid(0), os.getpgrp(), os.tcgetpgrp(pair.peer))
            with open("/dev/tty", "w") as terminal:
                print("ready", file=terminal, flush=True)
            while len(got) < 2:
                signal.pause()
            return 0 if ours == (os.getpid(),) * 3 and got == [signal.SIGWINCH, signal.SIGINT] else 1

        with process.spawn(body) as child:
            read_until(pair.master, b"ready")
            pty.set_size(pair.master, 10, 20)
            while not Path(f"/proc/{child.pid}/stat").read_text().split(") ")[1].startswith("S"):
                select.select([], [], [], 0.01)
            os.write(pair.master, b"\x03")
            assert child.wait(10) == (0, 0)


def test_it_takes_a_session_leader_to_have_one() -> None:
    with pty.open_in() as pair:

        def look() -> str:
            os.setpgid(0, 0)
            try:
                pty.make_controlling(pair.peer)
            except Conflict as error:
                return str(error)
            return "allowed"

        assert "fork" in process.run_in_child(look)

        def twice() -> int:
            pty.make_controlling(pair.peer)
            pty.make_controlling(pair.peer)  # a session leader already: harmless
            return os.tcgetsid(pair.peer) if hasattr(os, "tcgetsid") else os.getsid(0)

        assert process.run_in_child(twice) > 0


def test_raw_lets_every_key_through_and_comes_back() -> None:
    with pty.open_in() as pair:
        before = termios.tcgetattr(pair.peer)
        with pty.raw(pair.peer):
            os.write(pair.master, b"\x03")
            assert os.read(pair.peer, 10) == b"\x03"
            assert not termios.tcgetattr(pair.peer)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        assert termios.tcgetattr(pair.peer) == before
        with pytest.raises(ZeroDivisionError), pty.raw(pair.peer):
            raise ZeroDivisionError
        assert termios.tcgetattr(pair.peer) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_deadly_signal_restores_the_terminal_first(number: signal.Signals) -> None:
    with pty.open_in() as pair:
        before = termios.tcgetattr(pair.peer)

        def body() -> None:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for deadly in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(deadly, signal.SIG_DFL)
            with pty.raw(pair.peer):
                os.write(pair.peer, b"ready\n")
                while True:  # not pause(): a signal just before it would be noticed at the next one only
                    time.sleep(0.05)

        with process.spawn(body) as child:
            read_until(pair.master, b"ready")
            assert termios.tcgetattr(pair.peer) != before
            child.kill(number)
            assert child.wait(10) == (128 + number, number)
        assert termios.tcgetattr(pair.peer) == before


def test_signals_that_somebody_handles_stay_his() -> None:
    def mine(_number: int, _frame: object) -> None: ...

    old = signal.signal(signal.SIGTERM, mine)
    try:
        with pty.open_in() as pair, pty.raw(pair.peer):
            assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, old)


def test_a_descriptor_goes_over_a_socket() -> None:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with ours, theirs:
        pty.send_fd(ours, write, "/dev/pts/0")
        os.close(write)
        fd, name = pty.receive_fd(theirs)
        assert name == "/dev/pts/0" and not os.get_inheritable(fd)
        os.write(fd, b"through")
        assert os.read(read, 10) == b"through"
        os.close(fd)
        pty.send_fd(ours, read)
        fd, name = pty.receive_fd(theirs)
        assert name == ""
        os.close(fd)
    os.close(read)


@pytest.mark.parametrize("count", [0, 2])
def test_something_else_came_over_the_socket(count: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = len(os.listdir("/proc/self/fd"))
        if count:
            socket.send_fds(ours, [b"x"], [0] * count)
        else:
            ours.send(b"just words")
        with pytest.raises(NotFound, match=f"{count} of them"):
            pty.receive_fd(theirs)
        assert len(os.listdir("/proc/self/fd")) == before
        ours.close()
        with pytest.raises(NotFound, match="the end came"):
            pty.receive_fd(theirs)


def test_nobody_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(BrokenPipeError, match="SCM_RIGHTS"):
        pty.send_fd(ours, sys.__stdin__.fileno() if sys.__stdin__ else 0)
