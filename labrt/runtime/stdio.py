"""The monitor's switchboard: between a container's stdio, its log, and whoever is attached.

    container stdout, stderr (or terminal) ──► log, and every client
    client                                 ──► container stdin (or terminal)

Nothing here blocks: the monitor must notice the container's end whatever a client does. So that nothing piles up in
memory either, a side that does not read makes the other side wait, as a pipe would.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
from collections.abc import Callable

from labrt.runtime import log, wire

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

CHUNK = 1 << 16
FULL = 1 << 20  # bytes waiting for one reader; from here on its writer waits
NAMES = {wire.STDOUT: "stdout", wire.STDERR: "stderr"}


class Client:
    """One attached client: what is on its way to it, and whether its input goes to the container."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.frames = wire.Unpacker()
        self.waiting = bytearray()
        self.gives_stdin = False
        self.wants_output = True
        self.leaving = False  # it is hung up on as soon as it has read everything


class Switchboard:
    """Moves bytes. `on_control` is called with a client and its control messages."""

    def __init__(
        self, selector: selectors.BaseSelector, writer: log.Writer, on_control: Callable[[Client, dict[str, Any]], None]
    ) -> None:
        self._selector = selector
        self._log = writer
        self._on_control = on_control
        self.clients: list[Client] = []
        self._outputs: dict[int, int] = {}  # descriptor: stream
        self._stdin: int | None = None
        self._input = bytearray()
        self._input_ends = False

    # The container's side

    def add_output(self, fd: int, stream: int) -> None:
        """Read a container's output from `fd`, until it ends."""
        os.set_blocking(fd, False)
        self._outputs[fd] = stream
        self._selector.register(fd, selectors.EVENT_READ, lambda _: self.read_output(fd))

    def set_input(self, fd: int) -> None:
        """Write clients' input to `fd`. For a terminal this is the descriptor that is read from, too."""
        os.set_blocking(fd, False)
        self._stdin = fd

    def read_output(self, fd: int) -> bool:
        """Pass one piece of output on; return whether there may be more."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal whose last program has closed it
                raise
            data = b""
        if not data:
            self._selector.unregister(fd)
            del self._outputs[fd]
            if fd != self._stdin:
                os.close(fd)
            return False
        stream = self._outputs[fd]
        with contextlib.suppress(OSError):  # a full disk costs the log, not the container
            self._log.write(NAMES[stream], data)
        self.broadcast(wire.frame(stream, data))
        return True

    def drain(self) -> None:
        """Read what is left in the pipes after the container's end, without waiting for more."""
        for fd in list(self._outputs):
            while fd in self._outputs and self.read_output(fd):
                continue

    def _write_input(self) -> None:
        if self._stdin is None:
            return
        try:
            while self._input:
                del self._input[: os.write(self._stdin, bytes(self._input[:CHUNK]))]
        except BlockingIOError:
            self._watch_input(True)
            return
        except OSError:  # nobody reads any more
            self._input.clear()
        self._watch_input(False)
        if self._input_ends and self._stdin not in self._outputs:  # a terminal is not ours alone to close
            os.close(self._stdin)
            self._stdin = None
        self._pause_givers()

    def _watch_input(self, on: bool) -> None:
        """Ask to be called when the container can take more; a terminal is watched for its output at the same time."""
        fd = self._stdin
        assert fd is not None
        events = (selectors.EVENT_READ if fd in self._outputs else 0) | (selectors.EVENT_WRITE if on else 0)
        known = fd in self._selector.get_map()
        if events and known:
            self._selector.modify(fd, events, self._terminal_ready)
        elif events:
            self._selector.register(fd, events, self._terminal_ready)
        elif known:
            self._selector.unregister(fd)

    def _terminal_ready(self, events: int) -> None:
        fd = self._stdin
        if events & selectors.EVENT_WRITE:
            self._write_input()
        if events & selectors.EVENT_READ and fd in self._outputs:
            self.read_output(fd)

    # The clients' side

    def accept(self, listener: socket.socket) -> None:
        """Take in a client that has connected."""
        with contextlib.suppress(BlockingIOError):
            self.admit(listener.accept()[0])

    def admit(self, sock: socket.socket) -> None:
        """Take in a client that is connected."""
        client = Client(sock)
        self.clients.append(client)
        self._selector.register(client.sock, selectors.EVENT_READ, lambda events: self._serve(client, events))

    def broadcast(self, data: bytes) -> None:
        """Send a frame to every client that wants output."""
        for client in [client for client in self.clients if client.wants_output]:
            self.send(client, data)
        self._pause_outputs()

    def send(self, client: Client, data: bytes) -> None:
        """Send a frame, now or as soon as the client reads."""
        client.waiting += data
        self._flush(client)

    def _flush(self, client: Client) -> None:
        try:
            while client.waiting:
                del client.waiting[: client.sock.send(client.waiting[:CHUNK])]
        except BlockingIOError:
            self._watch(client)
        except OSError:
            self._drop(client)
        else:
            if client.leaving:
                self._drop(client)
            else:
                self._watch(client)

    def _watch(self, client: Client) -> None:
        reading = selectors.EVENT_READ if len(self._input) < FULL or not client.gives_stdin else 0
        events = reading | (selectors.EVENT_WRITE if client.waiting else 0)
        with contextlib.suppress(KeyError):
            if events and client in self.clients:
                known = client.sock in self._selector.get_map()
                change = self._selector.modify if known else self._selector.register
                change(client.sock, events, lambda events: self._serve(client, events))
            else:
                self._selector.unregister(client.sock)

    def _serve(self, client: Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(client)
            self._pause_outputs()
        if events & selectors.EVENT_READ and client in self.clients:
            try:
                data = client.sock.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._drop(client)
                return
            for stream, payload in client.frames.feed(data):
                self._take(client, stream, payload)

    def _take(self, client: Client, stream: int, payload: bytes) -> None:
        import json

        if stream == wire.CONTROL:
            message = json.loads(payload)
            client.gives_stdin = client.gives_stdin or bool(message.get("stdin"))
            client.wants_output = message.get("output", client.wants_output)
            self._on_control(client, message)
        elif stream == wire.STDIN and client.gives_stdin:
            self._input += payload
            self._input_ends = self._input_ends or not payload
            self._write_input()
            self._watch(client)

    def _drop(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)
            with contextlib.suppress(KeyError):
                self._selector.unregister(client.sock)
            client.sock.close()
            if client.gives_stdin:
                self._input_ends = True
                self._write_input()
            self._pause_outputs()

    def _pause_outputs(self) -> None:
        """Let the container wait while a client is far behind; go on when it has caught up."""
        full = any(len(client.waiting) > FULL for client in self.clients)
        for fd in self._outputs:
            watched = fd in self._selector.get_map()
            if full and watched:
                self._selector.unregister(fd)
            elif not full and not watched:
                self._selector.register(fd, selectors.EVENT_READ, lambda _, fd=fd: self.read_output(fd))

    def _pause_givers(self) -> None:
        for client in [client for client in self.clients if client.gives_stdin]:
            self._watch(client)

    def finish_log(self) -> None:
        """Write down the unfinished lines: nothing more comes of this run."""
        with contextlib.suppress(OSError):
            self._log.flush()

    def part(self) -> None:
        """One run of the container is over, another will begin: finish the last lines, see those off who watched it."""
        self.finish_log()
        for fd in {*self._outputs, *(() if self._stdin is None else (self._stdin,))}:
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
            os.close(fd)
        self._outputs.clear()
        self._stdin, self._input_ends = None, False
        self._input.clear()
        for client in list(self.clients):
            client.leaving, client.gives_stdin, client.wants_output = True, False, False
            self._flush(client)

    def close(self) -> None:
        """Finish the log, give every client a last chance to read, and hang up."""
        with contextlib.suppress(OSError):
            self._log.close()
        for client in list(self.clients):
            # A client that does not read for ten seconds does not want to know.
            client.sock.settimeout(10)
            with contextlib.suppress(OSError):
                client.sock.sendall(bytes(client.waiting))
            client.sock.close()
        self.clients.clear()
