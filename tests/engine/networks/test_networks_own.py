"""Networks that somebody makes: names, isolation, addresses, several for one container, connecting while it runs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from .conftest import MACHINE, WORLD, Site, eventually, get

pytestmark = pytest.mark.root

NAMESERVER = """
import socket, sys
from dnslib import A, QTYPE, RR, DNSRecord
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 53))
print("ready")
while True:
    data, sender = sock.recvfrom(4096)
    question = DNSRecord.parse(data)
    reply = question.reply()
    if str(question.q.qname) == "example.com.":
        if question.q.qtype == QTYPE.A:
            reply.add_answer(RR("example.com", QTYPE.A, rdata=A("192.0.2.80"), ttl=60))
    else:
        reply.header.rcode = 3
    sock.sendto(reply.pack(), sender)
"""


THEIRS = "table inet theirs { chain c { type filter hook input priority 0; tcp dport 1 drop; }; }"
DROPPING = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"


def nap(site: Site, name: str, *options: str) -> str:
    return site.labrt("run", "-d", "--name", name, *options, "busybox", "sleep", "1000")


def test_names_both_ways(site: Site) -> None:
    site.world.serve(NAMESERVER, WORLD)
    site.labrt("network", "create", "--ipv6", "front")
    id = site.web("web", "--network", "front", "--network-alias", "www", "-h", "host7")
    nap(site, "other", "--network", "front", "--dns", WORLD)
    for name in ("web", "www", id[:12], "host7", "WEB", "web.front"):
        assert site.inside("other", "wget", "-qO-", f"http://{name}/") == "hello", name
    assert site.inside("web", "ping", "-c1", "-W2", "other")
    ours = [site.address("web", "front"), site.address("web", "front", "GlobalIPv6Address")]
    said = site.inside("other", "nslookup", "web")
    assert all(f"Address: {address}" in said for address in ours), said
    assert "name = web.front" in site.inside("other", "nslookup", ours[0])
    assert "name = web.front" in site.inside("other", "nslookup", ours[1])
    assert "192.0.2.80" in site.inside("other", "nslookup", "example.com")
    assert "NXDOMAIN" in site.inside("other", "nslookup", "nobody.example.com", check=False)
    resolv = site.inside("other", "cat", "/etc/resolv.conf").splitlines()
    assert resolv[0] == "nameserver 127.0.0.11" and "options ndots:0" in resolv
    site.labrt("rename", "web", "shop")
    assert site.inside("other", "wget", "-qO-", "http://shop/") == "hello"
    site.labrt("rm", "-f", "shop")
    assert "NXDOMAIN" in site.inside("other", "nslookup", "shop", check=False)
    # A name server of the container's own may have port 53.
    assert "in use" not in site.inside("other", "sh", "-c", "timeout 1 nc -l -p 53", check=False)


def test_networks_are_apart(site: Site) -> None:
    for name in ("one", "two"):
        site.labrt("network", "create", name)
        site.web(name, "--network", name, "-p", "8081:80" if name == "one" else "8082:80", text=name)
    nap(site, "third", "--network", "one", "--dns", WORLD)  # where nobody listens: a quick no
    there = site.address("two", "two")
    assert site.inside("third", "timeout", "3", "wget", "-qO-", f"http://{site.address('one', 'one')}/") == "one"
    assert not site.inside("third", "timeout", "1", "wget", "-qO-", f"http://{there}/", check=False)
    assert "bad address" in site.inside("third", "timeout", "20", "wget", "-qO-", "http://two/", check=False)
    # What is published is so for everybody.
    assert site.inside("third", "timeout", "3", "wget", "-qO-", f"http://{MACHINE}:8082/") == "two"
    drops = [line for line in site.labrt("network", "trace").splitlines() if "isolation" in line]
    assert sum(int(line.split()[0]) for line in drops) > 0
    # In both, it sees both: the first gives the way out.
    site.labrt("network", "connect", "--alias", "bridgehead", "two", "third")
    assert site.inside("third", "timeout", "3", "wget", "-qO-", "http://two/") == "two"
    assert site.inside("third", "timeout", "3", "wget", "-qO-", "http://one/") == "one"
    assert site.inside("two", "ping", "-c1", "-W2", "bridgehead")
    assert site.inside("third", "ip", "route").splitlines()[0].endswith("dev eth0 ")
    site.labrt("network", "disconnect", "one", "third")
    assert "bad address" in site.inside("third", "timeout", "20", "wget", "-qO-", "http://one/", check=False)
    assert site.inside("third", "ip", "route").splitlines()[0].endswith("dev eth1 ")
    assert [*site.inspect("third")["NetworkSettings"]["Networks"]] == ["two"]
    assert "is not in network one" in site.refuses("network", "disconnect", "one", "third")
    assert "is in network two already" in site.refuses("network", "connect", "two", "third")


def test_an_internal_network(site: Site) -> None:
    site.world.serve(NAMESERVER, WORLD)
    site.labrt("network", "create", "--internal", "cell")
    site.web("web", "--network", "cell")
    nap(site, "other", "--network", "cell", "--dns", WORLD)
    assert site.inside("other", "timeout", "3", "wget", "-qO-", "http://web/") == "hello"
    assert "default" not in site.inside("other", "ip", "route")
    assert "unreachable" in site.inside("other", "ping", "-c1", "-W1", WORLD, check=False)
    assert "192.0.2.80" not in site.inside("other", "nslookup", "example.com", check=False)
    assert "leads out" in site.refuses("run", "--rm", "--network", "cell", "-p", "80:80", "busybox", "true")
    # Nor with a route of one's own making.
    nap(site, "rebel", "--network", "cell", "--cap-add", "NET_ADMIN")
    gateway = json.loads(site.labrt("network", "inspect", "cell"))[0]["IPAM"]["Config"][0]["Gateway"]
    site.inside("rebel", "ip", "route", "add", "default", "via", gateway)
    assert "100% packet loss" in site.inside("rebel", "ping", "-c1", "-W1", WORLD, check=False)


def test_chosen_addresses(site: Site) -> None:
    site.labrt("network", "create", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.254", "--ip-range", "10.9.0.128/29",
               "--subnet", "fd00:9::/64", "-o", "mtu=1300", "--label", "a=b", "mine")  # fmt: skip
    nap(site, "fixed", "--network", "mine", "--ip", "10.9.0.7", "--ip6", "fd00:9::7",
        "--mac-address", "02:00:00:00:00:07")  # fmt: skip
    link = site.inside("fixed", "ip", "addr", "show", "eth0")
    assert all(word in link for word in ("10.9.0.7/24", "fd00:9::7/64", "02:00:00:00:00:07", "mtu 1300")), link
    assert "default via 10.9.0.254" in site.inside("fixed", "ip", "route")
    nap(site, "any", "--network", "mine,alias=who")
    assert site.address("any", "mine") == "10.9.0.128"
    assert site.inside("fixed", "ping", "-c1", "-W2", "who")
    # The largest packet goes through, a larger one does not.
    assert site.inside("fixed", "ping", "-c1", "-W2", "-s", str(1300 - 28), "any")
    about = json.loads(site.labrt("network", "inspect", "mine"))[0]
    assert about["IPAM"]["Config"][0] == {"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.254", "IPRange": "10.9.0.128/29"}
    assert about["Labels"] == {"a": "b"} and about["EnableIPv6"]
    assert {one["Name"]: one["IPv4Address"] for one in about["Containers"].values()} == {
        "fixed": "10.9.0.7/24", "any": "10.9.0.128/24"}  # fmt: skip
    for ip, why in (("10.9.0.7", "belongs to container"), ("10.9.0.254", "belongs to the gateway"),
                    ("10.8.0.1", "is not in network mine")):  # fmt: skip
        assert why in site.refuses("run", "--rm", "--network", "mine", "--ip", ip, "busybox", "true")
    for subnet, why in (("10.9.0.0/16", "10.9.0.0/24 of network mine"), ("203.0.113.0/25", "203.0.113.0/24 of up0")):
        assert f"overlaps {why}" in site.refuses("network", "create", "--subnet", subnet, "more")
    assert "has containers" in site.refuses("network", "rm", "mine")
    site.labrt("rm", "-f", "fixed", "any")
    assert site.labrt("network", "prune", "-f").splitlines() == ["Deleted Networks:", "mine"]
    assert "no network is called mine" in site.refuses("run", "--rm", "--network", "mine", "busybox", "true")


def test_another_containers_network(site: Site) -> None:
    site.web("web", "--network", "bridge", "-p", "8080:80")
    join = ("run", "--rm", "--network", "container:web", "busybox")
    assert site.labrt(*join, "wget", "-qO-", "http://127.0.0.1/") == "hello"
    assert site.labrt(*join, "cat", "/etc/hosts") == site.inside("web", "cat", "/etc/hosts").strip()
    said = site.refuses("run", "--rm", "--network", "container:web", "-p", "1:1", "busybox", "true")
    assert "it would be that one's" in said
    nap(site, "bare", "--network", "host")
    assert "no network of its own" in site.refuses("run", "--rm", "--network", "container:bare", "busybox", "true")


def test_a_macvlan_is_on_the_cable_itself(site: Site) -> None:
    site.labrt("network", "create", "-d", "macvlan", "--subnet", "198.51.100.0/24", "-o", "parent=up0", "wire")
    site.world.ip("address add 198.51.100.1/24 dev down0")
    site.web("web", "--network", "wire", "--ip", "198.51.100.9", "--mac-address", "02:00:00:00:00:09")
    assert get(site.world, "http://198.51.100.9/") == "hello"
    assert "02:00:00:00:00:09" in site.world.ip("neigh show 198.51.100.9")
    said = site.refuses("network", "create", "-d", "macvlan", "wire2")
    assert "parent=eth0" in said


def test_rules_that_somebody_flushed_come_back(site: Site) -> None:
    nap(site, "first", "--network", "bridge")
    site.run("nft", "flush", "ruleset")
    site.web("web", "--network", "bridge", "-p", "8080:80")
    assert get(site.world, f"http://{MACHINE}:8080/") == "hello"


def test_other_tables_are_left_alone(site: Site) -> None:
    site.run("nft", "-f", "-", input=THEIRS)
    theirs = site.run("nft", "list", "table", "inet", "theirs")
    site.web("web", "--network", "bridge", "-p", "8080:80")
    site.labrt("rm", "-f", "web")
    site.labrt("reset")
    assert site.run("nft", "list", "ruleset") == theirs
    site.run("nft", "delete", "table", "inet", "theirs")


def test_another_firewall_that_drops_is_named(site: Site) -> None:
    site.run("nft", "-f", "-", input=DROPPING)
    run = (sys.executable, "-m", "labrt", "run", "--rm", "--network", "bridge", "busybox", "true")
    said = site.run("sh", "-c", 'exec "$@" 2>&1', "sh", *run)
    assert "another firewall (table ip filter) drops what it does not know" in said
    site.run("nft", "delete", "table", "ip", "filter")


def test_two_labrts_share_forwarding(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.labrt("run", "--rm", "--network", "bridge", "busybox", "true")
    own, other = os.environ["LABRT_ROOT"], tmp_path / "second"
    monkeypatch.setenv("LABRT_ROOT", str(other))
    shutil.copytree(f"{own}/lib/images", other / "lib" / "images", symlinks=True)
    site.labrt("run", "--rm", "--network", "bridge", "busybox", "true")
    monkeypatch.setenv("LABRT_ROOT", own)
    site.labrt("reset")
    assert site.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"  # the second needs it
    monkeypatch.setenv("LABRT_ROOT", str(other))
    site.labrt("reset")
    assert site.run("cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"
    monkeypatch.setenv("LABRT_ROOT", own)


def test_connected_while_it_does_not_run(site: Site) -> None:
    site.labrt("network", "create", "later")
    site.labrt("create", "--name", "box", "--network", "bridge", "busybox", "sleep", "1000")
    site.labrt("network", "connect", "later", "box")
    site.labrt("start", "box")
    eventually(lambda: len(site.inside("box", "ip", "-o", "-4", "addr").splitlines()) == 3, "lo, eth0, eth1")
    assert "made with --network none" in site.refuses("network", "connect", "later", none(site))


def none(site: Site) -> str:
    return nap(site, "bare", "--network", "none")[:12]
