"""Pseudo-terminals: a terminal without hardware, between a container's program and whoever watches it.

    open_in(devpts)        a new pair, of the devpts instance that you name
    make_controlling(fd)   in the child: a new session, with this as its controlling terminal
    raw(fd)                every key goes through as it is typed; the old settings come back whatever happens
    get_size, set_size     rows and columns; the program gets SIGWINCH
    send_fd, receive_fd    hand a descriptor to another process: the OCI's console socket

The *master* is the watcher's end; the *peer* (older texts: slave) is what the program has as its terminal. All
descriptors are close-on-exec. See pty(7), pts(4), ioctl_tty(2), termios(3), unix(7).
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from types import FrameType

from labrt.errors import Conflict, InvalidInput, NotFound, kernel_error
from labrt.shapes import Record

# asm-generic/ioctls.h, the same on x86 and ARM; Python's termios lacks them.
TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER = 0x8004_5430, 0x4004_5431, 0x5441


class Pty(Record):
    """Both ends of a pseudo-terminal, and its number N: /dev/pts/N in its own devpts. Closed by `with`."""

    master: int
    peer: int
    number: int

    def close(self) -> None:
        """Close both ends; harmless for one that is closed already."""
        for fd in (self.master, self.peer):
            with contextlib.suppress(OSError):
                os.close(fd)

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_in(devpts: str = "/dev/pts") -> Pty:
    """Make a pair in the devpts file system mounted at `devpts`: a container's programs can only open their own's.

    Raises NotFound when no devpts is there. The peer belongs to the caller's uid and to the gid that devpts was mounted
    with (5, tty); os.fchown gives it to the container's user.
    """
    with _explained(f"open({os.path.join(devpts, 'ptmx')!r})", devpts):
        master = _open_ptmx(devpts)
    try:
        with _explained(f"ioctl({master}, TIOCGPTPEER)", devpts):
            fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))  # it is born locked, see unlockpt(3)
            (number,) = struct.unpack("I", fcntl.ioctl(master, TIOCGPTN, bytes(4)))
            # By the master and not by the path /dev/pts/N: a container could have put something else there.
            pair = Pty(master, fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC), number)
    except BaseException:
        os.close(master)
        raise
    if os.fstat(pair.peer).st_dev != os.stat(devpts).st_dev:
        pair.close()
        raise NotFound(f"{devpts!r} is not the devpts file system that its ptmx belongs to", remedy="mount one there")
    return pair


def _open_ptmx(devpts: str) -> int:
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(os.path.join(devpts, "ptmx"), flags)
    except PermissionError:
        # The host's /dev/pts/ptmx is for nobody (mode 0). Everybody may open /dev/ptmx, which is the same: the kernel
        # takes the devpts that is called `pts` beside it.
        if os.path.basename(os.path.normpath(devpts)) != "pts":
            raise
        return os.open(os.path.join(os.path.dirname(os.path.normpath(devpts)), "ptmx"), flags & ~os.O_NOFOLLOW)


@contextlib.contextmanager
def _explained(call: str, devpts: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        remedy = 'mounts.mount("devpts", it, "devpts", …, "newinstance,ptmxmode=0666") makes one'
        raise NotFound(f"no devpts file system is mounted at {devpts!r}", remedy=remedy) from error
    except OSError as error:
        remedy = "see /proc/sys/kernel/pty/max and nr, and the mount options ptmxmode and max of devpts"
        raise kernel_error(call, error.errno or 0, remedy=remedy) from error


def get_size(fd: int) -> tuple[int, int]:
    """Rows and columns of a terminal; (0, 0) when nobody ever set them."""
    with _terminal(fd, "TIOCGWINSZ"):
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set rows and columns by either end; the foreground program is told by SIGWINCH if they changed."""
    if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
        raise InvalidInput(f"a terminal cannot have {rows} rows and {columns} columns", remedy="0 to 65535 of each")
    with _terminal(fd, "TIOCSWINSZ"):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def make_controlling(fd: int) -> None:
    """Begin a session, whose controlling terminal this is: Ctrl-C and Ctrl-Z on it now signal our process group.

    For a child before it executes something: the leader of a process group cannot begin a session (Conflict), unless
    it leads a session already.
    """
    if os.getsid(0) != os.getpid():
        try:
            os.setsid()
        except PermissionError as error:
            remedy = "fork, and do it in the child"
            raise Conflict("a process group leader cannot begin a session", remedy=remedy) from error
    with _terminal(fd, "TIOCSCTTY"):
        fcntl.ioctl(fd, termios.TIOCSCTTY, 0)  # 0: do not steal it from another session


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Give every key to the reader as it is typed: no echo, no line editing, no signals from Ctrl-C.

    The old settings come back at the end of the block, after an exception, and also when SIGTERM, SIGHUP or SIGQUIT
    ends the process (in the main thread, if nobody else handles them): a shell that does not echo helps nobody.
    """
    import tty

    with _terminal(fd, "TCGETS"):
        before = termios.tcgetattr(fd)

    def restore() -> None:
        # The terminal may be gone by now. TCSAFLUSH would throw away what was typed ahead.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)

    with _at_death(restore):
        try:
            with _terminal(fd, "TCSETS"):
                tty.setraw(fd, termios.TCSADRAIN)
            yield
        finally:
            restore()


@contextlib.contextmanager
def _at_death(restore: Callable[[], None]) -> Iterator[None]:
    """Call `restore` before a signal that nobody handles ends us; then let it."""

    def last_words(number: int, _frame: FrameType | None) -> None:
        restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    import threading

    signals: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        deadly = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        signals = [number for number in deadly if signal.getsignal(number) is signal.SIG_DFL]
    for number in signals:
        signal.signal(number, last_words)
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _terminal(fd: int, request: str) -> Iterator[None]:
    try:
        yield
    except (OSError, termios.error) as error:
        number = error.args[0]
        remedy = "" if os.isatty(fd) else f"descriptor {fd} is no terminal: run without -t, or from one"
        raise kernel_error(f"ioctl({fd}, {request})", number, remedy=remedy) from error


def send_fd(over: socket.socket, fd: int, name: str = "") -> None:
    """Send a descriptor over a Unix socket, with a name as the message (runc sends the terminal's path).

    The receiver gets a new descriptor of the same open file; ours stays open.
    """
    try:
        socket.send_fds(over, [name.encode() or b"\0"], [fd])
    except OSError as error:
        remedy = "is the other end still there?"
        raise kernel_error(f"sendmsg(SCM_RIGHTS, {fd})", error.errno or 0, remedy=remedy) from error


def receive_fd(over: socket.socket) -> tuple[int, str]:
    """Receive one descriptor and the name that came with it. Raises NotFound when something else came, or nothing."""
    fds = array.array("i")
    room = socket.CMSG_SPACE(8 * fds.itemsize)
    try:
        # Not socket.recv_fds: it forgets its flags, and a child made by another thread would inherit the descriptor.
        message, ancillary, flags, _ = over.recvmsg(4096, room, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise kernel_error("recvmsg(SCM_RIGHTS)", error.errno or 0) from error
    for level, kind, raw_fds in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(raw_fds[: len(raw_fds) // fds.itemsize * fds.itemsize])
    if len(fds) == 1 and not flags & socket.MSG_CTRUNC:
        return fds[0], message.rstrip(b"\0").decode(errors="replace")
    for fd in fds:
        os.close(fd)
    came = f"{len(fds)} of them and {len(message)} bytes" if fds or message else "the end"
    raise NotFound(f"one descriptor should have come over the socket, but {came} came")
