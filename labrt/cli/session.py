"""The pump between us and a program in a container: our input to it, its output to us, signals and sizes on the side.

    outcome = Session(remote, stdin=0, raw=True).run()

One loop around poll(2), without threads. It never waits for one side alone: it reads more input only when the last
piece has been taken, and while our own output is not read, it still hears signals.

With `raw` our terminal passes every key on, Ctrl-C too, and the far end's terminal makes of it what it will; `keys`
(Ctrl-P Ctrl-Q) leave, and the container goes on. Without, signals are forwarded by `forward`. See tty_ioctl(4), pty(7).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Collection
from enum import Enum

from labrt.cli import signals
from labrt.cli.remote import CHUNK, Remote
from labrt.engine.keys import Keys
from labrt.errors import LabrtError
from labrt.linux import pty

DETACH_KEYS = b"\x10\x11"  # Ctrl-P Ctrl-Q
PATIENCE = 3  # of these signals, and we leave, whatever the container makes of them
READY = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL


class Outcome(Enum):
    """How a session ended."""

    ENDED = "the far end hung up"
    DETACHED = "the user left"
    UNREAD = "nobody reads our output any more"
    FORCED = "the user insisted"


class _Left(Exception):
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


class Session:
    """One session. `stdin` None: the program gets no input from us. `size` gives rows and columns, or None.

    `shown` are the streams whose output we write, 1 and 2.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        stdin: int | None = None,
        raw: bool = False,
        forward: Callable[[int], None] | None = None,
        size: Callable[[], tuple[int, int] | None] | None = None,
        keys: bytes = DETACH_KEYS,
        shown: Collection[int] = (1, 2),
    ) -> None:
        self.remote, self.stdin, self.raw = remote, stdin, raw
        self._keys, self._shown = Keys(keys), shown
        self.last_signal = 0
        self._forward, self._size = forward, size
        self._insisted = 0
        self._held: list[int] = []  # signals for a program that does not run yet
        self._wake = -1

    def run(self) -> Outcome:
        """Pump until the end. The terminal is as it was, and signals do what they did, when this returns or raises."""
        numbers = [*(signals.FORWARDED if self._forward else ()), *((signal.SIGWINCH,) if self._size else ())]
        with contextlib.ExitStack() as stack:
            if self.raw:
                assert self.stdin is not None, "raw mode is of the terminal that is typed at"
                stack.enter_context(pty.raw(self.stdin))
            self._wake = stack.enter_context(signals.caught(numbers))
            self._resize()
            try:
                while self._turn():
                    self._release()
            except _Left as left:
                return left.outcome
        return Outcome.ENDED

    def _turn(self) -> bool:
        """Wait for the next thing to happen, and do what is to do; False at the end."""
        remote, poll = self.remote, select.poll()
        poll.register(self._wake, select.POLLIN)
        for fd in remote.readable():
            poll.register(fd, select.POLLIN)
        if remote.pending:
            poll.register(remote.fileno(), select.POLLIN | select.POLLOUT)
        elif self.stdin is not None:
            poll.register(self.stdin, select.POLLIN)
        ready = dict(poll.poll())
        if self._wake in ready:
            self._on_signals()
        if ready.get(remote.fileno(), 0) & select.POLLOUT:
            remote.flush()
        if self.stdin is not None and self.stdin in ready:
            self._read_input(self.stdin)
        if any(ready.get(fd, 0) & READY for fd in remote.readable()):
            return self._read_output()
        return True

    # Output

    def _read_output(self) -> bool:
        came = self.remote.receive()
        for stream, data in came or ():
            if stream in self._shown:
                self._write(stream, data)
        return came is not None

    def _write(self, fd: int, data: bytes) -> None:
        """Write everything, and still hear signals while nobody reads."""
        view, poll = memoryview(data), select.poll()
        poll.register(fd, select.POLLOUT)
        poll.register(self._wake, select.POLLIN)
        while view:
            ready = dict(poll.poll())
            if self._wake in ready:
                self._on_signals()
            if fd in ready:
                # A pipe that poll calls writable takes this much without waiting: pipe(7), PIPE_BUF.
                with contextlib.suppress(BlockingIOError):
                    view = view[self._write_some(fd, view[: select.PIPE_BUF]) :]

    def _write_some(self, fd: int, data: memoryview) -> int:
        try:
            return os.write(fd, data)
        except BlockingIOError:
            raise
        except OSError as error:  # EPIPE: `| head -1` has enough. EIO: the terminal is gone. ENOSPC: the disk is full.
            raise _Left(Outcome.UNREAD) from error

    # Input

    def _read_input(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # closed, or a terminal that is gone
            data = b""
        if not data:
            self.stdin = None
            self.remote.end_input()
        elif self.raw:
            self._type(data)
        else:
            self.remote.put(data)

    def _type(self, data: bytes) -> None:
        """Pass keys on, up to those that leave."""
        typed, left = self._keys.feed(data)
        if typed:
            self.remote.put(typed)
        if left:
            raise _Left(Outcome.DETACHED)

    # Signals

    def _on_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wake, 512):
                if number == signal.SIGWINCH:
                    self._resize()
                elif self._forward and number in signals.FORWARDED:
                    self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        self.last_signal = number
        self._insisted += number in (signal.SIGINT, signal.SIGTERM)
        if self._insisted >= PATIENCE:
            raise _Left(Outcome.FORCED)
        self._held.append(number)
        self._release()

    def _release(self) -> None:
        """Forward what came in, once there is a program that can hear it."""
        while self._held and self.remote.running and self._forward:
            with contextlib.suppress(LabrtError):  # it has just ended
                self._forward(self._held.pop(0))

    def _resize(self) -> None:
        size = self._size() if self._size else None
        if size:
            self.remote.resize(*size)
