"""Bringing a network up: its bridge, its rules, forwarding; and taking it down again.

    bring_up(network, where)      harmless when it is up, and then two system calls
    take_down(network, where)

A network comes up with the first container in it, and stays until it is removed, or `labrt reset`. The bridge is
switched on last: when it is on, all is there. Everything is in the ledger before it is made.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import warnings

from labrt.errors import Conflict, KernelError, LabrtError, LabrtWarning, NotFound
from labrt.image import files
from labrt.linux import ledger
from labrt.linux.network import addresses, forwarding, interfaces, links, nft, routes
from labrt.linux.network.firewall import Firewall
from labrt.paths import Paths
from labrt.runtime.networks.definition import Network, house


def bring_up(network: Network, where: Paths) -> None:
    """Make what containers of this network are plugged into. Raises Conflict, NotFound (no such card), KernelError."""
    if network.driver == "macvlan":
        links.index(network.interface)  # raises if it is not there
        return
    if _is_up(network.interface):
        return
    os.makedirs(where.leases, exist_ok=True)
    with files.locked(os.path.join(where.leases, ".lock")):
        if not _is_up(network.interface):
            _bring_up(network, where)


def _is_up(bridge: str) -> bool:
    if not links.exists(bridge):
        return False
    return any(one.name == bridge and one.up for one in interfaces())


def _bring_up(network: Network, where: Paths) -> None:
    bridge, firewall, name = network.interface, Firewall(house(where)), house(where)
    links.delete_bridge(bridge)  # of one who was killed here
    _check_free(network, where)
    _record(where, "nft", firewall.table)
    _record(where, "bridge", bridge)
    try:
        _open(network, firewall)
        if not network.internal:
            _forward(network, where, name)
        links.bridge(bridge, mtu=network.mtu or None, mac=links.random_mac())
        _write_setting(f"net/ipv6/conf/{bridge}/accept_ra", "0")
        if not network.of(6):
            _write_setting(f"net/ipv6/conf/{bridge}/disable_ipv6", "1")
        for subnet in network.subnets:
            if subnet.gateway:
                addresses.add(bridge, f"{subnet.gateway}/{subnet.prefix}")
        links.change(bridge, up=True)
    except BaseException:
        take_down(network, where)
        raise
    _warn_of_others(network)


def _forward(network: Network, where: Paths, name: str) -> None:
    """Let this machine be a router, for IPv6 only where there is a way out: that setting changes more than IPv4's."""
    versions = [4] if network.of(4) else []
    if network.of(6) and any(route.destination == "::/0" for route in routes.listed()):
        versions.append(6)
    for version in versions:
        if not forwarding.is_others(version):
            _record(where, "forwarding", name, version=str(version))
            forwarding.enable(name, version)


def take_down(network: Network, where: Paths) -> bool:
    """Take its bridge and its rules away; False when there were none. The table stays for the other networks."""
    if network.driver == "macvlan":
        return False
    found = links.delete_bridge(network.interface)
    with contextlib.suppress(LabrtError):
        Firewall(house(where)).close(network.interface)
    ledger.strike_all("bridge", network.interface, directory=where.ledger)
    return found


def repair(network: Network, where: Paths) -> None:
    """Write the rules of a network anew: somebody has flushed them (`nft flush ruleset`, a restarted firewall)."""
    if network.driver != "macvlan":  # which has none: its interface is the host's own card
        _open(network, Firewall(house(where)))


def _open(network: Network, firewall: Firewall) -> None:
    subnets = [one.subnet for one in network.subnets]
    firewall.open(network.interface, subnets, internal=network.internal, masquerade=network.masquerade)


def sees_frames() -> bool:
    """Whether br_netfilter shows bridged frames to the firewall: Docker, where there is one, wants that."""
    try:
        with open("/proc/sys/net/bridge/bridge-nf-call-iptables") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def is_free(subnet: str, *, but: str = "") -> str:
    """Return "" if nothing of this machine lies in a subnet, else what does; `but` is an interface that may."""
    wanted = ipaddress.ip_network(subnet)
    for route in routes.listed():
        there = ipaddress.ip_network(route.destination)
        if there.version == wanted.version and there.prefixlen and there.overlaps(wanted) and route.interface != but:
            return f"{route.destination} of {route.interface}"
    return ""


def _check_free(network: Network, where: Paths) -> None:
    for subnet in network.subnets:
        taken = is_free(subnet.subnet, but=network.interface)
        if taken:
            remedy = f"`labrt network rm {network.name}`, and make it with another --subnet"
            if network.is_default:  # which is made again at once, and looks for what is free
                remedy = f"`rm -r {os.path.join(where.networks, network.name)}`, and the next run finds a free one"
            raise Conflict(f"{subnet.subnet} of network {network.name} overlaps {taken}", remedy=remedy)


def _record(where: Paths, kind: str, what: str, **detail: str) -> None:
    detail["netns"] = str(os.stat("/proc/thread-self/ns/net").st_ino)
    known = ((entry.kind, entry.what, entry.detail) for entry in ledger.entries(where.ledger))
    if (kind, what, detail) not in known:
        ledger.record(kind, what, directory=where.ledger, **detail)


def _write_setting(name: str, value: str) -> None:
    """Write a setting of an interface of ours; it goes with that. A kernel without IPv6 has none of IPv6's."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/sys/{name}", "w") as file:
        file.write(value)


def _warn_of_others(network: Network) -> None:
    """Say so if another firewall drops what it does not know: our rules cannot open what that one closes."""
    for family in ("ip", "inet"):
        for table, chain in (("filter", "FORWARD"), ("filter", "forward")):
            try:
                found = nft.ask("list", "chain", family, table, chain)
            except (KernelError, NotFound):
                continue
            if any(entry.get("chain", {}).get("policy") == "drop" for entry in found):
                user = "DOCKER-USER" if chain == "FORWARD" else chain
                remedy = f"iptables -I {user} -i {network.interface} -j ACCEPT, and the same with -o"
                what = f"another firewall (table {family} {table}) drops what it does not know: "
                warnings.warn(LabrtWarning(f"{what}{network.name} may not reach the world ({remedy})"), stacklevel=3)
                return
