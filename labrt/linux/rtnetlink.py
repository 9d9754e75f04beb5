"""Moving a network interface into another network namespace, with its addresses: a little of rtnetlink(7), by hand.

    move("eth1", namespace, name="eth0")      `namespace` is a descriptor of /proc/PID/ns/net
    ask("…", RTM_NEWLINK, NLM_F_ACK, link(index) + attribute(…))      one request: network/{links,addresses,routes}.py

The kernel takes an interface's addresses away when it moves, so they are read before and given back after. What it is
called then may be a template, `eth%d`: the kernel counts. See netlink(7), rtnetlink(7), network_namespaces(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator

from labrt.errors import InvalidConfig, KernelError, kernel_error
from labrt.linux import syscalls
from labrt.linux.flags import CLONE
from labrt.shapes import Record

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
RTM_NEWLINK, RTM_NEWADDR, RTM_GETADDR = 16, 20, 22
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE, NLM_F_EXCL = 0x1, 0x4, 0x300, 0x400, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS, IFA_F_PERMANENT = 3, 6, 8, 0x80
RT_SCOPE_UNIVERSE = 0
IFF_UP = 1
IFINFOMSG, IFADDRMSG = struct.Struct("=BxHiII"), struct.Struct("=BBBBI")  # what messages begin with


class Address(Record):
    """One address of an interface, as the kernel told it: `attributes` are those to give back, packed."""

    family: int
    prefix: int
    attributes: bytes


def move(interface: str, namespace: int, *, name: str = "") -> None:
    """Move an interface of our namespace into another one, and switch it on there; `name` is what it is called then.

    Permanent addresses of global scope go with it. Raises InvalidConfig when it is not here, or when its new name is
    taken there; then it is still here, as it was. KernelError as rtnetlink(7) otherwise: some cannot be moved (lo).
    """
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        raise InvalidConfig(f"linux.netDevices: there is no {interface!r} here", remedy="see `ip link`") from None
    addresses = _addresses(index)
    wanted = name or interface
    with entered(namespace):
        there = dict(socket.if_nameindex())
        if wanted in there.values():
            problem = f"linux.netDevices: {interface}: there is a {wanted!r} in the container already"
            raise InvalidConfig(problem, remedy="give it another name, such as eth%d")
    attributes = attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace))
    attributes += attribute(IFLA_IFNAME, wanted.encode() + b"\0")
    _change_link(f"move {interface} to another namespace as {wanted}", index, attributes)
    with entered(namespace):
        (index,) = {index for index, _ in socket.if_nameindex()} - {*there}  # its number may be another one now
        for address in addresses:
            give(f"give {wanted} its address", index, address)
        _change_link(f"switch {wanted} on", index, b"", up=True)
        # IPv6 leaves an interface with the switch; what was there before is given once more, and may be there already.
        for address in (one for one in addresses if one.family == socket.AF_INET6):
            give(f"give {wanted} its address", index, address)


@contextlib.contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Be in another network namespace for the length of a block. Of all kinds only some can be left like this."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(namespace, CLONE.NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home, CLONE.NEWNET)
    finally:
        os.close(home)


# Messages -------------------------------------------------------------------------------------------------------------


def _change_link(what: str, index: int, attributes: bytes, *, up: bool = False) -> None:
    flags = IFF_UP if up else 0
    ask(what, RTM_NEWLINK, NLM_F_ACK, link(index, flags, flags) + attributes)


def link(index: int = 0, flags: int = 0, mask: int = 0, *, family: int = socket.AF_UNSPEC) -> bytes:
    """Pack what a message about a link begins with; of its flags those in `mask` are set to what `flags` says."""
    return IFINFOMSG.pack(family, 0, index, flags, mask)


def _addresses(index: int) -> list[Address]:
    """Read what an interface has of permanent addresses with global scope, of IPv4 and IPv6."""
    found = []
    for answer in ask("list addresses", RTM_GETADDR, NLM_F_DUMP, IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, index)):
        family, prefix, flags, scope, of = IFADDRMSG.unpack_from(answer)
        attributes = dict(attributes_of(answer[IFADDRMSG.size :]))
        if IFA_FLAGS in attributes:  # all 32 of them; the header has room for 8
            (flags,) = struct.unpack("=I", attributes[IFA_FLAGS])
        if of == index and scope == RT_SCOPE_UNIVERSE and flags & IFA_F_PERMANENT:
            # Not its lifetime, which is for ever, nor its label, in which is the name that the interface has here.
            kept = (pair for pair in attributes.items() if pair[0] not in (IFA_CACHEINFO, IFA_LABEL))
            packed = b"".join(attribute(kind, data) for kind, data in kept)
            found.append(Address(family, prefix, packed))
    return found


def give(what: str, index: int, address: Address, flags: int = IFA_F_PERMANENT) -> None:
    """Give an interface an address. Harmless when it has it. `what` is for the error, as of `ask`."""
    body = IFADDRMSG.pack(address.family, address.prefix, flags, RT_SCOPE_UNIVERSE, index)
    try:
        ask(what, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body + address.attributes)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise


def attribute(kind: int, data: bytes) -> bytes:
    """Pack one attribute: its length, its kind, its data, and zeros up to a multiple of four."""
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def attributes_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes in these bytes: (kind, data)."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def ask(what: str, kind: int, flags: int, body: bytes) -> list[bytes]:
    """Send one request, and return the answers of a dump. Raises KernelError with the kernel's errno."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.send(struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
        answers: list[bytes] = []
        while True:
            data = sock.recv(1 << 16)
            while data:
                length, answer, *_ = struct.unpack_from("=IHHII", data)
                payload, data = data[16:length], data[(length + 3) & ~3 :]
                if answer == NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", payload)
                    if code:
                        raise kernel_error(f"rtnetlink: {what}", -code)
                if answer in (NLMSG_ERROR, NLMSG_DONE):
                    return answers
                answers.append(payload)
