"""The relay and the resolver, in this process, over real sockets."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import dnslib
import pytest

from labrt.linux import network, process
from labrt.linux.network import ports
from labrt.linux.network.relay import Relay
from labrt.linux.network.resolver import Resolver

PATIENCE = 30.0


@contextlib.contextmanager
def serving(build: Callable[[selectors.BaseSelector], object]) -> Iterator[None]:
    """Turn what `build` has registered in a selector, in a thread, until the end of the block."""
    wake, woken = socket.socketpair()
    with selectors.DefaultSelector() as selector, wake, woken:
        build(selector)
        selector.register(woken, selectors.EVENT_READ, None)

        def turn() -> None:
            while True:
                for key, events in selector.select():
                    if key.data is None:
                        return
                    key.data(events)

        thread = threading.Thread(target=turn)
        thread.start()
        try:
            yield
        finally:
            wake.send(b"x")
            thread.join(PATIENCE)
            for key in list(selector.get_map().values()):
                if key.data is not None:
                    key.fileobj.close()


def test_a_connection_is_carried_both_ways_to_its_ends() -> None:
    """Ten megabytes each way, one end closed before the other: what a `docker-proxy` has to get right."""
    data = bytes(range(256)) * 40_000
    server = socket.create_server(("127.0.0.1", 0))
    listener = ports.claim("tcp", "127.0.0.1", 0)

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            heard = b"".join(iter(lambda: connection.recv(1 << 16), b""))  # until they have said all
            connection.sendall(heard[::-1])

    other = threading.Thread(target=answer)
    other.start()
    with server, serving(lambda selector: Relay(selector).tcp(listener, server.getsockname())):
        with socket.create_connection(listener.getsockname(), timeout=PATIENCE) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            back = b"".join(iter(lambda: client.recv(1 << 16), b""))
        other.join(PATIENCE)
    assert back == data[::-1]


def test_who_could_not_be_carried_does_not_count() -> None:
    """There is a descriptor for who calls, and none more for whom they call."""

    def alone() -> int:
        listener = ports.claim("tcp", "127.0.0.1", 0)
        with selectors.DefaultSelector() as selector, socket.create_connection(listener.getsockname()):
            relay = Relay(selector)
            relay.tcp(listener, listener.getsockname())
            with open(os.devnull) as last:
                next_one = last.fileno()
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_one + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            for key, events in selector.select(PATIENCE):
                key.data(events)
            return relay.connections

    assert process.run_in_child(alone) == 0


@pytest.mark.root
def test_what_is_too_long_and_no_message_is_cut_off_and_ends_nothing() -> None:
    def alone() -> bytes:
        network.loopback_up()
        upstream, mine = ports.claim("udp", "127.0.0.1", 53), ports.claim("udp", "127.0.0.1", 0)
        upstream.settimeout(PATIENCE)
        with (
            serving(lambda selector: Resolver(selector, [mine], Names(), ["127.0.0.1"])),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            client.settimeout(PATIENCE)
            client.sendto(dnslib.DNSRecord.question("x.org").pack(), mine.getsockname())
            query, asker = upstream.recvfrom(512)
            upstream.sendto(query[:12] + b"\xff" * 2000, asker)
            return client.recv(4096)

    answer = process.run_in_child(alone, namespaces="net")
    assert dnslib.DNSHeader.parse(dnslib.DNSBuffer(answer)).tc == 1 and answer[4:] == bytes(8)


def test_who_is_not_there_resets_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    listener = ports.claim("tcp", "127.0.0.1", 0)
    with (
        serving(lambda selector: Relay(selector).tcp(listener, address)),
        pytest.raises(ConnectionResetError),  # by recv(2), or by connect(2) if the relay was faster than we
        socket.create_connection(listener.getsockname(), timeout=PATIENCE) as client,
    ):
        client.recv(1)


def test_one_too_many_is_turned_away() -> None:
    listener = ports.claim("tcp", "127.0.0.1", 0)
    relays = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def build(selector: selectors.BaseSelector) -> None:
            relay = Relay(selector)
            relays.append(relay)
            relay.most = 1
            relay.tcp(listener, server.getsockname())

        with serving(build), socket.create_connection(listener.getsockname(), timeout=PATIENCE) as first:
            far, _ = server.accept()
            with far, socket.create_connection(listener.getsockname(), timeout=PATIENCE) as second:
                assert second.recv(1) == b""
                first.sendall(b"still")
                assert far.recv(10) == b"still"
                first.close()
                assert far.recv(10) == b""
            # Its place is free again, once the relay has heard of it.
            wait_for_silence(relays[0])
            with socket.create_connection(listener.getsockname(), timeout=PATIENCE) as third:
                third.sendall(b"x")
                far, _ = server.accept()
                with far:
                    assert far.recv(1) == b"x"
            wait_for_silence(relays[0])


def wait_for_silence(relay: Relay) -> None:
    end = time.monotonic() + PATIENCE
    while relay.connections:
        assert time.monotonic() < end, "the relay has not heard that they have gone"
        time.sleep(0.01)


class Names:
    def addresses(self, name: str, version: int) -> Sequence[str] | None:
        known = {"web": {4: ["172.24.0.2"], 6: ["fd00::2"]}, "old": {4: ["172.24.0.3"]}}
        return known[name].get(version, []) if name in known else None

    def name(self, address: str) -> str | None:
        return {"172.24.0.2": "web.front", "fd00::2": "web.front"}.get(address)


def long_answer(query: bytes) -> bytes:
    reply = dnslib.DNSRecord.parse(query).reply()
    for number in range(100):
        reply.add_answer(dnslib.RR(reply.q.qname, rdata=dnslib.A(f"192.0.2.{number}")))
    return bytes(reply.pack())


def upstream_by_tcp() -> None:
    with socket.create_server(("127.0.0.1", 53)) as server:
        connection, _ = server.accept()
        with connection:
            size = int.from_bytes(connection.recv(2))
            answer = long_answer(connection.recv(size))
            connection.sendall(struct.pack("!H", len(answer)) + answer)


def asked(address: tuple[str, int], name: str, kind: str, *, tcp: bool = False) -> dnslib.DNSRecord:
    query = dnslib.DNSRecord.question(name, kind)
    return dnslib.DNSRecord.parse(query.send(*address, tcp=tcp, timeout=PATIENCE))


@pytest.mark.root
def test_names_ours_and_others() -> None:
    def inside() -> dict[str, object]:
        network.loopback_up()
        udp, tcp = ports.claim("udp", "127.0.0.11", 0), ports.claim("tcp", "127.0.0.11", 0)
        thread = threading.Thread(target=upstream_by_tcp)
        thread.start()
        found: dict[str, object] = {}
        with serving(lambda selector: Resolver(selector, [udp, tcp], Names(), ["127.0.0.1"])):
            here, stream = udp.getsockname(), tcp.getsockname()
            for name, kind in (("web", "A"), ("WEB.", "AAAA"), ("old", "AAAA"), ("old", "MX"), ("nobody", "A"),
                               ("2.0.24.172.in-addr.arpa", "PTR")):  # fmt: skip
                reply = asked(here, name, kind)
                found[f"{name} {kind}"] = (dnslib.RCODE[reply.header.rcode], [str(one.rdata) for one in reply.rr])
            found["by tcp"] = [str(one.rdata) for one in asked(stream, "web", "A", tcp=True).rr]
            found["long"] = len(asked(stream, "long.example.com", "A", tcp=True).rr)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # what is no question is no harm
                for rubbish in (b"", b"\0", b"\xff" * 12, b"\0" * 600):
                    sock.sendto(rubbish, here)
            found["after rubbish"] = [str(one.rdata) for one in asked(here, "web", "A").rr]
        thread.join(PATIENCE)
        return found

    assert process.run_in_child(inside, namespaces="net") == {
        "web A": ("NOERROR", ["172.24.0.2"]), "WEB. AAAA": ("NOERROR", ["fd00::2"]), "old AAAA": ("NOERROR", []),
        "old MX": ("NOERROR", []), "nobody A": ("SERVFAIL", []),
        "2.0.24.172.in-addr.arpa PTR": ("NOERROR", ["web.front."]),
        "by tcp": ["172.24.0.2"], "long": 100, "after rubbish": ["172.24.0.2"],
    }  # fmt: skip
