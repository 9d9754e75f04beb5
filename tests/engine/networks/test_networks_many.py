"""Many at the same instant, in several networks each, up and down: no address twice, nothing left. And what went by.

    LABRT_CONTAINERS=100 LABRT_ROUNDS=10 .venv/bin/python -m pytest tests/engine/networks/test_networks_many.py

is what a long run is: a hundred containers in three networks, ten times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import MACHINE, Site, get

pytestmark = pytest.mark.root
HOW_MANY = int(os.environ.get("LABRT_CONTAINERS", "5"))
ROUNDS = int(os.environ.get("LABRT_ROUNDS", "2"))
NETS = ("one", "two", "three")


def test_many_at_once_again_and_again(site: Site, house: Path) -> None:
    for net in NETS:
        site.labrt("network", "create", net)
    for _ in range(ROUNDS):
        up_and_down(site, house)
    assert site.labrt("network", "prune", "-f").splitlines()[1:] == sorted(NETS)


def up_and_down(site: Site, house: Path) -> None:
    begun = [
        subprocess.Popen([*site.enter, sys.executable, "-m", "labrt", "run", "-d", "--name", f"c{number}",
                          *(word for net in NETS for word in ("--network", net)), "-p", f"{9000 + number}:80",
                          "busybox", "sleep", "1000"], stdout=subprocess.DEVNULL)
        for number in range(HOW_MANY)
    ]  # fmt: skip
    assert [one.wait(60 + 3 * HOW_MANY) for one in begun] == [0] * HOW_MANY
    for about in json.loads(site.labrt("network", "inspect", *NETS)):
        addresses = {one["IPv4Address"] for one in about["Containers"].values()}
        assert len(addresses) == len(about["Containers"]) == HOW_MANY
    last = f"c{HOW_MANY - 1}"
    assert site.inside("c0", "ping", "-c1", "-W2", last)
    for number in range(HOW_MANY):  # one after the other: `site.run` has only so much patience
        site.labrt("rm", "-f", f"c{number}")
    assert "lab" not in site.ip("-o link show type veth").replace("up0", "")
    for net in NETS:
        assert json.loads((house / "run" / "networks" / f"{net}.json").read_text())["endpoints"] == {}
    rules = site.run("nft", "list", "ruleset")
    assert not any(f" {9000 + number} :" in rules for number in range(HOW_MANY))


def test_the_way_of_a_packet(site: Site) -> None:
    site.web("web", "--network", "bridge", "-p", "8080:80")
    code = (
        "from labrt.engine.network_trace import trace\n"
        "before = trace(); print('ready', flush=True); input(); print(trace() - before)\n"
    )
    tracer = subprocess.Popen([*site.enter, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)  # fmt: skip
    assert tracer.stdout is not None and tracer.stdout.readline() == "ready\n"
    assert get(site.world, f"http://{MACHINE}:8080/") == "hello"
    said, _ = tracer.communicate("\n", timeout=60)
    assert "published ports" in said and "isolation" not in said  # only what something went by
    lines = site.labrt("network", "trace").splitlines()
    count = {line.split(": ", 1)[1]: int(line.split()[0]) for line in lines if " packets " in line}
    assert count["for this machine's own addresses"] >= 1  # one: NAT decides about the first packet of a connection
    assert count["published ports"] >= 1 and count["answers"] > count["published ports"]
    assert any("0.0.0.0:8080/tcp ──► " in line for line in lines)
