"""The rules of a house of networks: who may talk to whom, masquerading, published ports. One table for all of them.

    firewall = Firewall("labrt")                             a name; nothing is made yet
    firewall.open("labrt0", ["172.24.0.0/24"])               the networks on this bridge may reach the world
    firewall.publish([Publication("tcp", "", 8080, "172.24.0.2", 80)])
    firewall.unpublish(…); firewall.close("labrt0"); firewall.remove()

Where a packet goes by (`nft list table inet labrt` shows it with counters):

    from outside ──► prerouting ──► routing ──► forward ──► postrouting ──► to the container
                     publish:       the way     between     masquerade:
                     other address  to it       networks?   our own address as its sender

What is published is a map, from address, protocol and port to a container's, and to publish is to add an element: no
rule changes, whatever the number of containers. Networks are elements, too, each with chains of its own.
Who calls the port of a container on their own network by the host's address is answered directly, past the NAT,
and does not understand the answer: so these are masqueraded, too (hairpin). See nft(8); notebook 15.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

from labrt.linux.network import nft
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Publication(Record):
    """One port of the host that leads to one of a container. `host` "" is every address of this machine.

    `to` decides about IPv4 or IPv6, and `host` must be of the same kind.
    """

    protocol: str
    host: str
    port: int
    to: str
    to_port: int

    @property
    def element(self) -> tuple[str, str, str]:
        """The map it is in, its key there, and what that leads to."""
        version = ipaddress.ip_address(self.to).version
        key = f"{self.protocol} . {self.port}"
        if self.host:
            return f"publish{version}", f"{self.host} . {key}", f"{self.to} . {self.to_port}"
        return f"publish{version}_any", key, f"{self.to} . {self.to_port}"


BASE = """
add table inet {table}
add set inet {table} bridges {{ type ifname; }}
add map inet {table} publish4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
add map inet {table} publish6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}
add map inet {table} publish4_any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
add map inet {table} publish6_any {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
add map inet {table} leaving {{ type ifname : verdict; }}
add map inet {table} entering {{ type ifname : verdict; }}
add map inet {table} translating {{ type ifname : verdict; }}
add map inet {table} returning {{ type ifname : verdict; }}
add chain inet {table} publish
flush chain inet {table} publish
add rule inet {table} publish meta l4proto != {{ tcp, udp, sctp }} return
add rule inet {table} publish counter comment "for this machine's own addresses"
add rule inet {table} publish dnat ip to ip daddr . meta l4proto . th dport map @publish4
add rule inet {table} publish dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6
add rule inet {table} publish dnat ip to meta l4proto . th dport map @publish4_any
add rule inet {table} publish dnat ip6 to meta l4proto . th dport map @publish6_any
add chain inet {table} prerouting {{ type nat hook prerouting priority dstnat; policy accept; }}
flush chain inet {table} prerouting
add rule inet {table} prerouting fib daddr type local jump publish
add chain inet {table} output {{ type nat hook output priority -100; policy accept; }}
flush chain inet {table} output
add rule inet {table} output ip daddr 127.0.0.0/8 return
add rule inet {table} output ip6 daddr ::1 return
add rule inet {table} output fib daddr type local jump publish
add chain inet {table} forward {{ type filter hook forward priority filter; policy accept; }}
flush chain inet {table} forward
add rule inet {table} forward ct state established,related counter accept comment "answers"
add rule inet {table} forward ct status dnat counter accept comment "published ports"
add rule inet {table} forward iifname vmap @leaving
add rule inet {table} forward oifname vmap @entering
add chain inet {table} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}
flush chain inet {table} postrouting
add rule inet {table} postrouting oifname vmap @returning
add rule inet {table} postrouting iifname vmap @translating
"""

# Which map leads to a bridge's chain of which name.
CHAINS = {"leaving": "from", "entering": "into", "returning": "hairpin", "translating": "nat"}


class Firewall:
    """One table, `inet NAME`, and what can be done with it. A handle: it holds nothing."""

    def __init__(self, table: str) -> None:
        self.table = table

    def open(self, bridge: str, subnets: Iterable[str], *, internal: bool = False, masquerade: bool = True) -> None:
        """Let the networks on a bridge talk to the world; `internal`: among themselves only. Harmless a second time.

        Nobody comes in from outside but by a published port, and nobody from one bridge to another.
        """
        lines = [BASE.format(table=self.table)]
        rules: dict[str, list[str]] = {f"{chain}-{bridge}": [] for chain in CHAINS.values()}
        for chain in rules:
            lines += [f"add chain inet {self.table} {chain}", f"flush chain inet {self.table} {chain}"]
        inside = f'"{bridge}" counter accept comment "within {bridge}"'
        rules[f"from-{bridge}"] += [f"oifname {inside}"]
        rules[f"into-{bridge}"] += [f"iifname {inside}"]
        if internal:
            rules[f"from-{bridge}"] += ['counter drop comment "internal"']
        else:
            rules[f"from-{bridge}"] += [
                'oifname @bridges counter drop comment "isolation"',
                'counter accept comment "to the world"',
            ]
        rules[f"into-{bridge}"] += ['counter drop comment "not published"']
        if masquerade and not internal:
            rules[f"nat-{bridge}"] += [f'oifname != "{bridge}" counter masquerade comment "to the world"']
        for subnet in subnets:
            saddr = f"{'ip6' if ':' in subnet else 'ip'} saddr {subnet}"
            rules[f"hairpin-{bridge}"] += [f'{saddr} ct status dnat counter masquerade comment "hairpin"']
        lines += [f"add rule inet {self.table} {chain} {rule}" for chain, of in rules.items() for rule in of]
        lines += [f"add element inet {self.table} {name} {{ {entry} }}" for name, entry in _elements(bridge)]
        nft.run("\n".join(lines))

    def close(self, bridge: str) -> None:
        """Take the rules of a bridge away. Harmless when there are none."""
        # Each by itself: of a set-up that was killed, or rules that somebody flushed, only some may be there.
        for name, entry in _elements(bridge):
            with contextlib.suppress(FileNotFoundError):
                nft.run(f"delete element inet {self.table} {name} {{ {entry.partition(' : ')[0]} }}")
        for chain in (f"{chain}-{bridge}" for chain in CHAINS.values()):
            with contextlib.suppress(FileNotFoundError):
                nft.run(f"flush chain inet {self.table} {chain}; delete chain inet {self.table} {chain}")

    def publish(self, publications: Iterable[Publication]) -> None:
        """Lead ports of this machine to containers, all or none. FileNotFoundError before any `open`.

        Who publishes holds the port (ports.py); so what is in the maps for it is a dead one's, and gives way.
        """
        elements = list(dict.fromkeys(one.element for one in publications))
        add = "\n".join(f"add element inet {self.table} {name} {{ {key} : {to} }}" for name, key, to in elements)
        if not add:
            return
        try:
            nft.run(add)
        except FileExistsError:
            for name, key, _ in elements:
                self._forget(name, key)
            nft.run(add)

    def unpublish(self, publications: Iterable[Publication]) -> None:
        """Lead them nowhere any more. Harmless for those that are gone. Only for who still holds the ports."""
        elements = list(dict.fromkeys(one.element for one in publications))
        try:
            if elements:
                nft.run("\n".join(f"delete element inet {self.table} {name} {{ {key} }}" for name, key, _ in elements))
        except FileNotFoundError:
            for name, key, _ in elements:
                self._forget(name, key)

    def _forget(self, name: str, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            nft.run(f"delete element inet {self.table} {name} {{ {key} }}")

    def remove(self) -> bool:
        """Delete the table with all that is in it; False if there was none."""
        try:
            nft.run(f"delete table inet {self.table}")
        except FileNotFoundError:
            return False
        return True

    def counters(self) -> list[Counter]:
        """Read what went by which rule, in the order in which packets come by them."""
        found = []
        for entry in nft.ask("list", "table", "inet", self.table):
            rule = entry.get("rule")
            if rule:
                counts = next((part["counter"] for part in rule["expr"] if "counter" in part), None)
                if counts:
                    found.append(Counter(rule["chain"], rule.get("comment", ""), counts["packets"], counts["bytes"]))
        return found

    def published(self) -> list[Publication]:
        """Read the maps: which port leads where."""
        found = []
        for entry in nft.ask("list", "table", "inet", self.table):
            about = entry.get("map")
            if about and about["name"].startswith("publish"):
                found += [_publication(*pair) for pair in about.get("elem", ())]
        return found

    def __repr__(self) -> str:
        return f"Firewall({self.table!r})"


class Counter(Record):
    """What went by one rule since it was made."""

    chain: str
    rule: str
    packets: int
    bytes: int


def _elements(bridge: str) -> list[tuple[str, str]]:
    """Return what is in which set for this bridge; what leads to chains is the first to be removed."""
    return [*((name, f'"{bridge}" : jump {to}-{bridge}') for name, to in CHAINS.items()), ("bridges", f'"{bridge}"')]


def _publication(key: dict[str, Any], to: dict[str, Any]) -> Publication:
    *host, protocol, port = key["concat"]
    address, to_port = to["concat"]
    return Publication(protocol, host[0] if host else "", port, address, to_port)
