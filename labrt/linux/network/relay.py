"""Carrying what comes to a port to another address: a published port, seen from the loopback.

    with selectors.DefaultSelector() as selector:
        relay = Relay(selector)
        relay.tcp(ports.claim("tcp", "127.0.0.1", 8080), ("172.24.0.2", 80))
        relay.udp(ports.claim("udp", "127.0.0.1", 53), ("172.24.0.2", 53))
        while True:
            for key, events in selector.select(relay.idle()):
                key.data(events)

Why, where there is NAT? A packet to 127.0.0.1 has 127.0.0.1 as its sender, too, and no kernel lets that out on a cable:
it would have to be told so for the whole bridge (route_localnet), after which whoever sits on that cable could speak to
services that listen on the loopback only; and for ::1 there is no such switch. Docker decided likewise (docker-proxy).
Whatever comes from outside does not come here: the firewall sends it on before. Nothing is copied into Python's own
buffers but up to 64 KiB for each direction; who does not read keeps the other from writing. See socket(7), splice(2).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
CHUNK = 1 << 16
UDP_PATIENCE = 90.0  # seconds after which a silent sender is forgotten; conntrack's and docker-proxy's
UDP_SENDERS = 1024  # of one port: the oldest gives way
Address = tuple[str, int]


class Relay:
    """All that one process carries. Its sockets are registered with callbacks as data, `callback(events)`."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        import resource

        self.selector = selector
        self._udp: list[_Datagrams] = []
        self.connections = 0
        # Two descriptors for each: who is one too many is turned away, or we would be asked for ever to accept them.
        self.most = max(1, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - UDP_SENDERS // 8 - 128) // 2)

    def tcp(self, listener: socket.socket, to: Address) -> None:
        """Carry each connection to `listener` to another address. IPv4 may become IPv6 and vice versa."""
        self.selector.register(listener, READ, lambda _: self._accept(listener, to))

    def udp(self, sock: socket.socket, to: Address) -> None:
        """Carry datagrams there, and the answers back to whoever has asked."""
        self._udp.append(_Datagrams(self.selector, sock, to))

    def idle(self) -> float | None:
        """Return the seconds that select may wait; forget UDP senders that have been silent."""
        deadlines = [one.expire() for one in self._udp]
        return min((seconds for seconds in deadlines if seconds is not None), default=None)

    def _accept(self, listener: socket.socket, to: Address) -> None:
        with contextlib.suppress(OSError):  # it has gone again, or we have too many descriptors: the next one may work
            client, _ = listener.accept()
            if self.connections >= self.most:
                client.close()
                return
            _Connection(self.selector, client, to, self._closed)
            self.connections += 1

    def _closed(self) -> None:
        self.connections -= 1


class _Connection:
    """Two sockets, and what was read from one and not yet written to the other."""

    def __init__(
        self, selector: selectors.BaseSelector, client: socket.socket, to: Address, closed: Callable[[], None]
    ) -> None:
        self.selector = selector
        self.closed = closed
        self.server = socket.socket(_family(to), socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.client = client
        self.pending: dict[socket.socket, bytearray] = {self.client: bytearray(), self.server: bytearray()}
        self.open = {self.client, self.server}  # those that have not said their last word
        self.connected = False
        for sock in self.pending:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connect_ex(to)
        self.selector.register(self.server, WRITE, self._connect)

    def _other(self, sock: socket.socket) -> socket.socket:
        return self.server if sock is self.client else self.client

    def _connect(self, _: int) -> None:
        if self.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return self._close(reset=True)
        self.connected = True
        self.selector.modify(self.server, READ, self._on(self.server))
        self.selector.register(self.client, READ, self._on(self.client))
        return None

    def _on(self, sock: socket.socket) -> Callable[[int], None]:
        return lambda events: self._turn(sock, events)

    def _turn(self, sock: socket.socket, events: int) -> None:
        try:
            if events & WRITE:
                self._flush(sock)
            if events & READ and sock in self.open and not self.pending[self._other(sock)]:
                data = sock.recv(CHUNK)
                if data:
                    self.pending[self._other(sock)] += data
                else:
                    self.open.discard(sock)
                self._flush(self._other(sock))
        except BlockingIOError:
            pass
        except OSError:
            return self._close(reset=True)
        return self._wait()

    def _flush(self, sock: socket.socket) -> None:
        """Write what is pending for this one; after its other's last word, say ours."""
        waiting = self.pending[sock]
        if waiting:
            with contextlib.suppress(BlockingIOError):
                del waiting[: sock.send(waiting)]
        if not waiting and self._other(sock) not in self.open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

    def _wait(self) -> None:
        """Wait for what can go on: reading where nothing is pending, writing where something is."""
        if not self.open and not any(self.pending.values()):
            self._close()
            return
        for sock in self.pending:
            wanted = READ if sock in self.open and not self.pending[self._other(sock)] else 0
            wanted |= WRITE if self.pending[sock] else 0
            registered = sock in self.selector.get_map()
            if wanted and registered:
                self.selector.modify(sock, wanted, self._on(sock))
            elif wanted:
                self.selector.register(sock, wanted, self._on(sock))
            elif registered:
                self.selector.unregister(sock)

    def _close(self, *, reset: bool = False) -> None:
        for sock in self.pending:
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(sock)
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        self.closed()


class _Datagrams:
    """One UDP port: for each sender a socket of its own, so that answers find their way back."""

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket, to: Address) -> None:
        self.selector = selector
        self.sock = sock
        self.to = to
        self.senders: dict[Any, tuple[socket.socket, float]] = {}  # in the order of their last word
        sock.setblocking(False)
        selector.register(sock, READ, self._ask)

    def _ask(self, _: int) -> None:
        with contextlib.suppress(OSError):
            data, sender = self.sock.recvfrom(CHUNK)
            there, _seen = self.senders.pop(sender, (None, 0.0))
            if there is None:
                while len(self.senders) >= UDP_SENDERS:
                    self._forget(next(iter(self.senders)))
                there = self._new(sender)
            self.senders[sender] = (there, time.monotonic())
            there.send(data)

    def _new(self, sender: Any) -> socket.socket:
        there = socket.socket(_family(self.to), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        there.connect(self.to)
        self.selector.register(there, READ, lambda _: self._answer(there, sender))
        return there

    def _answer(self, there: socket.socket, sender: Any) -> None:
        with contextlib.suppress(OSError):  # ECONNREFUSED: nobody listens, which UDP need not tell
            self.sock.sendto(there.recv(CHUNK), sender)
            self.senders[sender] = (self.senders.pop(sender)[0], time.monotonic())

    def expire(self) -> float | None:
        now = time.monotonic()
        for sender, (_, seen) in list(self.senders.items()):
            if now - seen < UDP_PATIENCE:
                return UDP_PATIENCE - (now - seen)
            self._forget(sender)
        return None

    def _forget(self, sender: Any) -> None:
        there, _ = self.senders.pop(sender)
        self.selector.unregister(there)
        there.close()


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
