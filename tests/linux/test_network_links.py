"""Links, addresses, routes and rules, one primitive at a time, in namespaces of their own; ip(8) is who is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from labrt.errors import Conflict, InvalidInput, NotFound
from labrt.linux import network, process
from labrt.linux.network import addresses, links, nft, ports, routes
from labrt.linux.network.firewall import Firewall, Publication

pytestmark = pytest.mark.root


def alone(function: Callable[[], Any]) -> Any:
    """Call a function in a network namespace of its own."""
    if not shutil.which("ip"):
        pytest.skip("ip is not installed (iproute2)")
    return process.run_in_child(function, namespaces="net")


def ip(*words: str) -> list[dict[str, Any]]:
    found = json.loads(subprocess.run(["ip", "-j", *words], check=True, capture_output=True).stdout or "[]")
    return [entry for entry in found if entry]


def test_two_ends_of_a_cable_and_a_bridge() -> None:
    def build() -> Any:
        with process.spawn(lambda: os.read(waits, 1), namespaces="net") as other:
            namespace = os.open(f"/proc/{other.pid}/ns/net", os.O_RDONLY)
            links.bridge("br0", mtu=1400, mac="02:00:00:00:00:01")
            links.veth("v1", "eth0", namespace=namespace, mac="02:00:00:00:00:02", mtu=1400)
            links.change("v1", master="br0", up=True)
            links.change("br0", up=True)
            addresses.add("br0", "10.1.2.1/24")
            addresses.add("br0", "10.1.2.1/24")  # harmless
            there = subprocess.run(["nsenter", f"--net=/proc/{other.pid}/ns/net", "ip", "-j", "link", "show", "eth0"],
                                   check=True, capture_output=True).stdout  # fmt: skip
            shown = {entry["ifname"]: entry for entry in ip("-d", "address", "show")}
            plugged = links.ports_of("br0")
            os.write(opens, b"x")
            other.wait()
        return shown, json.loads(there)[0], plugged, links.delete_bridge("br0"), links.delete("br0"), links.exists("v1")

    waits, opens = os.pipe()
    shown, there, plugged, first, second, cable = alone(build)
    os.close(waits)
    os.close(opens)
    assert (shown["br0"]["address"], shown["br0"]["mtu"]) == ("02:00:00:00:00:01", 1400)
    assert shown["br0"]["linkinfo"]["info_kind"] == "bridge"
    assert (shown["v1"]["master"], shown["v1"]["linkinfo"]["info_kind"]) == ("br0", "veth")
    [inet] = [one for one in shown["br0"]["addr_info"] if one["family"] == "inet"]
    assert (inet["local"], inet["prefixlen"], inet["broadcast"]) == ("10.1.2.1", 24, "10.1.2.255")
    assert (there["address"], there["mtu"]) == ("02:00:00:00:00:02", 1400)
    assert (plugged, first, second, cable) == (["v1"], True, False, False)


def test_addresses_and_routes_as_ip_shows_them() -> None:
    def build() -> Any:
        network.loopback_up()
        links.veth("a", "b")
        for name in ("a", "b"):
            links.change(name, up=True)
        addresses.add("a", "192.0.2.1/24")
        addresses.add("a", "fd00:1::1/64")
        routes.add("a", via="192.0.2.254")
        routes.add("a", "198.51.100.0/24", via="192.0.2.7")
        routes.add("a", via="fd00:1::fe")
        ours = [one[:3] for one in routes.listed() if not one.destination.startswith("fe80")]
        theirs = [(entry["dst"], entry.get("gateway", ""), entry["dev"]) for family in ("-4", "-6")
                  for entry in ip(family, "route") if not entry["dst"].startswith("fe80")]  # fmt: skip
        routes.delete("a", via="192.0.2.254")
        left = [one.destination for one in routes.listed()]
        return ours, theirs, left, [one.address for one in addresses.listed() if one.interface == "a"]

    ours, theirs, left, own = alone(build)
    full = {"default": {"192.0.2.254": "0.0.0.0/0", "fd00:1::fe": "::/0"}}
    assert {*ours} == {(full["default"][via] if to == "default" else to, via, by) for to, via, by in theirs}
    assert len(ours) == 5 and "0.0.0.0/0" not in left and "::/0" in left
    assert {"192.0.2.1/24", "fd00:1::1/64"} <= {*own}


@pytest.mark.parametrize(("wrong", "error", "says"), [
    (lambda: links.bridge("lo"), Conflict, "there is an interface lo already"),
    (lambda: links.bridge("a-name-that-is-too-long"), InvalidInput, "no interface's name"),
    (lambda: links.change("nosuch", up=True), NotFound, "no interface 'nosuch'"),
    (lambda: links.macvlan("m", "nosuch"), NotFound, "no interface 'nosuch'"),
    (lambda: links.macvlan("m", "lo", mode="x"), InvalidInput, "'x' is not known"),
    (lambda: routes.add("lo", via="192.0.2.1"), OSError, "add the route to 0.0.0.0/0 by lo and 192.0.2.1"),
])  # fmt: skip
def test_what_cannot_be_says_why(wrong: Callable[[], object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        alone(wrong)


def test_a_firewall_is_one_table() -> None:
    if not any(os.access(path, os.X_OK) for path in nft.PLACES):
        pytest.skip("nft is not installed (nftables)")

    def build() -> Any:
        firewall = Firewall("labrt-test")
        wanted = [
            Publication("tcp", "", 8080, "172.24.0.2", 80), Publication("tcp", "192.0.2.1", 8080, "172.24.0.3", 81),
            Publication("udp", "", 53, "fd00::2", 53), Publication("udp", "fd00::9", 53, "fd00::3", 53),
        ]  # fmt: skip
        with pytest.raises(FileNotFoundError, match="No such file"):
            firewall.publish(wanted)
        firewall.open("br0", ["172.24.0.0/24", "fd00::/64"])
        firewall.open("br1", ["172.24.1.0/24"], internal=True)
        once = nft.ask("list", "ruleset")
        firewall.open("br0", ["172.24.0.0/24", "fd00::/64"])  # a second time changes nothing
        firewall.publish(wanted)
        stale = Publication("tcp", "", 8080, "172.24.0.9", 80)
        firewall.publish([stale])  # whoever has the port now
        published = firewall.published()
        firewall.unpublish([*wanted, stale])
        none = firewall.published()
        again = nft.ask("list", "ruleset")
        firewall.close("br0")
        firewall.close("br0")
        closed = [counter.chain for counter in firewall.counters()]
        return wanted, stale, published, none, once, again, closed, firewall.remove(), firewall.remove(), nft.tables()

    wanted, stale, published, none, once, again, closed, first, second, tables = alone(build)
    assert {*published} == {*wanted[1:], stale} and none == []
    rules = lambda listed: sorted(json.dumps(entry["rule"]["expr"]) for entry in listed if "rule" in entry)  # noqa: E731
    assert rules(once) == rules(again)
    assert not [chain for chain in closed if chain.endswith("br0")] and "from-br1" in closed
    assert (first, second, tables) == (True, False, [])


def test_a_port_has_one_holder() -> None:
    def build() -> Any:
        network.loopback_up()
        with ports.claim("tcp", "127.0.0.1", 0) as first, ports.claim("udp", "::", 5353):
            number = first.getsockname()[1]
            with pytest.raises(Conflict, match=rf"127.0.0.1:{number}/tcp is taken by .*\(pid {os.getpid()}\)"):
                ports.claim("tcp", "127.0.0.1", number)
            with pytest.raises(Conflict, match=r"port \[::1\]:5353/udp is taken"):
                ports.claim("udp", "::1", 5353)
            return os.getpid(), ports.holders("tcp", number), ports.holders("udp", 5353), ports.holders("tcp", 1)

    pid, tcp, udp, nobody = alone(build)
    assert [(one.pid, one.address) for one in tcp] == [(pid, "127.0.0.1")]
    assert [(one.pid, one.address) for one in udp] == [(pid, "::")] and nobody == []
    with pytest.raises(NotFound, match="no address of this machine"):
        ports.claim("tcp", "192.0.2.99", 0)
