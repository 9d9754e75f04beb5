"""Addresses of interfaces.

    add("eth0", "172.24.0.2/24"); add("eth0", "fd00::2/64")
    listed()      [Address("eth0", "172.24.0.2/24"), …]

With its prefix length an address also makes a route: what lies in that network is on this cable.
See ip-address(8), rtnetlink(7). Notebook 14.
"""

from __future__ import annotations

import ipaddress
import socket

from labrt.linux import rtnetlink
from labrt.linux.network import links
from labrt.linux.rtnetlink import IFADDRMSG, attribute
from labrt.shapes import Record

IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_F_NODAD = 1, 2, 4, 0x02


class Address(Record):
    """An address of an interface, with the length of its network's prefix."""

    interface: str
    address: str


def add(interface: str, address: str) -> None:
    """Give an interface an address, "10.0.0.2/24" or "fd00::2/64". Harmless when it has it.

    An IPv6 address can be used at once: that nobody else has it (RFC 4862's question, a second long) is known by who
    gives it away.
    """
    value = ipaddress.ip_interface(address)
    packed = attribute(IFA_LOCAL, value.ip.packed) + attribute(IFA_ADDRESS, value.ip.packed)
    if value.version == 4 and value.network.prefixlen < 31:
        packed += attribute(IFA_BROADCAST, value.network.broadcast_address.packed)
    family = socket.AF_INET if value.version == 4 else socket.AF_INET6
    flags = 0 if value.version == 4 else IFA_F_NODAD
    given = rtnetlink.Address(family, value.network.prefixlen, packed)
    rtnetlink.give(f"give {interface} the address {address}", links.index(interface), given, flags)


def listed() -> list[Address]:
    """List the addresses of all interfaces of our network namespace."""
    found = []
    names = dict(socket.if_nameindex())
    body = IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    for answer in rtnetlink.ask("list addresses", rtnetlink.RTM_GETADDR, rtnetlink.NLM_F_DUMP, body):
        family, prefix, _, _, index = IFADDRMSG.unpack_from(answer)
        told = dict(rtnetlink.attributes_of(answer[IFADDRMSG.size :]))
        packed = told.get(IFA_LOCAL) or told.get(IFA_ADDRESS)
        if packed and family in (socket.AF_INET, socket.AF_INET6):
            found.append(Address(names.get(index, f"#{index}"), f"{socket.inet_ntop(family, packed)}/{prefix}"))
    return found
