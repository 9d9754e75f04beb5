"""Notebook 14's check: join(left, right). What passes, and what each mistake is told."""

from __future__ import annotations

import os

import pytest

from labrt.lab import stations
from labrt.lab.checks import cables
from labrt.linux import namespaces
from labrt.linux.network import addresses, links

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("busybox")]
LEFT, RIGHT = "10.14.0.1/24", "10.14.0.2/24"


@pytest.fixture(autouse=True)
def able():
    if lacking := stations.lacking(rules=False):
        pytest.skip(lacking)


def cable(left, right, name="eth0", peer="eth0"):
    with namespaces.entered("net", left):
        there = namespaces.of(right).net.open()
        links.veth(name, peer, namespace=there)
        os.close(there)


def finish(pid, address, up=True, name="eth0"):
    with namespaces.entered("net", pid):
        if address:
            addresses.add(name, address)
        links.change(name, up=up)


def join(left, right, *, here=LEFT, there=RIGHT, up=True, lay=cable):
    lay(left, right)
    finish(left, here)
    finish(right, there, up)


def but(**how):
    return lambda left, right: join(left, right, **how)


def in_the_host(left, right):
    links.veth("v0", "v1")


def one_end_only(left, right):
    there = namespaces.of(right).net.open()
    links.veth("v0", "eth0", namespace=there)
    os.close(there)


def two_cables(left, right):
    for pid in (left, right):
        with namespaces.entered("net", pid):
            links.veth("eth0", "lost")
            links.change("lost", up=True)


def by_a_bridge(left, right):
    links.bridge("br0")
    links.change("br0", up=True)
    for number, pid in enumerate((left, right), 1):
        there = namespaces.of(pid).net.open()
        links.veth(f"port{number}", "eth0", namespace=there)
        os.close(there)
        links.change(f"port{number}", master="br0", up=True)
    finish(left, LEFT)
    finish(right, RIGHT)


def test_a_bridge_will_do(labrt_root):
    check = cables.joins(by_a_bridge)
    assert check.passed, str(check)
    assert "which is right's eth0" in check.saw


def test_join(judged):
    judged("14", join, {
        "nothing": (lambda left, right: None, "no cable was laid"),
        "host": (in_the_host, "but in the host"),
        "one end": (one_end_only, "left has nothing but its loopback"),
        "names": (lambda left, right: cable(left, right, "eth0", "eth1"), "is called eth1"),
        "no address": (but(there=""), "right's eth0 has no address"),
        "a network of one": (but(here="10.14.0.1/32"), "of which network"),
        "swapped": (but(here=RIGHT, there=LEFT), "was asked for"),
        "off": (but(up=False), "switched off: eth0 of right"),
        "two cables": (but(lay=two_cables), "not ends of one cable"),
    })  # fmt: skip
