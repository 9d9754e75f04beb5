"""Network namespaces with names, to lay cables between: machines that have nothing but a network. Notebooks 14 and 15.

    with lab.stations("left", "right") as (left, right):
        with namespaces.entered("net", left.pid): …       be there, for the length of a block
        left.plug("eth0", "10.14.0.1/24", right, "eth0", "10.14.0.2/24")
        right.serve_web("hello")                          http://…/ on port 80 of all its addresses
        left.fetch("http://10.14.0.2/")                   "hello"
        right.serve_names({"www.example": "203.0.113.80"}, at="203.0.113.53")

A station is a process that does nothing; the namespace lives as long as it does, and all links in it end with it. It
ends with the block, with this process however that ends (a pipe tells it), and by `labrt.reset()`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from labrt.errors import LabrtError
from labrt.linux import ledger, namespaces, process
from labrt.linux.network import addresses, links, nft
from labrt.linux.process import Child

_pipes: dict[int, tuple[int, int]] = {}  # by the pid of who made it: a copy after a fork is another's


def _lifeline() -> tuple[int, int]:
    """Return the pipe that nobody writes to: who reads it wakes up when this process is gone."""
    if os.getpid() not in _pipes:
        _pipes[os.getpid()] = os.pipe2(os.O_CLOEXEC)
    return _pipes[os.getpid()]


def lacking(*, rules: bool = True) -> str:
    """Say what this kernel cannot do of what notebook 15 tries, or 14, without `rules`, and what helps; "" for nothing.

    It is tried, in a namespace of its own: a cable, a switch, and rules that change addresses.
    """
    try:
        with stations("probe") as (probe,), probe.inside():
            links.bridge("br0")
            links.veth("v0", "v1")
            if rules:
                nft.run(_PROBE)
    except LabrtError as error:
        return f"{error.message}. {error.remedy}" if error.remedy else error.message
    return ""


_PROBE = """table ip probe {
    chain in { type nat hook prerouting priority dstnat; fib daddr type local tcp dport 1 counter dnat to 127.0.0.1:2; }
    chain out { type nat hook postrouting priority srcnat; counter masquerade; }
}"""


class Station:
    """One network namespace: `pid` is a process in it. What is started in it ends with its `close`."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self._running = contextlib.ExitStack()

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Be in this network namespace for the length of a block."""
        return namespaces.entered("net", self.pid)

    def plug(self, name: str, address: str, other: Station, there: str, other_address: str) -> None:
        """Lay a cable to another station, with an interface and an address at each end, and wait until it carries."""
        with self.inside():
            namespace = namespaces.of(other.pid).net.open()
            try:
                links.veth(name, there, namespace=namespace)
            finally:
                os.close(namespace)
        for station, end, own in ((self, name, address), (other, there, other_address)):
            with station.inside():
                addresses.add(end, own)
                links.change(end, up=True)
        with self.inside():
            links.carries(name, timeout=2)

    def serve_web(self, text: str, port: int = 80) -> None:
        """Answer every HTTP request with this text."""
        with self.inside():
            listener = socket.create_server(("0.0.0.0", port), backlog=16)  # noqa: S104 - of a namespace of its own
        self._start(lambda: _web(listener, text), [listener])

    def fetch(self, url: str, *, timeout: float = 1.0) -> str:
        """Ask for a page from here. Return its text without the last line end; "" when nobody answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with self.inside(), contextlib.suppress(OSError), opener.open(url, timeout=timeout) as answer:
            return str(answer.read().decode().strip())
        return ""

    def serve_names(
        self, names: Mapping[str, str], *, at: str, upstream: Sequence[str] = (), asking: Station | None = None
    ) -> None:
        """Be a name server at an address of its own.

        What it does not know it asks `upstream`, from where `asking` is.
        """
        with self.inside():
            sockets = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
            for sock in sockets:
                sock.bind((at, 53))
            sockets[1].listen(16)

        def serve() -> None:
            (asking or self)._enter()
            _names(sockets, names, upstream)

        self._start(serve, sockets)

    def _enter(self) -> None:
        namespaces.of(self.pid).net.enter()

    def _start(self, serve: Callable[[], object], sockets: Sequence[socket.socket]) -> None:
        self._running.enter_context(_tied(serve))
        for sock in sockets:
            sock.close()  # the child has them

    def _quiet(self) -> None:
        """Make it a machine fresh from the shop, whatever it has inherited from this one: no router.

        And have no IPv6: what that announces of its own accord is not what a lesson wants to see go by.
        """
        for setting, value in (("ipv6/conf/default/disable_ipv6", b"1"), ("ipv4/ip_forward", b"0")):
            with self.inside(), contextlib.suppress(OSError):  # a kernel without IPv6, or /proc/sys that is read-only
                fd = os.open(f"/proc/sys/net/{setting}", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(fd, value)
                finally:
                    os.close(fd)

    def close(self) -> None:
        """End what was started in it."""
        self._running.close()

    def __repr__(self) -> str:
        return f"<Station {self.name}: network namespace of pid {self.pid}>"


@contextlib.contextmanager
def stations(*names: str) -> Iterator[tuple[Station, ...]]:
    """Make network namespaces, each with nothing in it but a loopback that is switched off."""
    with contextlib.ExitStack() as stack:
        found = []
        for name in names:
            child = stack.enter_context(_tied(lambda: None, namespaces="net"))
            found.append(Station(name, child.pid))
            found[-1]._quiet()
            stack.callback(found[-1].close)
        yield tuple(found)


@contextlib.contextmanager
def of(container: Any, name: str = "") -> Iterator[Station]:
    """Take a running container for a station; without a name it has its own."""
    station = Station(name or container.name, container.state.pid)
    try:
        yield station
    finally:
        station.close()


@contextlib.contextmanager
def _tied(work: Callable[[], object], **how: Any) -> Iterator[Child]:
    """Run `work` in a child that ends with this block, with this process, and by a reset."""
    read, write = _lifeline()

    def body() -> None:
        os.close(write)
        os.setsid()  # Ctrl-C in a terminal, and a notebook's ■, are not meant for it
        threading.Thread(target=work, daemon=True).start()
        os.read(read, 1)  # for ever, or until who made us is gone

    with process.spawn(body, **how) as child:
        entry = ledger.record("process", str(child.pid), starttime=str(process.start_time(child.pid)))
        try:
            yield child
        finally:
            child.kill()
            child.wait()
            ledger.strike(entry)


def _web(listener: socket.socket, text: str) -> None:
    """Serve one client after the other; of a request only its end matters here."""
    body = f"{text}\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            request = b""
            while b"\r\n\r\n" not in request and (data := connection.recv(4096)):
                request += data
            connection.sendall(head.encode() + body)


class _Book:
    """Names and addresses, as the resolver asks for them."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names_of = dict(names)

    def addresses(self, name: str, version: int) -> list[str] | None:
        if name not in self.names_of:
            return None
        return [self.names_of[name]] if version == 4 else []

    def name(self, address: str) -> str | None:
        return next((name for name, of in self.names_of.items() if of == address), None)


def _names(sockets: Sequence[socket.socket], names: Mapping[str, str], upstream: Sequence[str]) -> None:
    from labrt.linux.network.resolver import Resolver

    with selectors.DefaultSelector() as selector:
        resolver = Resolver(selector, sockets, _Book(names), upstream)
        while True:
            for key, _ in selector.select(resolver.idle()):
                key.data(key.fileobj)
