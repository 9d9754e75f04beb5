"""Carriers, captures, echoes and neighbour tables, in network namespaces made for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from labrt.errors import NotFound
from labrt.lab import stations
from labrt.linux.network import links, neighbours
from labrt.linux.network.packets import EVERYBODY, Capture, ping

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def able(labrt_root):
    if lacking := stations.lacking(rules=False):
        pytest.skip(lacking)


def test_a_cable_carries_when_both_ends_are_on() -> None:
    with stations.stations("one") as (one,), one.inside():
        links.veth("a", "b")
        links.change("a", up=True)
        assert not links.carries("a", timeout=0.05)
        links.change("b", up=True)
        assert links.carries("a", timeout=5) and links.carries("b", timeout=5)
        links.change("b", up=False)
        assert not links.carries("a")
        assert not links.carries("lo")
        links.change("lo", up=True)
        assert links.carries("lo")
        with pytest.raises(NotFound):
            links.carries("c")


def test_an_echo_is_seen_on_the_cable_and_remembered() -> None:
    with stations.stations("left", "right") as (left, right):
        left.plug("eth0", "10.14.0.1/24", right, "eth0", "10.14.0.2/24")
        with left.inside(), Capture("eth0") as capture:
            assert ping("10.14.0.2", timeout=5) is not None
            frames = capture.frames()
            assert capture.frames() == []
            (known,) = neighbours.listed()
        assert [frame.kind for frame in frames] == ["ARP", "ARP", "ICMP", "ICMP"]
        assert [frame.outgoing for frame in frames] == [True, False, True, False]
        assert frames[0].destination == EVERYBODY and "who has 10.14.0.2?" in frames[0].said
        assert known.mac == frames[1].source and (known.address, known.state) == ("10.14.0.2", "reachable")
        assert frames[2].said == "echo request, 10.14.0.1 → 10.14.0.2"


def test_who_cannot_be_reached() -> None:
    with stations.stations("left", "right") as (left, right):
        left.plug("eth0", "10.14.0.1/24", right, "eth0", "10.14.0.2/24")
        with left.inside():
            with pytest.raises(OSError, match="ENETUNREACH"):
                ping("192.0.2.1")
            assert ping("10.14.0.9", timeout=0.05) is None
            (nobody,) = neighbours.listed()
            assert (nobody.mac, nobody.state) == ("", "incomplete")
            with pytest.raises(OSError, match="capture at eth1"):
                Capture("eth1")


def test_a_bridge_learns_from_senders() -> None:
    with stations.stations("a", "b", "switch") as (a, b, switch):
        with switch.inside():
            links.bridge("br0")
            links.change("br0", up=True)
        for number, station in enumerate((a, b), 1):
            switch.plug(f"port{number}", f"10.9.{number}.9/32", station, "eth0", f"10.14.0.{number}/24")
            with switch.inside():
                links.change(f"port{number}", master="br0")
        with switch.inside():
            assert neighbours.learned("br0") == []
            with pytest.raises(NotFound):
                neighbours.learned("br1")
        with a.inside():
            assert ping("10.14.0.2", timeout=5) is not None
        with switch.inside():
            assert {one.port for one in neighbours.learned("br0")} == {"port1", "port2"}


def test_stations_end_with_who_made_them() -> None:
    program = (
        "import os\nfrom labrt.lab import stations\n"
        "with stations.stations('left', 'right') as (left, right):\n"
        "    left.plug('eth0', '10.14.0.1/24', right, 'eth0', '10.14.0.2/24')\n"
        "    right.serve_web('hello')\n"
        "    print(left.pid, right.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == -9, ran.stderr
    for pid in map(int, ran.stdout.split()):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            from labrt.linux import process

            assert process.wait_for(pidfd, 10)
        finally:
            os.close(pidfd)
    from labrt.lab import ledger

    assert ledger.reset(quiet=True).ok and len(ledger.ledger()) == 0
