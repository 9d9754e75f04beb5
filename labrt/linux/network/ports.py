"""Claiming ports of this machine: whoever listens on one has it, and the kernel says no to the next.

    claim("tcp", "0.0.0.0", 8080)      a socket that listens; Conflict, which says who has it
    claim("udp", "::", 0)              any free one: see getsockname()
    holders("tcp", 8080)               [Holder(pid=812, program="nginx", address="0.0.0.0")]

A rule of the firewall would lead packets away from whoever listens, without anybody noticing; so a published port is
first claimed like this, and the socket is also what answers on the loopback (relay.py). See ip(7), proc_pid_fd(5).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct

from labrt.errors import Conflict, InvalidInput, NotFound, kernel_error
from labrt.shapes import Record

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_LISTEN, _UNCONNECTED = "0A", "07"  # states in /proc/net/tcp and /proc/net/udp


class Holder(Record):
    """Who listens on a port. `pid` 0: a process of somebody else's, that we may not look at."""

    pid: int
    program: str
    address: str


def claim(protocol: str, address: str, port: int) -> socket.socket:
    """Listen on a port, 0 for any that is free. Raises Conflict when it is taken, NotFound for no address of ours."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if protocol not in KINDS:
        raise InvalidInput(f"{protocol!r} is no protocol with ports", remedy=f"one of {', '.join(KINDS)}")
    sock = socket.socket(family, KINDS[protocol] | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":  # connections that have just ended need not keep the next one waiting
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if protocol == "tcp":
            sock.listen(512)
    except OSError as error:
        sock.close()
        raise _explained(error, protocol, address, port) from error
    return sock


def _explained(error: OSError, protocol: str, address: str, port: int) -> Exception:
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if error.errno == errno.EADDRINUSE:
        who = ", ".join(f"{one.program} (pid {one.pid})" if one.pid else "another user's process" for one in
                        holders(protocol, port)) or "another process"  # fmt: skip
        return Conflict(f"port {where}/{protocol} is taken by {who}", remedy="publish another port, or stop that one")
    if error.errno == errno.EADDRNOTAVAIL:
        return NotFound(f"{address} is no address of this machine", remedy="see `ip address`")
    if error.errno in (errno.EACCES, errno.EPERM):
        remedy = "an ordinary user's ports begin at that of sysctl net.ipv4.ip_unprivileged_port_start, mostly 1024"
        return kernel_error(f"bind({where}/{protocol})", error.errno, remedy=remedy)
    return kernel_error(f"bind({where}/{protocol})", error.errno or 0)


def holders(protocol: str, port: int) -> list[Holder]:
    """Find who listens on a port of this network namespace, on whichever address."""
    sockets: dict[str, str] = {}
    for table in (protocol, f"{protocol}6"):
        with contextlib.suppress(OSError), open(f"/proc/thread-self/net/{table}") as file:
            for line in list(file)[1:]:
                words = line.split()
                address, _, number = words[1].partition(":")
                if int(number, 16) == port and words[3] in (_LISTEN, _UNCONNECTED):
                    sockets[words[9]] = _address(address)
    found = [Holder(pid, _program(pid), sockets.pop(inode)) for inode, pid in _owners(set(sockets)).items()]
    return found + [Holder(0, "", address) for address in sockets.values()]


def _address(digits: str) -> str:
    """Read an address as /proc/net has it: words of 32 bits, each in this machine's own order of bytes."""
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _owners(inodes: set[str]) -> dict[str, int]:
    """Find which process has which socket; of a socket that several have, the oldest."""
    found: dict[str, int] = {}
    for pid in sorted(map(int, filter(str.isdecimal, os.listdir("/proc")))) if inodes else ():
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(f"/proc/{pid}/fd/{fd}")
                    if target.startswith("socket:[") and target[8:-1] in inodes:
                        found.setdefault(target[8:-1], pid)
    return found


def _program(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as file:
        return file.read().strip()
    return "a process that has just ended"
