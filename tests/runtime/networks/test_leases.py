"""Addresses: none twice, none lost, whoever is killed when."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from labrt.errors import Conflict, InvalidInput
from labrt.linux import process
from labrt.runtime.networks.definition import Network, Subnet
from labrt.runtime.networks.leases import Leases


def network(subnet: str = "10.9.0.0/24", ip_range: str = "", six: str = "") -> Network:
    subnets = [Subnet(subnet, subnet.replace("0/", "1/").partition("/")[0], ip_range)]
    subnets += [Subnet(six, six.replace("::/", "::1/").partition("/")[0])] if six else []
    return Network("net", "0" * 64, "bridge", 0.0, "labrt-test", tuple(subnets))


def test_the_next_that_is_free(tmp_path: Path) -> None:
    leases = Leases(str(tmp_path), network(six="fd00:9::/64"))
    first, second = leases.take("a" * 64, names=["web", "www"]), leases.take("b" * 64)
    assert (first.ipv4, first.ipv6, first.mac) == ("10.9.0.2", "fd00:9::2", "02:42:0a:09:00:02")
    assert (second.ipv4, second.ipv6) == ("10.9.0.3", "fd00:9::3")
    leases.give_back("a" * 64)
    assert leases.take("c" * 64).ipv4 == "10.9.0.4"  # not at once the one that was given back
    assert leases.endpoints()["c" * 64].pid == os.getpid() and "a" * 64 not in leases.endpoints()
    leases.give_back("a" * 64)
    assert leases.take("d" * 64, ipv4="10.9.0.2").ipv4 == "10.9.0.2"
    with pytest.raises(Conflict, match="belongs to container dddddddddddd"):
        leases.take("e" * 64, ipv4="10.9.0.2")
    with pytest.raises(Conflict, match="belongs to the gateway"):
        leases.take("e" * 64, ipv4="10.9.0.1")
    with pytest.raises(InvalidInput, match="not in network net"):
        leases.take("e" * 64, ipv4="10.8.0.1")
    with pytest.raises(InvalidInput, match="no IPv6"):
        Leases(str(tmp_path / "4"), network()).take("e" * 64, ipv6="fd00::1")


def test_a_full_network_says_so(tmp_path: Path) -> None:
    leases = Leases(str(tmp_path), network("10.9.0.0/29"))
    got = [leases.take(str(number) * 64).ipv4 for number in range(5)]
    assert got == [f"10.9.0.{number}" for number in range(2, 7)]  # not the network, the gateway, the broadcast
    with pytest.raises(Conflict, match="no free address in 10.9.0.0/29"):
        leases.take("f" * 64)
    leases.give_back("2" * 64)
    assert leases.take("f" * 64).ipv4 == "10.9.0.4"


def test_only_of_the_range(tmp_path: Path) -> None:
    leases = Leases(str(tmp_path), network(ip_range="10.9.0.128/30"))
    assert [leases.take(str(number) * 64).ipv4 for number in range(4)] == [f"10.9.0.{n}" for n in range(128, 132)]
    with pytest.raises(Conflict, match="10.9.0.128/30"):
        leases.take("f" * 64)


@pytest.mark.root
def test_who_dies_gives_back(tmp_path: Path) -> None:
    leases = Leases(str(tmp_path), network("10.9.0.0/29"))
    for number in range(20):  # more often than there are addresses
        with process.spawn(lambda number=number: leases.take(f"{number:064}")) as child:
            assert child.wait().code == 0
    assert len(leases.endpoints()) == 1


@pytest.mark.root
def test_many_at_once_and_killed_at_any_instant(tmp_path: Path) -> None:
    """Each child takes and gives back as fast as it can, and is killed; who lives has what nobody else has."""
    leases = Leases(str(tmp_path), network())

    def churn(number: int) -> None:
        with contextlib.suppress(Conflict):
            for turn in range(1000):
                leases.take(f"{number:032}{turn:032}")
                if turn % 3 == 0:
                    leases.give_back(f"{number:032}{turn:032}")

    rng = random.Random(6)
    for _ in range(5):
        children = [process.spawn(lambda number=number: churn(number)) for number in range(6)]
        time.sleep(0.05 + rng.random() / 10)
        for child in children:
            child.kill(signal.SIGKILL)
            child.wait()
            child.close()
        book = json.loads(Path(leases.file).read_text())["endpoints"]
        addresses = [entry["ipv4"] for entry in book.values()]
        assert len(addresses) == len(set(addresses))
    assert leases.take("f" * 64).ipv4  # none was lost for good
    assert len(leases.endpoints()) == 1
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == ["net.json"]


def test_another_boots_leases_are_void(tmp_path: Path) -> None:
    leases = Leases(str(tmp_path), network())
    leases.take("a" * 64)
    about = json.loads(Path(leases.file).read_text())
    Path(leases.file).write_text(json.dumps({**about, "boot": "another"}))
    assert leases.endpoints() == {}
    Path(leases.file).write_bytes(b"\0" * 100)  # after a power cut
    assert leases.endpoints() == {} and leases.take("b" * 64).ipv4 == "10.9.0.2"
