"""Who is where on a cable: the neighbour table, from IP address to MAC, and what a bridge has learned of its ports.

    listed()            [Neighbour("eth0", "10.14.0.2", "8e:…", "reachable"), …]
    learned("br0")      [Learned("v1", "8e:…"), …]          which MAC was heard at which port

The first fills itself by ARP (RFC 826), for IPv6 by neighbour discovery: a question to all, an answer by the one. The
second a bridge writes as it listens: a frame's sender must be where the frame has come from.
See arp(7), ip-neighbour(8), bridge(8), rtnetlink(7). Notebook 14.
"""

from __future__ import annotations

import socket
import struct

from labrt.linux import rtnetlink
from labrt.linux.network import links
from labrt.shapes import Record

# linux/neighbour.h
RTM_GETNEIGH = 30
NDA_DST, NDA_LLADDR, NDA_MASTER = 1, 2, 9
NUD_PERMANENT = 0x80
STATES = {
    0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe", 0x20: "failed", 0x40: "noarp",
    NUD_PERMANENT: "permanent",
}  # fmt: skip
NDMSG = struct.Struct("=BxxxiHBB")  # what messages begin with
AF_BRIDGE = 7


class Neighbour(Record):
    """One neighbour. `mac` is "" as long as nobody has answered; `state` as ip-neighbour(8) calls it."""

    interface: str
    address: str
    mac: str
    state: str


class Learned(Record):
    """A MAC, and the port of a bridge that leads to it."""

    port: str
    mac: str


def listed() -> list[Neighbour]:
    """List the neighbours that our network namespace knows; not groups, which are nobody's."""
    names, found = dict(socket.if_nameindex()), []
    for family, index, state, told in _ask(socket.AF_UNSPEC):
        if family in (socket.AF_INET, socket.AF_INET6) and NDA_DST in told and state != 0x40:
            address = socket.inet_ntop(family, told[NDA_DST])
            mac = told.get(NDA_LLADDR, b"").hex(":")
            found.append(Neighbour(names.get(index, f"#{index}"), address, mac, STATES.get(state, str(state))))
    return found


def learned(bridge: str) -> list[Learned]:
    """List what a bridge has learned, by its port; the MACs of the ports themselves are left out. Raises NotFound."""
    number, names, found = struct.pack("=I", links.index(bridge)), dict(socket.if_nameindex()), []
    for _, index, state, told in _ask(AF_BRIDGE):
        if told.get(NDA_MASTER) == number and not state & NUD_PERMANENT and NDA_LLADDR in told:
            found.append(Learned(names.get(index, f"#{index}"), told[NDA_LLADDR].hex(":")))
    return found


def _ask(family: int) -> list[tuple[int, int, int, dict[int, bytes]]]:
    """Return (family, interface, state, attributes) of each entry."""
    found = []
    for answer in rtnetlink.ask("list neighbours", RTM_GETNEIGH, rtnetlink.NLM_F_DUMP, NDMSG.pack(family, 0, 0, 0, 0)):
        kind, index, state, _, _ = NDMSG.unpack_from(answer)
        found.append((kind, index, state, dict(rtnetlink.attributes_of(answer[NDMSG.size :]))))
    return found
