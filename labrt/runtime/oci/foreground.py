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

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# Those that are about ourselves, or that nobody can catch.
_OURS = {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGURG, signal.SIGSEGV, signal.SIGBUS,
         signal.SIGFPE, signal.SIGILL, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}  # fmt: skip


def become_subreaper() -> None:
    """Get what is orphaned below us: the children of a program that ends before them."""
    syscalls.prctl(PR_SET_CHILD_SUBREAPER, 1)


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
    poll = select.poll()
    for fd in (0, master, child.pidfd):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if 0 in ready and not _copy(0, master):
            poll.unregister(0)
        if master in ready and not _copy(master, 1):
            poll.unregister(master)  # nobody has the other end open any more
        elif child.pidfd in ready and master not in ready:
            return  # it has ended, and its last words are out


def _copy(source: int, target: int) -> bool:
    """Copy what is there; False at the end."""
    try:
        data = os.read(source, 1 << 16)
    except OSError:  # EIO: a terminal whose other end is closed
        return False
    while data:
        try:
            data = data[os.write(target, data) :]
        except OSError:
            return False
        if not data:
            return True
    return False
