r"""Being attached to a container: its output as it comes, its input, its terminal's size, its end.

    with container.attach(stdin=True) as attached:
        attached.start()
        attached.send(b"hello\n"); attached.end_input()
        for stream, data in attached.output(): …
        attached.exit_code

Several clients may be attached at once, and each may leave at any time: the container does not notice.
See wire.py for what goes over the socket.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Iterator

from labrt.errors import Conflict, ContainerError, LabrtError
from labrt.runtime import wire

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Attachment:
    """One client of a container's monitor. A context manager; `close` leaves the container as it is."""

    def __init__(self, sock: socket.socket, *, stdin: bool = False, output: bool = True) -> None:
        self.exit_code: int | None = None
        self.failure: LabrtError | None = None
        self.started = False
        self.done = False  # what was asked for
        self._frames = wire.Unpacker()
        self._ready: deque[tuple[int, bytes]] = deque()
        self._sock = sock
        self._sock.sendall(wire.control(stdin=stdin, output=output))

    @classmethod
    def connect(cls, sockets: str, *, stdin: bool = False, output: bool = True) -> Attachment:
        """Attach to a container whose monitor listens in the directory `sockets`. Raises Conflict if none does."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with wire.short_path(os.path.join(sockets, "attach.sock")) as path:
                sock.connect(path)
            return cls(sock, stdin=stdin, output=output)
        except OSError as error:  # nobody there, or it ended while we knocked
            sock.close()
            name = os.path.basename(sockets)[:12]
            raise Conflict(f"container {name} is not running", remedy="`labrt start` starts it") from error

    def fileno(self) -> int:
        """Return the socket's descriptor, for poll and select: readable means that `receive` will not wait."""
        return self._sock.fileno()

    def start(self) -> None:
        """Let the container's program begin. Output may come from now on; `output` and `wait` report a failure."""
        self._sock.sendall(wire.control(start=True))

    def send(self, data: bytes) -> None:
        """Give input to the container; waits while it does not read."""
        for begin in range(0, len(data), wire.LARGEST):
            self._sock.sendall(wire.frame(wire.STDIN, data[begin : begin + wire.LARGEST]))

    def end_input(self) -> None:
        """End the container's standard input."""
        self._sock.sendall(wire.frame(wire.STDIN, b""))

    def resize(self, rows: int, columns: int) -> None:
        """Tell the container's terminal how large it is."""
        self._sock.sendall(wire.control(resize=[rows, columns]))

    def ask(self, **order: object) -> None:
        """Have the monitor do something, and wait until it has. Raises what it says; Conflict when it has ended."""
        self._sock.sendall(wire.control(**order))
        while not self.done and not self.failure:
            if not self.receive():
                raise Conflict("the container has just ended", remedy="`labrt ps -a` says how")
        self.raise_failure()

    def receive(self) -> bool:
        """Read what has come; False when the monitor has hung up, which it does after the container's end."""
        try:
            data = self._sock.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        for stream, payload in self._frames.feed(data):
            if stream == wire.CONTROL:
                self._on_control(json.loads(payload))
            else:
                self._ready.append((stream, payload))
        return bool(data)

    def ready(self) -> Iterator[tuple[int, bytes]]:
        """Yield the output that has been received, as (wire.STDOUT or wire.STDERR, bytes)."""
        while self._ready:
            yield self._ready.popleft()

    def output(self) -> Iterator[tuple[int, bytes]]:
        """Yield output as it comes, until the container's end. Raises what kept it from starting."""
        more = True
        while more:
            more = self.receive()
            yield from self.ready()
        self.raise_failure()

    def wait_started(self) -> None:
        """Wait until the program runs. Raises CommandNotFound and the like when it does not."""
        while not (self.started or self.failure or self.exit_code is not None):
            if not self.receive() and not self.failure and self.exit_code is None:
                raise ContainerError("the container's monitor was killed", remedy="`labrt logs` shows what it had seen")
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what kept the container from starting, if anything did."""
        if self.failure:
            raise self.failure

    def _on_control(self, message: dict[str, Any]) -> None:
        self.started = self.started or "started" in message
        self.done = self.done or "done" in message
        if "failed" in message:
            self.failure = wire.error_from_json(message["failed"])
        if "exit" in message:
            self.exit_code = message["exit"]

    def close(self) -> None:
        """Leave."""
        self._sock.close()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
