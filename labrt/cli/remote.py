"""The far end of a session: a container's monitor, or the terminal of an `exec`.

Both are non-blocking in what they are given: `put` keeps it, `flush` hands over what the other side takes. A side that
waits for the other while the other waits for it would hang for ever.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence

from labrt.errors import LabrtError
from labrt.linux import pty
from labrt.runtime import wire
from labrt.runtime.attachment import Attachment
from labrt.runtime.container import Execution
from labrt.shapes import Protocol

CHUNK = 1 << 16


class Remote(Protocol):
    """What a session asks of its far end."""

    pending: bytearray  # what was put and is not yet taken

    @property
    def running(self) -> bool:
        """Whether there is a program that can be signalled."""
        ...

    def fileno(self) -> int:
        """Return the descriptor that can be written to when there is room."""
        ...

    def readable(self) -> Sequence[int]:
        """Return the descriptors that announce output, or the end."""
        ...

    def put(self, data: bytes) -> None:
        """Give input to the program."""
        ...

    def end_input(self) -> None:
        """End the program's input."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal how large ours is."""
        ...

    def flush(self) -> None:
        """Hand over as much as the other side takes."""
        ...

    def receive(self) -> Iterator[tuple[int, bytes]] | None:
        """Return what has come, as (1 or 2, bytes); None at the end."""
        ...


class Attached:
    """A container's monitor: frames over its socket. `starting`: its program may not run yet."""

    def __init__(self, attachment: Attachment, *, starting: bool) -> None:
        self.attachment = attachment
        self.pending = bytearray()
        self._starting = starting
        # The same socket, once more: ours to send on without waiting, while the Attachment receives.
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(attachment.fileno()))

    @property
    def running(self) -> bool:
        """Whether its program is known to run."""
        return self.attachment.started or not self._starting

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self.attachment.fileno()

    def readable(self) -> Sequence[int]:
        """Return the socket's descriptor."""
        return (self.attachment.fileno(),)

    def put(self, data: bytes) -> None:
        """Frame input, for the monitor."""
        self.pending += wire.frame(wire.STDIN, data)
        self.flush()

    def end_input(self) -> None:
        """Frame the end of input: nothing."""
        self.put(b"")

    def resize(self, rows: int, columns: int) -> None:
        """Frame a new size."""
        self.pending += wire.control(resize=[rows, columns])
        self.flush()

    def flush(self) -> None:
        """Send without waiting. What cannot be sent any more is forgotten: the end will be received."""
        try:
            while self.pending:
                del self.pending[: self._sock.send(self.pending[:CHUNK], socket.MSG_DONTWAIT)]
        except BlockingIOError:
            return
        except OSError:
            self.pending.clear()

    def receive(self) -> Iterator[tuple[int, bytes]] | None:
        """Receive once."""
        return self.attachment.ready() if self.attachment.receive() else None

    def close(self) -> None:
        """Close our own descriptor; the Attachment has its own."""
        self._sock.close()


class Console:
    """The terminal of an `exec`. Its program's end is the end, whoever else still holds the terminal."""

    def __init__(self, execution: Execution) -> None:
        assert execution.master is not None, "an exec with pipes has no console"
        self.execution = execution
        self.master = execution.master
        self.pending = bytearray()
        os.set_blocking(self.master, False)

    @property
    def running(self) -> bool:
        """Whether its program is known to run: there would be no execution otherwise."""
        return True

    def fileno(self) -> int:
        """Return the terminal's descriptor."""
        return self.master

    def readable(self) -> Sequence[int]:
        """Return the terminal's descriptor, and the one that tells of the program's end."""
        return (self.master, self.execution.fileno())

    def put(self, data: bytes) -> None:
        """Type."""
        self.pending += data
        self.flush()

    def end_input(self) -> None:
        """A terminal's input has no end; who types Ctrl-D sends a byte."""

    def resize(self, rows: int, columns: int) -> None:
        """Set the size; the kernel tells the program."""
        with contextlib.suppress(LabrtError):
            pty.set_size(self.master, rows, columns)

    def flush(self) -> None:
        """Write without waiting."""
        try:
            while self.pending:
                del self.pending[: os.write(self.master, self.pending[:CHUNK])]
        except BlockingIOError:
            return
        except OSError:
            self.pending.clear()

    def receive(self) -> Iterator[tuple[int, bytes]] | None:
        """Read once; at the program's end, and when nobody has the terminal open any more, there is nothing."""
        try:
            data = os.read(self.master, CHUNK)
        except BlockingIOError:
            return None if self.execution.wait(0) is not None else iter(())
        except OSError:  # EIO: its last program has closed it
            return None
        return iter([(wire.STDOUT, data)])

    def close(self) -> None:
        """Close the terminal: what still runs in it gets SIGHUP."""
        os.close(self.master)
