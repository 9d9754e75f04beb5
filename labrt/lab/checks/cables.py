"""Notebook 14: a cable between two containers that have no network.

    lab.checks.joins(join)        the check; in a notebook lab.check("14", join)

`join(left, right)` is given the pids of two containers' process 1. What is looked at afterwards is in their network
namespaces: interfaces, addresses, then a real echo, and the neighbour table that it has filled.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import NamedTuple

from labrt.errors import KernelError
from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, judged, not_yet
from labrt.linux import cgroups, namespaces
from labrt.linux.network import addresses, interfaces, links, neighbours
from labrt.linux.network.packets import ping

Join = Callable[[int, int], object]
WANTED = {"left": "10.14.0.1/24", "right": "10.14.0.2/24"}
EXPECTED = "eth0 in both, with 10.14.0.1/24 and 10.14.0.2/24; an echo, and in left's neighbour table right's MAC"
UNWRITTEN = (
    "three steps, as above: a cable with its ends in two namespaces; at each end an address; each end switched on",
    'in the left namespace: links.veth("eth0", "eth0", namespace=…), a descriptor of the right one: '
    "namespaces.of(right).net.open()",
    'then, with namespaces.entered("net", pid): addresses.add("eth0", …) and links.change("eth0", up=True), for both',
)


class End(NamedTuple):
    """What is in one namespace besides `lo`: names; and of eth0 the addresses, whether it is on, its MAC."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    up: bool
    mac: str


class Traffic(NamedTuple):
    """What came of an echo: its seconds or None, and whom left's neighbour table has at right's address."""

    seconds: float | None
    mac: str
    problem: str = ""


class Seen(NamedTuple):
    """Interfaces left lying in the host; both ends; and, if nothing is wrong with those, what came of an echo."""

    host: tuple[str, ...]
    ends: dict[str, End]
    traffic: Traffic


def joins(join: Join) -> Check:
    """Judge `join`, at two containers that are made for it."""
    from labrt.engine import run

    containers = []
    try:
        for _ in WANTED:
            containers.append(run("busybox", "sleep", "600", detach=True, network="none"))
        left, right = (container.state.pid or 0 for container in containers)
        return _judge(join, left, right)
    finally:
        for container in containers:
            container.remove(force=True)


def _judge(join: Join, left: int, right: int) -> Check:
    # In a network namespace that plays the host: what is left lying there is gone with it.
    with cgroups.create(f"join-{secrets.token_hex(4)}") as group:
        tried = attempt.run(lambda: (group.add(0), _observe(join, left, right))[1], namespaces="net,uts")
    if tried.problem:
        return not_yet("join", tried.problem, EXPECTED, tried.hints(UNWRITTEN))
    seen: Seen = tried.value
    hints = _hints(seen.ends, seen.host)
    if hints:
        return not_yet("join", _said(seen.ends, seen.host), EXPECTED, hints)
    real, traffic = seen.ends["right"].mac, seen.traffic
    saw = f"eth0 in both; {_echo(traffic)}; 10.14.0.2 is at {traffic.mac or 'nobody knows'} for left"
    saw += ", which is right's eth0" if traffic.mac == real else f", and right's eth0 is {real}"
    return judged("join", saw, EXPECTED, _traffic_hints(traffic, seen.ends))


def _observe(join: Join, left: int, right: int) -> Seen:
    """Call it, and look at once: what ends in the namespace that plays the host goes when this process does."""
    home = namespaces.of("thread-self").net.inode
    join(left, right)
    here = namespaces.of("thread-self").net.inode == home  # or it did not come back from where it went
    host = tuple(one.name for one in interfaces() if one.name != "lo") if here else ()
    ends = {"left": _look(left), "right": _look(right)}
    return Seen(host, ends, Traffic(None, "") if _hints(ends, host) else _try(left))


