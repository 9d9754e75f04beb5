"""Notebook 15's check: publish(port, address, to). What passes, and what each mistake is told."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from labrt.lab import stations
from labrt.linux import ledger
from labrt.linux.network import nft

pytestmark = pytest.mark.root
RULE = "fib daddr type local tcp dport {port} counter dnat to {address}:{to}"


@pytest.fixture(autouse=True)
def able(labrt_root):
    if lacking := stations.lacking():
        pytest.skip(lacking)
    yield
    assert ledger.entries() == []


def publisher(rule=RULE, hook="prerouting", priority="dstnat", end="delete table ip lesson", safely=True):
    @contextmanager
    def publish(port, address, to):
        told = rule.format(port=port, address=address, to=to)
        nft.run(f"table ip lesson {{ chain in {{ type nat hook {hook} priority {priority}; {told}; }}\n}}")
        if not safely:
            yield
            nft.run(end)
            return
        try:
            yield
        finally:
            if end:
                nft.run(end)

    return publish


@contextmanager
def does_nothing(port, address, to):
    yield


def test_publish(judged):
    judged("15", publisher(), {
        "no rule": (does_nothing, "no table of yours"),
        "output": (publisher(hook="output", priority="-100"), "hangs at output"),
        "ports swapped": (publisher(RULE.replace("{port}", "{to}").replace(":{to}", ":{port}")), "nobody answered"),
        "all ports": (publisher("fib daddr type local meta l4proto tcp counter dnat to {address}:{to}"), "port 8081"),
        "any address": (publisher(RULE.removeprefix("fib daddr type local ")), "the *world's* port"),
        "never deleted": (publisher(end=""), "still there"),
        "no finally": (publisher(safely=False), "When it raises"),
        "flush": (publisher(end="flush ruleset"), "somebody else's"),
        "no context manager": (lambda port, address, to: None, "raised"),
    })  # fmt: skip
