"""Routes: which way a packet leaves, by where it wants to go. The longest prefix wins.

    add("eth0", via="172.24.0.1")                    all else goes to the gateway
    add("eth0", "10.0.0.0/8", via="172.24.0.9")
    listed()                                         [Route("0.0.0.0/0", "172.24.0.1", "eth0", "boot"), …]

See ip-route(8), rtnetlink(7). Notebook 14.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from labrt.linux import rtnetlink
from labrt.linux.network import links
from labrt.linux.rtnetlink import RT_SCOPE_UNIVERSE, attribute
from labrt.shapes import Record

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
RT_TABLE_MAIN, RTN_UNICAST, RT_SCOPE_LINK = 254, 1, 253
RTPROT_BOOT = 3
RTMSG = struct.Struct("=BBBBBBBBI")  # what messages begin with
PROTOCOLS = {1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}  # /etc/iproute2/rt_protos


class Route(Record):
    """One way: packets for `destination` leave by `interface`, to the gateway `via` ("": they are there then).

    `protocol` is who made it: kernel (with an address), boot and static (somebody), ra (an IPv6 router), dhcp.
    """

    destination: str
    via: str
    interface: str
    protocol: str


def add(interface: str, destination: str | None = None, *, via: str = "") -> None:
    """Make a route by this interface; `destination` None is everything that no other route is for."""
    _ask("add", interface, destination, via, RTM_NEWROUTE, rtnetlink.NLM_F_CREATE | rtnetlink.NLM_F_EXCL)


def delete(interface: str, destination: str | None = None, *, via: str = "") -> None:
    """Take a route away."""
    _ask("delete", interface, destination, via, RTM_DELROUTE, 0)


def _ask(verb: str, interface: str, destination: str | None, via: str, kind: int, flags: int) -> None:
    gateway = ipaddress.ip_address(via) if via else None
    everything = "::/0" if gateway and gateway.version == 6 else "0.0.0.0/0"
    network = ipaddress.ip_network(destination or everything)
    body = attribute(RTA_OIF, struct.pack("=I", links.index(interface)))
    body += attribute(RTA_DST, network.network_address.packed) if network.prefixlen else b""
    body += attribute(RTA_GATEWAY, gateway.packed) if gateway else b""
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    scope = RT_SCOPE_UNIVERSE if gateway or network.version == 6 else RT_SCOPE_LINK
    head = RTMSG.pack(family, network.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0)
    what = f"{verb} the route to {network} by {interface}" + (f" and {via}" if via else "")
    rtnetlink.ask(what, kind, rtnetlink.NLM_F_ACK | flags, head + body)


def listed() -> list[Route]:
    """List the routes of the main table of our network namespace, IPv4 first."""
    names = dict(socket.if_nameindex())
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for answer in rtnetlink.ask("list routes", RTM_GETROUTE, rtnetlink.NLM_F_DUMP, body):
            _, prefix, _, _, table, protocol, _, kind, _ = RTMSG.unpack_from(answer)
            told = dict(rtnetlink.attributes_of(answer[RTMSG.size :]))
            if table != RT_TABLE_MAIN or kind != RTN_UNICAST or RTA_OIF not in told:
                continue
            empty = b"\0" * (4 if family == socket.AF_INET else 16)
            destination = f"{socket.inet_ntop(family, told.get(RTA_DST, empty))}/{prefix}"
            via = socket.inet_ntop(family, told[RTA_GATEWAY]) if RTA_GATEWAY in told else ""
            (index,) = struct.unpack("=I", told[RTA_OIF])
            found.append(Route(destination, via, names.get(index, f"#{index}"), PROTOCOLS.get(protocol, str(protocol))))
    return found
