"""Packets, seen and sent: what goes over a cable, frame by frame, and an echo asked for by hand.

    with Capture("eth0") as capture:        or Capture(): all interfaces of this network namespace
        ping("10.14.0.2")                   0.000041 seconds; None: nobody answered
        capture.frames()                    [Frame(…, "ARP", "who has 10.14.0.2? …"), …]

A capture is a socket of the family AF_PACKET, which gets a copy of each frame as the driver does; tcpdump has no other.
It belongs to the network namespace in which it was made, and can be read from anywhere. The kernel keeps what was not
read yet, up to the socket's buffer. IPv6's own announcements (an interface that comes up makes some) are left out.
See packet(7), icmp(7), raw(7); RFC 826, RFC 791, RFC 792. Notebook 14.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import Any, NamedTuple

from labrt.errors import kernel_error

ETH_P_ALL, ETH_P_ARP, ETH_P_IPV4, ETH_P_IPV6 = 0x0003, 0x0806, 0x0800, 0x86DD
PACKET_OUTGOING = 4
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module has no name for it
EVERYBODY = "ff:ff:ff:ff:ff:ff"
_TIMESPEC = struct.Struct("@ll")
_ECHO_REPLY, _ECHO_REQUEST = 0, 8
_ICMP = {_ECHO_REPLY: "echo reply", _ECHO_REQUEST: "echo request", 3: "unreachable", 11: "time exceeded"}
_TCP = {0x01: "FIN", 0x02: "SYN", 0x04: "RST", 0x08: "PSH", 0x10: "ACK"}


class Frame(NamedTuple):
    """One frame: where it was seen and when (seconds since the epoch), from which MAC to which, and what is in it.

    `outgoing`: it left by this interface; else it came in. `sender` and `receiver` are IP addresses.
    """

    interface: str
    outgoing: bool
    time: float
    source: str
    destination: str
    kind: str  # ARP, ICMP, TCP, UDP, or a number
    sender: str
    receiver: str
    said: str

    def __repr__(self) -> str:
        way = "leaves by" if self.outgoing else "comes in at"
        return f"<Frame {way} {self.interface}: {self.source} → {self.destination}  {self.kind}: {self.said}>"


class Capture:
    """Copies of all frames from now on. A context manager; `close` ends it."""

    def __init__(self, interface: str = "") -> None:
        try:
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL)
            )
        except OSError as error:
            raise kernel_error("socket(AF_PACKET)", error.errno or 0, remedy="needs CAP_NET_RAW here") from error
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            if interface:
                self._socket.bind((interface, ETH_P_ALL))
        except OSError as error:
            self._socket.close()
            raise kernel_error(f"capture at {interface}", error.errno or 0, remedy="see `ip link`") from error

    def frames(self) -> list[Frame]:
        """Return what has come by since it was last asked."""
        found: list[Frame] = []
        while True:
            try:
                raw, ancillary, _, where = self._socket.recvmsg(2048, socket.CMSG_SPACE(_TIMESPEC.size))
            except BlockingIOError:
                return found
            frame = _frame(raw, where, _time(ancillary))
            if frame is not None:
                found.append(frame)

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Capture: {'closed' if self._socket.fileno() < 0 else 'open'}>"


def _time(ancillary: list[Any]) -> float:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return float(seconds + nanoseconds / 1e9)
    return time.time()


def _frame(raw: bytes, where: Any, at: float) -> Frame | None:
    """Read a frame's header: two MACs of six bytes, and two bytes that say what follows."""
    interface, _, way = where[:3]
    if len(raw) < 14:
        return None
    (kind,) = struct.unpack_from("!H", raw, 12)
    if kind == ETH_P_IPV6:
        return None
    read = {ETH_P_ARP: _arp, ETH_P_IPV4: _ipv4}.get(kind)
    try:
        told = read(raw[14:]) if read else (f"{kind:#06x}", "", "", f"{len(raw)} bytes")
    except struct.error:
        told = (f"{kind:#06x}", "", "", "cut short")
    return Frame(interface, way == PACKET_OUTGOING, at, raw[6:12].hex(":"), raw[:6].hex(":"), *told)


def _arp(data: bytes) -> tuple[str, str, str, str]:
    operation, mac, sender, _, target = struct.unpack_from("!6xH6s4s6s4s", data)
    asks, of = socket.inet_ntoa(sender), socket.inet_ntoa(target)
    said = f"who has {of}? tell {asks}" if operation == 1 else f"{asks} is at {mac.hex(':')}"
    return "ARP", asks, of, said


def _ipv4(data: bytes) -> tuple[str, str, str, str]:
    head = (data[:1] or b"\0")[0] % 16 * 4
    protocol, source, destination = struct.unpack_from("!9xB2x4s4s", data)
    sender, receiver = socket.inet_ntoa(source), socket.inet_ntoa(destination)
    rest = data[head:]
    if protocol == socket.IPPROTO_ICMP:
        (kind,) = struct.unpack_from("!B", rest)
        return "ICMP", sender, receiver, f"{_ICMP.get(kind, f'type {kind}')}, {sender} → {receiver}"
    if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        here, there = struct.unpack_from("!HH", rest)
        name, flags = "UDP", ""
        if protocol == socket.IPPROTO_TCP:
            (bits,) = struct.unpack_from("!13xB", rest)
            name, flags = "TCP", ", " + "+".join(word for bit, word in _TCP.items() if bits & bit)
        return name, sender, receiver, f"{sender}:{here} → {receiver}:{there}{flags}"
    return f"protocol {protocol}", sender, receiver, f"{sender} → {receiver}"


def ping(address: str, *, timeout: float = 1.0) -> float | None:
    """Ask an IPv4 address for an echo; return the seconds that it took, or None when none came in time.

    Raises KernelError where it cannot even be sent: ENETUNREACH when no route leads there.
    """
    number = int.from_bytes(os.urandom(2))
    message = _echo(number)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMP) as sock:
            begun = time.monotonic()
            sock.sendto(message, (address, 0))
            while (left := begun + timeout - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
                answer = sock.recv(2048)
                body = answer[answer[0] % 16 * 4 :]
                if body[:1] == bytes([_ECHO_REPLY]) and body[4:6] == message[4:6]:
                    return time.monotonic() - begun
    except OSError as error:
        raise kernel_error(f"ping {address}", error.errno or 0, remedy="see `ip route`, `ip addr`") from error
    return None


def _echo(number: int) -> bytes:
    """Make an echo request: type, code, checksum, a number to know the answer by, a sequence number, some bytes."""
    body = struct.pack("!HH", number, 1) + b"is anybody there"
    words = struct.unpack(f"!{len(body) // 2}H", body)
    total = (_ECHO_REQUEST << 8) + sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBH", _ECHO_REQUEST, 0, ~total & 0xFFFF) + body
