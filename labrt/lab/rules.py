"""Rules and what went by them: a table of nft's, drawn along a packet's way, with its counters. Notebook 15.

    before = lab.rules("ip", "lesson"); …; after = lab.rules("ip", "lesson")
    after                                   each rule at its hook, with all that it has seen
    after - before                          what went by between the two

As nft reports it just now, in this network namespace. Only rules with a `counter` count; of the chains with a nat hook
only the first packet of each connection comes by. See nft(8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, Picture, Shown
from labrt.linux.network import nft

# The hooks in the order in which a packet that is handed on comes by, and what the kernel asks there.
HOOKS = {
    "prerouting": "it has come in: where does it want to go?",
    "input": "it is for this machine itself",
    "forward": "it goes on: from one interface to another",
    "output": "it was made here",
    "postrouting": "the last thing before it leaves",
}


class Rule(NamedTuple):
    """One rule with a counter. `words` are its comment, or what it does."""

    hook: str
    chain: str
    words: str
    packets: int
    bytes: int


class Rules(Shown):
    """What a table has counted."""

    def __init__(self, table: str, rules: tuple[Rule, ...], *, since: str = "since they were made") -> None:
        self.table = table
        self.rules = rules
        self.since = since

    def __sub__(self, before: Rules) -> Rules:
        was = {rule[:3]: rule for rule in before.rules}
        rules = []
        for rule in self.rules:
            old = was.get(rule[:3])
            packets, size = (old.packets, old.bytes) if old else (0, 0)
            rules.append(rule._replace(packets=rule.packets - packets, bytes=rule.bytes - size))
        return Rules(self.table, tuple(rules), since="since the look before")

    def __repr__(self) -> str:
        return f"<Rules of table {self.table}: {len(self.rules)} with counters>"

    def picture(self) -> Picture:
        """Draw the hooks from top to bottom, and beside each its rules, with a bar for what went by."""
        title = f"table {self.table}: packets {self.since}"
        most = max((rule.packets for rule in self.rules), default=0) or 1
        hooks = [hook for hook in HOOKS if hook in ("prerouting", "forward", "postrouting") or self._at(hook)]
        parts, rows, y = [show.text_at(8, 18, title, bold=True)], [("hook", "rule", "packets", "bytes")], 34.0
        for number, hook in enumerate(hooks):
            if number:
                parts.append(_arrow(y - 16))
            parts += _station(y, hook)
            for rule in self._at(hook):
                parts += _bar(y + 46, rule, most)
                rows.append((hook, rule.words, str(rule.packets), str(rule.bytes)))
                y += 26
            y += 70
        text = show.said(title, rows)
        return Picture(show.svg(760, y - 34, title, text, parts), text)

    def _at(self, hook: str) -> list[Rule]:
        return [rule for rule in self.rules if rule.hook == hook]


def _station(y: float, hook: str) -> list[str]:
    frame = f"fill:none;stroke:{FAINT};stroke-width:1.4"
    return [
        f'<rect x="8" y="{y:.0f}" width="744" height="28" rx="5" style="{frame}"/>',
        show.text_at(18, y + 18, hook, bold=True),
        show.text_at(130, y + 18, HOOKS[hook]),
    ]


def _bar(y: float, rule: Rule, most: int) -> list[str]:
    wide = 200 * rule.packets / most
    ink = COLOURS["brand"]
    parts = [show.text_at(34, y, rule.words if len(rule.words) < 50 else f"{rule.words[:48]}…")]
    if rule.packets:
        parts.append(f'<rect x="400" y="{y - 12:.0f}" width="{wide:.1f}" height="14" style="fill:{ink}"/>')
    words = f"{rule.packets} packet{'s'[: rule.packets > 1]}, {rule.bytes} bytes" if rule.packets else "nothing"
    return [*parts, show.text_at(408 + wide, y, words)]


def _arrow(y: float) -> str:
    return f'<polygon points="20,{y:.0f} 32,{y:.0f} 26,{y + 8:.0f}" style="fill:{FAINT}"/>'


def rules(family: str, table: str) -> Rules:
    """Read a table's counters. Raises KernelError (FileNotFoundError) when there is no such table."""
    listed = nft.ask("list", "table", family, table)
    hooks: dict[str, str] = {}
    for entry in listed:
        if "chain" in entry:
            hooks[entry["chain"]["name"]] = entry["chain"].get("hook", "")
    found = [_rule(entry["rule"], hooks) for entry in listed if "rule" in entry]
    return Rules(f"{family} {table}", tuple(rule for rule in found if rule))


def _rule(entry: Mapping[str, Any], hooks: Mapping[str, str]) -> Rule | None:
    for part in entry["expr"]:
        if "counter" in part:
            verdict = next(iter(entry["expr"][-1]))
            words = entry.get("comment") or f"{entry['chain']}: {verdict}"
            counts = part["counter"]
            return Rule(hooks.get(entry["chain"], ""), entry["chain"], words, counts["packets"], counts["bytes"])
    return None
