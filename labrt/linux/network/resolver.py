"""A small DNS server: it knows the names of a few neighbours, and asks others about the rest.

    resolver = Resolver(selector, sockets, names, ["192.168.1.1"])
    names.addresses("web", 4)    ["172.24.0.2"]; [] for a name that has only others; None: not ours
    names.name("172.24.0.2")     "web"

Each container of a user-defined network has one, at 127.0.0.11 in its own network namespace: its sockets are made
there, and used by a process that is not; the questions that it passes on leave from out here. So a name server on this
machine's loopback is as good as any other. It answers A, AAAA and PTR itself, without waiting for anybody; the rest of
what is asked about a neighbour's name it answers with nothing (NOERROR), for no other server knows that name better.
UDP and TCP; what an upstream server answers is passed on as it is, to whoever asked, if it is for the question asked.
See RFC 1035, RFC 7766; resolv.conf(5). The messages themselves are dnslib's. Notebook 15.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Sequence

from labrt.shapes import Protocol, Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

READ = selectors.EVENT_READ
TTL = 600  # seconds that an answer may be kept; Docker's
PATIENCE = 4.0  # seconds for one upstream server, before the next is asked: less than the 5 of resolv.conf(5)
ADDRESS = "127.0.0.11"
_LIMIT = 512  # questions that wait at the same time
_CLIENTS = 64  # TCP connections: for one more the oldest goes


class Names(Protocol):
    """Who is called what. Both return None for what is nothing of ours."""

    def addresses(self, name: str, version: int) -> Sequence[str] | None:
        """Return the addresses of a name: none of this version, if there are others only."""

    def name(self, address: str) -> str | None:
        """Return the name of an address."""


class _Waiting(Record):
    """A question that an upstream server was asked."""

    answer: Callable[[bytes], None]
    query: bytes
    servers: Sequence[str]  # those that were not asked yet
    deadline: float
    stream: bool


class Resolver:
    """Answers on these sockets, TCP ones listening, by callbacks in a selector. `upstream` [] passes nothing on."""

    def __init__(
        self, selector: selectors.BaseSelector, sockets: Sequence[socket.socket], names: Names, upstream: Sequence[str]
    ) -> None:
        import dnslib  # not at the top: most containers have none of us

        self.dns = dnslib
        self.selector = selector
        self.names = names
        self.upstream = upstream
        self.waiting: dict[socket.socket, _Waiting] = {}
        self.clients: dict[socket.socket, None] = {}  # in the order in which they came
        for sock in sockets:
            sock.setblocking(False)
            callback = self._datagram if sock.type == socket.SOCK_DGRAM else self._connection
            selector.register(sock, READ, lambda _, sock=sock, callback=callback: callback(sock))

    # Questions --------------------------------------------------------------------------------------------------------

    def _datagram(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            query, sender = sock.recvfrom(4096)
            self.ask(query, lambda answer: self._send(sock, sender, self._fitting(query, answer)))

    def _send(self, sock: socket.socket, to: Any, answer: bytes) -> None:
        with contextlib.suppress(OSError):
            sock.sendto(answer, to)

    def _fitting(self, query: bytes, answer: bytes) -> bytes:
        """Cut an answer that is too long for a datagram: with its TC bit set, they come again by TCP."""
        limit = 512
        with contextlib.suppress(Exception):  # the OPT record of EDNS says how much they take
            limit = max([limit, *(one.edns_len for one in self.dns.DNSRecord.parse(query).ar if one.rtype == 41)])
        if len(answer) <= limit:
            return answer
        # Its head alone, without anything that follows: not read, for a stranger may have written what is no message.
        return answer[:2] + bytes([answer[2] | 0x02, answer[3]]) + bytes(8)

    def _connection(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            if len(self.clients) >= _CLIENTS:
                self._hang_up(next(iter(self.clients)))
            self.clients[client] = None
            client.setblocking(False)
            buffer = bytearray()
            self.selector.register(client, READ, lambda _: self._stream(client, buffer))

    def _stream(self, client: socket.socket, buffer: bytearray) -> None:
        """Read questions from a TCP connection, each after its length in two bytes."""
        try:
            data = client.recv(4096)
        except OSError:
            data = b""
        buffer += data
        if not data or len(buffer) > 1 << 17:
            self._hang_up(client)
            return
        while len(buffer) >= 2 and len(buffer) >= 2 + (length := int.from_bytes(buffer[:2])):
            query = bytes(buffer[2 : 2 + length])
            del buffer[: 2 + length]
            self.ask(query, lambda answer: self._reply(client, answer), stream=True)

    def _hang_up(self, client: socket.socket) -> None:
        del self.clients[client]
        self.selector.unregister(client)
        client.close()

    def _reply(self, client: socket.socket, answer: bytes) -> None:
        with contextlib.suppress(OSError):  # they are gone, or do not read
            client.sendall(struct.pack("!H", len(answer)) + answer)

    # Answers ----------------------------------------------------------------------------------------------------------

    def ask(self, query: bytes, answer: Callable[[bytes], None], *, stream: bool = False) -> None:
        """Have a question answered, now or when an upstream server has; `stream`: it came by TCP, and goes on so."""
        try:
            question = self.dns.DNSRecord.parse(query)
        except (self.dns.DNSError, ValueError, IndexError, struct.error):
            return  # no question at all
        own = self._own(question)
        if own is not None:
            answer(own)
        elif not self.upstream or len(self.waiting) >= _LIMIT:
            answer(self._code(question, "SERVFAIL"))
        else:
            self._pass_on(query, self.upstream, answer, stream)

    def _own(self, question: Any) -> bytes | None:
        """Answer what we know ourselves; None: it is nobody's name here."""
        dns, kinds = self.dns, {1: 4, 28: 6}  # A, AAAA
        name, kind = str(question.q.qname).rstrip("."), question.q.qtype
        if kind == dns.QTYPE.PTR:
            found = self.names.name(_reversed(name))
            if found is None:
                return None
            reply = question.reply(aa=0)
            reply.add_answer(dns.RR(question.q.qname, kind, rdata=dns.PTR(found), ttl=TTL))
            return bytes(reply.pack())
        addresses = self.names.addresses(name.lower(), kinds.get(kind, 0))
        if addresses is None:
            return None
        reply = question.reply(aa=0)
        for address in addresses:
            data = dns.A(address) if kind == dns.QTYPE.A else dns.AAAA(address)
            reply.add_answer(dns.RR(question.q.qname, kind, rdata=data, ttl=TTL))
        return bytes(reply.pack())

    def _code(self, question: Any, code: str) -> bytes:
        reply = question.reply(aa=0)
        reply.header.rcode = getattr(self.dns.RCODE, code)
        return bytes(reply.pack())

    def _pass_on(
        self, query: bytes, servers: Sequence[str], answer: Callable[[bytes], None], stream: bool
    ) -> None:
        """Ask an upstream server, from a port that nobody can guess, with an id that nobody can guess either.

        By TCP what came by TCP: they come so when the answer is too long for a datagram.
        """
        server, *others = servers
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        number = os.urandom(2)
        waiting = _Waiting(answer, query, others, time.monotonic() + PATIENCE, stream)
        message = number + query[2:]
        try:
            with contextlib.suppress(BlockingIOError):  # of TCP: it can be written to once it is connected
                sock.connect((server, 53))
            if not stream:
                sock.send(message)
        except OSError:
            sock.close()
            self._next(waiting)
            return
        self.waiting[sock] = waiting
        if stream:
            message = struct.pack("!H", len(message)) + message
            self.selector.register(sock, selectors.EVENT_WRITE, lambda _: self._write(sock, message, number))
        else:
            self.selector.register(sock, READ, lambda _: self._hear(sock, number))

    def _write(self, sock: socket.socket, message: bytes, number: bytes) -> None:
        """Ask by TCP, now that it is connected, or was refused: a question fits into what the kernel takes at once."""
        try:
            sock.send(message)
        except OSError:
            waiting = self.waiting[sock]
            self._drop(sock)
            self._next(waiting)
            return
        buffer = bytearray()
        self.selector.modify(sock, READ, lambda _: self._hear_stream(sock, number, buffer))

    def _hear_stream(self, sock: socket.socket, number: bytes, buffer: bytearray) -> None:
        waiting = self.waiting[sock]
        try:
            data = sock.recv(1 << 16)
        except OSError:
            data = b""
        buffer += data
        answer = bytes(buffer[2:])
        if len(buffer) >= 2 and len(answer) >= int.from_bytes(buffer[:2]) >= 12 and answer[:2] == number:
            self._drop(sock)
            waiting.answer(waiting.query[:2] + answer[2:])
        elif not data:
            self._drop(sock)
            self._next(waiting)

    def _hear(self, sock: socket.socket, number: bytes) -> None:
        waiting = self.waiting[sock]
        try:
            answer = sock.recv(1 << 16)
        except OSError:  # ECONNREFUSED: nobody listens there
            self._drop(sock)
            self._next(waiting)
            return
        if answer[:2] == number and len(answer) >= 12:
            self._drop(sock)
            waiting.answer(waiting.query[:2] + answer[2:])

    def _drop(self, sock: socket.socket) -> None:
        self.selector.unregister(sock)
        del self.waiting[sock]
        sock.close()

    def _next(self, waiting: _Waiting) -> None:
        if waiting.servers:
            self._pass_on(waiting.query, waiting.servers, waiting.answer, waiting.stream)
        else:
            waiting.answer(self._code(self.dns.DNSRecord.parse(waiting.query), "SERVFAIL"))

    def idle(self) -> float | None:
        """Return the seconds that select may wait; turn from servers that do not answer to the next."""
        now = time.monotonic()
        for sock, waiting in list(self.waiting.items()):
            if waiting.deadline <= now:
                self._drop(sock)
                self._next(waiting)
        return min((max(0.0, one.deadline - now) for one in self.waiting.values()), default=None)


def _reversed(name: str) -> str:
    """Turn 2.0.24.172.in-addr.arpa into 172.24.0.2, and the like for IPv6; "" for what is neither."""
    labels = name.lower().split(".")
    if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
        return ".".join(reversed(labels[:4]))
    if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
        with contextlib.suppress(ValueError, OSError):
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex("".join(reversed(labels[:32]))))
    return ""
