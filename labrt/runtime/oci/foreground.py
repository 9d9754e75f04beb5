"""Being the parent of a program ourselves: `run` and `exec` without --detach.

    with forwarded(child): …     it gets the signals that we get
    wait(child)                  its strays reaped; returns its exit code
    wait(child, master)          the same, and its terminal is ours

See wait(2), signal(7), prctl(2) (PR_SET_CHILD_SUBREAPER), termios(3).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator

from labrt.errors import LabrtError
from labrt.linux import process, syscalls

# Those that are about ourselves, or that nobody can catch.
_OURS = {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGURG, signal.SIGSEGV, signal.SIGBUS,
         signal.SIGFPE, signal.SIGILL, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}  # fmt: skip


def become_subreaper() -> None:
    """Get what is orphaned below us: the children of a program that ends before them."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)


def wait(child: process.Child, master: int | None = None) -> int:
    """Wait for a child; return its exit code, 128 and the signal's number if one ended it."""
    if master is not None:
        _relay(child, master)
    return _reap(child.pid)


@contextlib.contextmanager
def forwarded(child: process.Child) -> Iterator[None]:
    """Hand every signal on that is not about ourselves."""
    before = {}
    for number in signal.valid_signals() - _OURS:
        with contextlib.suppress(OSError, ValueError):  # those of the C library's own
            before[number] = signal.signal(number, lambda received, _: child.kill(received))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reap(pid: int) -> int:
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            return process.Exit.from_status(status).code


def _relay(child: process.Child, master: int) -> None:
    """Be the container's terminal with our own stdin and stdout, until the child ends."""
    from labrt.linux import pty

    with contextlib.ExitStack() as undo:
        if os.isatty(0):
            undo.enter_context(pty.raw(0))
            _follow_size(master)
            before = signal.signal(signal.SIGWINCH, lambda *_: _follow_size(master))
            undo.callback(signal.signal, signal.SIGWINCH, before)
        _pump(child, master)
    os.close(master)


def _follow_size(master: int) -> None:
    from labrt.linux import pty

    with contextlib.suppress(LabrtError, OSError):
        pty.set_size(master, *pty.get_size(0))


def _pump(child: process.Child, master: int) -> None:
    """Copy both ways. Neither waits for the other: a program that does not read may be one that waits to write."""
    os.set_blocking(master, False)
    typed, poll = b"", select.poll()
    poll.register(0, select.POLLIN)
    poll.register(master, select.POLLIN)
    poll.register(child.pidfd, select.POLLIN)
    watched = True  # whether somebody may still type
    while True:
        ready = dict(poll.poll())
        if 0 in ready and not typed:
            typed = _read(0)
            watched = bool(typed)
        if typed:
            typed = typed[_write(master, typed) :]
        poll.register(0, select.POLLIN) if watched and not typed else _unregister(poll, 0)
        poll.register(master, select.POLLIN | (select.POLLOUT if typed else 0))
        shown = _read(master) if ready.get(master, 0) & ~select.POLLOUT else b""
        while shown:
            shown = shown[os.write(1, shown) :]
        if child.pidfd in ready and not ready.get(master, 0) & select.POLLIN:
            return  # it has ended, and its last words are out
        if ready.get(master, 0) & (select.POLLHUP | select.POLLERR) and not ready[master] & select.POLLIN:
            process.wait_for(child.pidfd)  # nobody has the other end open any more
            return


def _unregister(poll: select.poll, fd: int) -> None:
    with contextlib.suppress(KeyError):
        poll.unregister(fd)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except OSError:  # EIO: a terminal whose other end is closed
        return b""


def _write(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
    except OSError:
        return len(data)  # nobody is there to read it