def _look(pid: int) -> End:
    with namespaces.entered("net", pid):
        found = {one.name: one for one in interfaces() if one.name != "lo"}
        mine = [one.address for one in addresses.listed() if one.interface == "eth0" and ":" not in one.address]
        eth0 = found.get("eth0")
        return End(tuple(found), tuple(mine), bool(eth0 and eth0.up), eth0.mac if eth0 else "")


def _said(ends: dict[str, End], host: tuple[str, ...]) -> str:
    told = [f"{name} has {', '.join(end.names) or 'nothing'} {' '.join(end.addresses)}".strip() +
            (", off" if "eth0" in end.names and not end.up else "") for name, end in ends.items()]  # fmt: skip
    return "; ".join(told) + (f"; in the host are {', '.join(host)}" if host else "")


def _hints(ends: dict[str, End], host: tuple[str, ...]) -> tuple[str, ...]:
    """Hint at what is missing before anything can be sent, the first first."""
    bare = [name for name, end in ends.items() if not end.names]
    if len(bare) == 2:
        if host:
            return (
                f"the cable is there ({', '.join(host)}), but in the host: neither container has an end of it",
                'an interface is made where one is: with namespaces.entered("net", left), for the first end',
                UNWRITTEN[1],
            )
        return ("neither container has anything but its loopback: no cable was laid", *UNWRITTEN[1:])
    if bare:
        return (
            f"{bare[0]} has nothing but its loopback: where is its end of the cable?",
            "links.veth(name, peer, namespace=…): the peer is born in that namespace; without it, in this one",
            f"namespace=namespaces.of({bare[0]}).net.open()",
        )
    named = [name for name, end in ends.items() if "eth0" not in end.names]
    if named:
        return (
            f"{named[0]}'s end is called {ends[named[0]].names[0]}, and not eth0",
            "a name belongs to a namespace: both ends may have the same one, if they are in two of them",
            'links.veth("eth0", "eth0", namespace=…)',
        )
    for name, end in ends.items():
        if WANTED[name] not in end.addresses:
            return _address_hints(name, end)
    off = [name for name, end in ends.items() if not end.up]
    if off:
        return (
            f"switched off: eth0 of {' and '.join(off)}",
            "a new interface is off; a cable carries when both of its ends are on",
            'links.change("eth0", up=True), in both namespaces',
        )
    return ()


def _address_hints(name: str, end: End) -> tuple[str, ...]:
    plain = f'with namespaces.entered("net", {name}): addresses.add("eth0", "{WANTED[name]}")'
    if not end.addresses:
        return (
            f"{name}'s eth0 has no address: nobody can ask for it",
            "an address is given inside, in the namespace where the interface is",
            plain,
        )
    if WANTED[name].partition("/")[0] in [address.partition("/")[0] for address in end.addresses]:
        return (
            f"{name}'s eth0 has {end.addresses[0]}: of which network is that?",
            "the number after the slash says how many bits are the network's: all with the same ones are on this cable",
            plain,
        )
    return (f"{name}'s eth0 has {end.addresses[0]}, where {WANTED[name]} was asked for", "which is left, which right?",
            plain)  # fmt: skip


def _try(left: int) -> Traffic:
    with namespaces.entered("net", left):
        links.carries("eth0", timeout=1)
        try:
            seconds, problem = ping("10.14.0.2"), ""
        except KernelError as error:
            seconds, problem = None, error.message
        known = [one.mac for one in neighbours.listed() if one.address == "10.14.0.2" and one.interface == "eth0"]
    return Traffic(seconds, known[0] if known else "", problem)


def _echo(traffic: Traffic) -> str:
    if traffic.problem:
        return traffic.problem
    return f"an echo after {traffic.seconds * 1e6:.0f} µs" if traffic.seconds is not None else "no echo came back"


def _traffic_hints(traffic: Traffic, ends: dict[str, End]) -> tuple[str, ...]:
    if traffic.seconds is None or traffic.mac != ends["right"].mac:
        return (
            "both have an eth0 with the right address, and it is on; but the two are not ends of one cable",
            "one links.veth(…) makes one cable with two ends; two of them make two cables",
            UNWRITTEN[1],
        )
    return ()
