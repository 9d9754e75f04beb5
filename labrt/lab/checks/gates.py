"""Notebook 15: publish a port, and take it back.

    lab.checks.publishes(publish)        the check; in a notebook lab.check("15", publish)

`publish(port, address, to)` is a context manager: in its block, the host's `port` leads to port `to` of `address`. It
is called in a network namespace that plays the host, between a container and the world, which two more of them play.
What is looked at is HTTP from outside, from inside, and nft's tables and counters, before, meanwhile, and afterwards.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple

from labrt.lab import stations
from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, judged, not_yet
from labrt.lab.stations import Station
from labrt.linux import cgroups
from labrt.linux.network import forwarding, nft, routes

Publish = Callable[[int, str, int], AbstractContextManager[object]]
EXPECTED = "from outside the container at port 8080, all else as before; afterwards no rule of yours, whatever happened"
UNWRITTEN = (
    "a table with one chain at prerouting, and in it one rule: which packets, and where they are led to",
    "nft.run(f\"table ip NAME {{ chain in {{ type nat hook prerouting priority dstnat; … }}\\n}}\"); then yield",
    "the rule: fib daddr type local tcp dport {port} counter dnat to {address}:{to}. In the end delete table ip NAME",
)
INSIDE, OUTSIDE, WORLD = "10.15.0.2", "203.0.113.1", "203.0.113.80"
Table = tuple[str, str]


class Seen(NamedTuple):
    """Who answered, or "" for nobody; and of nft's tables those besides what was there before."""

    outside: str = ""  # from the world, at the host's port 8080
    other: str = ""  # from the world, at the host's port 8081
    onward: str = ""  # from the container, at the world's port 8080
    made: tuple[Table, ...] = ()
    hooks: tuple[str, ...] = ()
    packets: int = 0
    left: tuple[Table, ...] = ()
    left_after_error: tuple[Table, ...] = ()
    neighbours: bool = True


def publishes(publish: Publish) -> Check:
    """Judge `publish` on a street of three houses."""
    with ExitStack() as stack:
        inside, host, world = stack.enter_context(stations.stations("container", "host", "world"))
        _build(inside, host, world)
        # What it starts and does not end goes with the group.
        group = stack.enter_context(cgroups.create(f"publish-{secrets.token_hex(4)}"))
        tried = attempt.run(lambda: (group.add(0), _observe(publish, inside, host, world))[1], namespaces="uts")
    if tried.problem:
        return not_yet("publish", tried.problem, EXPECTED, tried.hints(UNWRITTEN))
    seen: Seen = tried.value
    return judged("publish", _said(seen), EXPECTED, _hints(seen))


def _build(inside: Station, host: Station, world: Station) -> None:
    inside.plug("eth0", f"{INSIDE}/24", host, "in0", "10.15.0.1/24")
    world.plug("eth0", f"{WORLD}/24", host, "out0", f"{OUTSIDE}/24")
    with inside.inside():
        routes.add("eth0", via="10.15.0.1")
    with host.inside():
        forwarding.enable("lesson", 4)
        nft.run('table ip neighbour { chain out { type nat hook postrouting priority srcnat; oifname "out0" '
                "counter masquerade; }\n}")  # fmt: skip
    inside.serve_web("the container", 80)
    host.serve_web("the host itself", 8081)
    world.serve_web("the world", 8080)


def _observe(publish: Publish, inside: Station, host: Station, world: Station) -> Seen:
    with host.inside():
        before = set(nft.tables())
        with publish(8080, INSIDE, 80):
            made = set(nft.tables()) - before
            outside, other = (world.fetch(f"http://{OUTSIDE}:{port}/") for port in (8080, 8081))
            onward = inside.fetch(f"http://{WORLD}:8080/")
            hooks, packets = _rules(made)
        left = set(nft.tables()) - before
        for family, name in left:  # so that it can be called again
            nft.run(f"delete table {family} {name}")
        with contextlib.suppress(_Accident), publish(8080, INSIDE, 80):
            raise _Accident
        after = set(nft.tables())
    return Seen(outside, other, onward, tuple(made), hooks, packets, tuple(left), tuple(after - before),
                before <= after)  # fmt: skip


class _Accident(Exception):
    """What happens in the middle of a block."""


def _rules(tables: set[Table]) -> tuple[tuple[str, ...], int]:
    """Return at which hooks these tables have chains, and what their counters have seen."""
    hooks, packets = [], 0
    for family, name in tables:
        for entry in nft.ask("list", "table", family, name):
            if hook := entry.get("chain", {}).get("hook"):
                hooks.append(hook)
            parts = entry.get("rule", {}).get("expr", ())
            packets += sum(part["counter"]["packets"] for part in parts if "counter" in part)
    return tuple(hooks), packets


def _said(seen: Seen) -> str:
    names = " ".join(name for _, name in seen.left or seen.left_after_error)
    return (
        f"from outside, port 8080: {seen.outside or 'nobody'}; 8081: {seen.other or 'nobody'}; from inside, the "
        f"world's 8080: {seen.onward or 'nobody'}; counted: {seen.packets}; left afterwards: {names or 'nothing'}"
    )


def _hints(seen: Seen) -> tuple[str, ...]:
    return _reach_hints(seen) or _clean_hints(seen)


def _reach_hints(seen: Seen) -> tuple[str, ...]:
    if not seen.made:
        return ("no table of yours was there while the block ran", *UNWRITTEN[1:])
    if "prerouting" not in seen.hooks:
        return (
            f"your chain hangs at {' and '.join(seen.hooks) or 'no hook'}: what comes from outside does not pass there",
            "where a packet is led to must be changed before the kernel looks for its way: prerouting",
            UNWRITTEN[2],
        )
    if seen.outside != "the container":
        return (
            f"from outside, {seen.outside or 'nobody'} answered at port 8080, where the container should",
            "publish(8080, address, 80): the rule looks for the host's port, and leads to the container's",
            "tcp dport {port} counter dnat to {address}:{to}",
        )
    if seen.other != "the host itself":
        return (
            f"at port 8081, not published, {seen.other or 'nobody'} answers: the host's own service did before",
            "a rule without a port is for all ports",
            "tcp dport {port} in the rule, before dnat",
        )
    if seen.onward != "the world":
        return (
            f"a container asks the *world's* port 8080, and {seen.onward or 'nobody'} answers: your rule caught it",
            "prerouting sees what comes from containers, too, wherever it goes",
            "fib daddr type local at the beginning of the rule: only what is for this host's own addresses",
        )
    return ()


def _clean_hints(seen: Seen) -> tuple[str, ...]:
    if not seen.neighbours:
        return (
            "somebody else's table is gone, too: it masqueraded, and now nobody gets out",
            "flush ruleset takes down everybody's rules; a table of your own can be deleted alone",
            "nft.run(\"delete table ip NAME\")",
        )
    if seen.left:
        return (
            "the block has ended, and your table is still there: the port leads to whoever has that address next",
            "what comes after yield is done when the block ends",
            "yield, and in a finally: nft.run(\"delete table ip NAME\")",
        )
    if seen.left_after_error:
        return (
            "when the block ends as it should, all is gone. When it raises, your table stays",
            "an exception in the block comes up at the yield: what stands below it is not reached",
            "try: yield  finally: nft.run(\"delete table ip NAME\")",
        )
    return ()
