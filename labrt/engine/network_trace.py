"""The way of a packet through labrt's rules, and what went by: the picture of notebooks 14 and 15.

    before = trace(); …; after = trace()
    after - before          what has gone by between the two

Each rule of the table `inet labrt` that has a counter is a step, in the order in which a packet comes by; the published
ports stand beside, for they are no rules but elements of maps. See linux/network/firewall.py, nft(8).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from labrt import paths
from labrt.errors import NotFound
from labrt.linux.network.firewall import Firewall, Publication
from labrt.runtime.networks import definition

# A packet's way from outside to a container, and back: what is not named here comes after.
STATIONS = {
    "publish": "prerouting: is it for a published port? then its destination becomes the container",
    "forward": "forward: may it go from one interface to another?",
    "from-": "forward: what comes from a container",
    "into-": "forward: what goes to a container",
    "nat-": "postrouting: this machine's address in place of the container's, as its sender",
}


class Step(NamedTuple):
    """One rule: at which station, what it is for, and what went by."""

    station: str
    chain: str
    rule: str
    packets: int
    bytes: int


class Trace(NamedTuple):
    """All rules with their counters, and the published ports."""

    table: str
    steps: tuple[Step, ...]
    published: tuple[Publication, ...]

    def __sub__(self, before: Trace) -> Trace:
        """Return what went by since then: rules that nothing went by are left out."""
        was = {(step.chain, step.rule): step for step in before.steps}
        steps = []
        for step in self.steps:
            old = was.get((step.chain, step.rule))
            packets, size = step.packets - (old.packets if old else 0), step.bytes - (old.bytes if old else 0)
            if packets:
                steps.append(step._replace(packets=packets, bytes=size))
        return self._replace(steps=tuple(steps))

    def __repr__(self) -> str:
        return f"<Trace of table inet {self.table}: {len(self.steps)} rules, {len(self.published)} published ports>"

    def __str__(self) -> str:
        lines = [f"table inet {self.table}"]
        station = ""
        for step in self.steps:
            if step.station != station:
                station = step.station
                lines.append(f"\n{station}")
            lines.append(f"  {step.packets:>8} packets {step.bytes:>12} bytes   {step.chain}: {step.rule}")
        if self.published:
            lines.append("\npublished ports")
        for one in sorted(self.published):
            host = f"[{one.host}]" if ":" in one.host else one.host or ("[::]" if ":" in one.to else "0.0.0.0")  # noqa: S104
            to = f"[{one.to}]" if ":" in one.to else one.to
            lines.append(f"  {host}:{one.port}/{one.protocol} ──► {to}:{one.to_port}")
        return "\n".join(lines)

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table("station", "rule", "packets", "bytes", title=f"table inet {self.table}")
        for step in self.steps:
            table.add_row(step.station.partition(":")[0], f"{step.chain}: {step.rule}", str(step.packets),
                          str(step.bytes))  # fmt: skip
        return table


def trace(where: paths.Paths | None = None) -> Trace:
    """Read the counters. Raises NotFound while no network is up."""
    firewall = Firewall(definition.house(where or paths.default()))
    try:
        counters = firewall.counters()
    except FileNotFoundError:
        remedy = "`labrt run --network bridge …` brings one up"
        raise NotFound(f"there is no table inet {firewall.table}: no network is up", remedy=remedy) from None
    order = list(STATIONS)
    steps = [Step(STATIONS[key], *counter) for counter in counters if (key := _station(counter.chain))]
    steps.sort(key=lambda step: order.index(_station(step.chain)))
    return Trace(firewall.table, tuple(steps), tuple(firewall.published()))


def _station(chain: str) -> str:
    return next((key for key in STATIONS if chain == key or (key.endswith("-") and chain.startswith(key))), "")
