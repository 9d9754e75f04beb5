"""Making network interfaces, which rtnetlink calls links: bridges, veth pairs, macvlans.

    bridge("br0")                              a switch in the kernel
    veth("v1", "eth0", namespace=fd)           a cable: one end here, the other at once in another network namespace
    macvlan("eth0", "eth1", namespace=fd)      a second card behind a card that there is
    change("v1", master="br0", up=True)        plug it in, switch it on
    carries("eth0", timeout=1)                 wait until both ends are switched on, and the kernel has seen it
    delete("br0")

Deleting one end of a cable deletes the other; a namespace that ends takes its links with it, but for real cards, which
come home. `namespace` is a descriptor of /proc/PID/ns/net; None is ours. Needs CAP_NET_ADMIN over each namespace.
See ip-link(8), veth(4), rtnetlink(7). Notebook 14.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time

from labrt.errors import Conflict, InvalidInput, KernelError, NotFound, NotSupported
from labrt.linux import rtnetlink
from labrt.linux.network.interfaces import IFF
from labrt.linux.rtnetlink import IFINFOMSG, attribute

# linux/if_link.h, linux/veth.h
RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 17, 18, 19
IFLA_PROTINFO, IFLA_BRPORT_MODE, NLA_F_NESTED = 12, 4, 0x8000
IFLA_ADDRESS, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 4, 5, 10, 18
IFLA_OPERSTATE, OPERSTATE_UP, IFLA_CARRIER = 16, b"\6", 33
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER, IFLA_MACVLAN_MODE = 1, 2, 1, 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
NAME_SIZE = 16  # with the zero at its end


def bridge(name: str, *, mtu: int | None = None, mac: str = "") -> None:
    """Make a bridge, switched off. Raises Conflict when there is an interface of this name.

    A `mac` of its own stays; without one it takes the smallest of its ports', which changes as they come and go.
    """
    _new(name, "bridge", b"", mtu=mtu, mac=mac)


def veth(name: str, peer: str, *, namespace: int | None = None, mac: str = "", mtu: int | None = None) -> None:
    """Make a cable from `name`, here, to `peer`, in `namespace`. `mac` is the peer's."""
    there = rtnetlink.link() + _common(peer, mtu, mac, namespace)
    _new(name, "veth", attribute(VETH_INFO_PEER, there), mtu=mtu)


def macvlan(
    name: str, parent: str, *, mode: str = "bridge", namespace: int | None = None, mac: str = "", mtu: int | None = None
) -> None:
    """Make a card with a MAC of its own behind the card `parent`: on the wire it is one more machine."""
    if mode not in MACVLAN_MODES:
        raise InvalidInput(f"macvlan mode {mode!r} is not known", remedy=f"one of {', '.join(MACVLAN_MODES)}")
    data = attribute(IFLA_MACVLAN_MODE, struct.pack("=I", MACVLAN_MODES[mode]))
    behind = attribute(IFLA_LINK, struct.pack("=I", index(parent)))
    _new(name, "macvlan", data, mtu=mtu, mac=mac, namespace=namespace, more=behind)


def change(name: str, *, up: bool | None = None, master: str | None = None, mtu: int | None = None) -> None:
    """Change a link: switch it on or off, make it a port of the bridge `master` ("": of none any more)."""
    body = b"" if mtu is None else attribute(IFLA_MTU, struct.pack("=I", mtu))
    if master is not None:
        body += attribute(IFLA_MASTER, struct.pack("=I", index(master) if master else 0))
    head = rtnetlink.link(index(name), IFF.UP if up else 0, 0 if up is None else IFF.UP)
    rtnetlink.ask(f"change {name}", rtnetlink.RTM_NEWLINK, rtnetlink.NLM_F_ACK, head + body)


def carries(name: str, *, timeout: float = 0.0) -> bool:
    """Whether something comes through: it is on, and so is the other end. Waits for that up to `timeout` seconds.

    The kernel takes note of a cable a moment after the other end's `change`, and drops what is sent before. The flag
    IFF.RUNNING says it, too, but for a new interface it is set until the kernel knows better, up to a second later.
    """
    number, end = index(name), time.monotonic() + timeout
    while True:
        # A dump is made under the lock under which the kernel takes note of cables: what it shows is also done.
        for answer in rtnetlink.ask("list links", RTM_GETLINK, rtnetlink.NLM_F_DUMP, rtnetlink.link()):
            _, _, found, flags, _ = IFINFOMSG.unpack_from(answer)
            if found == number:
                told = dict(rtnetlink.attributes_of(answer[IFINFOMSG.size :]))
                on = told[IFLA_OPERSTATE] == OPERSTATE_UP and told.get(IFLA_CARRIER) != b"\0"
                if on or flags & IFF.LOOPBACK and flags & IFF.UP:
                    return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.002)


