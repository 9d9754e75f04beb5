"""Bringing networks up, and mending them: what needs no container."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrt.linux import process
from labrt.linux.network import nft
from labrt.paths import Paths
from labrt.runtime.networks import uplink
from labrt.runtime.networks.definition import Network, Subnet


@pytest.mark.root
@pytest.mark.parametrize(("driver", "tables"), [("bridge", 1), ("macvlan", 0)])
def test_only_bridges_have_rules_to_be_written_anew(tmp_path: Path, driver: str, tables: int):
    """Of a macvlan they would be about the host's own card, and cut all others off from the world."""
    where = Paths(str(tmp_path / "lib"), str(tmp_path / "run"))
    network = Network("n", "0" * 64, driver, 0.0, "card0", (Subnet("10.9.0.0/24", "10.9.0.1"),))

    def child() -> int:
        uplink.repair(network, where)
        return len(nft.tables())

    assert process.run_in_child(child, namespaces="net") == tables