def reflect(name: str) -> None:
    """Let a bridge send frames back to the port that they came by: its "hairpin mode", off by default.

    Wanted where the kernel's br_netfilter lets the firewall see bridged frames, too: it then gives a packet that is led
    from a container to itself back to the bridge, which would think that it is there already.
    """
    port = attribute(IFLA_PROTINFO | NLA_F_NESTED, attribute(IFLA_BRPORT_MODE, b"\1"))
    head = rtnetlink.link(index(name), family=socket.AF_BRIDGE)
    rtnetlink.ask(f"set the hairpin mode of {name}", RTM_SETLINK, rtnetlink.NLM_F_ACK, head + port)


def delete(name: str) -> bool:
    """Delete a link; False if there is none of this name."""
    try:
        rtnetlink.ask(f"delete {name}", RTM_DELLINK, rtnetlink.NLM_F_ACK, rtnetlink.link(index(name)))
    except (NotFound, KernelError) as error:
        if isinstance(error, NotFound) or error.errno == errno.ENODEV:
            return False
        raise
    return True


def ports_of(bridge: str) -> list[str]:
    """Name what is plugged into a bridge. Raises NotFound."""
    number, names = struct.pack("=I", index(bridge)), dict(socket.if_nameindex())
    found = []
    for answer in rtnetlink.ask("list links", RTM_GETLINK, rtnetlink.NLM_F_DUMP, rtnetlink.link()):
        _, _, port, _, _ = IFINFOMSG.unpack_from(answer)
        if dict(rtnetlink.attributes_of(answer[IFINFOMSG.size :])).get(IFLA_MASTER) == number and port in names:
            found.append(names[port])
    return found


def delete_bridge(name: str) -> bool:
    """Delete a bridge with all cables in it; False if there is none.

    The cable of a container that has just died would go by itself, but the kernel takes its time for that.
    """
    try:
        for port in ports_of(name):
            delete(port)
    except NotFound:
        return False
    return delete(name)


def index(name: str) -> int:
    """Return the number of a link. Raises NotFound."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise NotFound(f"there is no interface {name!r} here", remedy="see `ip link`") from None


def exists(name: str) -> bool:
    """Whether there is a link of this name in our network namespace."""
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False


def mac_of(address: str) -> str:
    """Make up a MAC for an IPv4 address, locally administered: who has the address again has the MAC again."""
    return "02:42:" + socket.inet_aton(address).hex(":")


def random_mac() -> str:
    """Make up a MAC that is locally administered, and no group's."""
    number = os.urandom(6)
    return bytes([number[0] & 0xFC | 0x02, *number[1:]]).hex(":")


def _new(
    name: str, kind: str, data: bytes, *, mtu: int | None = None, mac: str = "", namespace: int | None = None,
    more: bytes = b"",
) -> None:  # fmt: skip
    info = attribute(IFLA_INFO_KIND, kind.encode()) + (attribute(IFLA_INFO_DATA, data) if data else b"")
    body = rtnetlink.link() + _common(name, mtu, mac, namespace) + more + attribute(IFLA_LINKINFO, info)
    flags = rtnetlink.NLM_F_ACK | rtnetlink.NLM_F_CREATE | rtnetlink.NLM_F_EXCL
    try:
        rtnetlink.ask(f"make the {kind} {name}", rtnetlink.RTM_NEWLINK, flags, body)
    except KernelError as error:
        if error.errno == errno.EEXIST:
            raise Conflict(f"there is an interface {name} already", remedy=f"`ip link show {name}`") from None
        if error.errno == errno.EOPNOTSUPP:
            raise NotSupported(f"this kernel has no {kind}", remedy=f"`modprobe {kind}`, or a stock kernel") from None
        raise


def _common(name: str, mtu: int | None, mac: str, namespace: int | None) -> bytes:
    if not 0 < len(name.encode()) < NAME_SIZE:
        raise InvalidInput(f"{name!r} is no interface's name", remedy=f"1 to {NAME_SIZE - 1} bytes")
    found = attribute(rtnetlink.IFLA_IFNAME, name.encode() + b"\0")
    found += attribute(IFLA_MTU, struct.pack("=I", mtu)) if mtu else b""
    found += attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))) if mac else b""
    return found + (attribute(rtnetlink.IFLA_NET_NS_FD, struct.pack("=I", namespace)) if namespace is not None else b"")
