"""Who asks for nothing is on the bridge, as with docker; and has no network, and is told so, where that cannot be."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from labrt.engine.options import Options
from labrt.errors import InvalidInput
from labrt.linux.network import nft

from .conftest import WORLD

pytestmark = pytest.mark.root
LABRT = [sys.executable, "-m", "labrt"]


@pytest.fixture
def asked_for_nothing(monkeypatch):
    monkeypatch.delenv("LABRT_NETWORK")


def test_the_default_is_the_bridge(asked_for_nothing, site):
    assert "eth0" in site.labrt("run", "--rm", "busybox", "ls", "/sys/class/net")
    site.labrt("run", "-d", "--name", "it", "busybox", "sleep", "300")
    about = site.inspect("it")
    assert about["HostConfig"]["NetworkMode"] == "bridge"
    assert [*about["NetworkSettings"]["Networks"]] == ["bridge"]
    address = site.address("it")
    assert f"{address}\t" in site.inside("it", "cat", "/etc/hosts")
    assert site.labrt("run", "--rm", "busybox", "ping", "-c1", "-W5", address)


@pytest.mark.parametrize(("words", "links"), [(["--network", "none"], "lo"), (["--network", "default"], "eth0\nlo")])
def test_what_is_typed_is_what_it_gets(words, links, asked_for_nothing, site):
    assert site.labrt("run", "--rm", *words, "busybox", "ls", "/sys/class/net") == links


def test_the_variable_names_another_default(site, monkeypatch):
    monkeypatch.setenv("LABRT_NETWORK", "none")
    assert site.labrt("run", "--rm", "busybox", "ls", "/sys/class/net") == "lo"
    site.labrt("network", "create", "mine")
    monkeypatch.setenv("LABRT_NETWORK", "mine")
    site.labrt("run", "-d", "--name", "it", "busybox", "sleep", "300")
    assert site.inspect("it")["HostConfig"]["NetworkMode"] == "mine"
    monkeypatch.setenv("LABRT_NETWORK", "gone")
    assert "gone" in site.refuses("run", "--rm", "busybox", "true")


def without_nft(site, *words):
    """Run a labrt command where nft is no program."""
    hide = "".join(f"[ ! -e {path} ] || mount --bind /dev/null {path}; " for path in nft.PLACES)
    command = [*site.enter, "unshare", "--mount", "sh", "-c", f'{hide}exec "$@"', "sh", *LABRT, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_where_it_cannot_be_made_a_run_has_none_and_says_so(asked_for_nothing, site):
    done = without_nft(site, "run", "--rm", "busybox", "ls", "/sys/class/net")
    assert (done.returncode, done.stdout) == (0, "lo\n"), done.stderr
    lines = [line for line in done.stderr.splitlines() if "network" in line]
    assert len(lines) == 1
    assert "nft is not installed" in lines[0] and "apt-get install nftables" in lines[0]
    quiet = without_nft(site, "run", "--rm", "--network", "none", "busybox", "true")
    assert (quiet.returncode, quiet.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--network", "bridge"], ["-p", "8080:80"]])
def test_who_asked_for_it_is_refused(words, asked_for_nothing, site):
    done = without_nft(site, "run", "--rm", *words, "busybox", "true")
    assert done.returncode == 125 and "nft is not installed" in done.stderr
    assert json.loads(site.run("ip", "-j", "link", "show", "type", "bridge")) == []


def test_without_a_free_address_it_is_refused(asked_for_nothing, site, house):
    site.labrt("network", "inspect", "bridge")  # so that it is there
    path = house / "lib" / "networks" / "bridge" / "network.json"
    about = json.loads(path.read_text())
    about["subnets"] = [{"subnet": "10.77.0.0/30", "gateway": "10.77.0.1", "ip_range": ""}]
    path.write_text(json.dumps(about))
    site.labrt("run", "-d", "--name", "first", "busybox", "sleep", "300")
    said = site.refuses("run", "--rm", "busybox", "true")
    assert "network bridge has no free address in 10.77.0.0/30" in said and "network create" in said
    site.labrt("rm", "-f", "first")
    assert "eth0" in site.labrt("run", "--rm", "busybox", "ls", "/sys/class/net")


def test_where_another_has_its_addresses_it_is_refused(asked_for_nothing, site, house):
    site.labrt("network", "inspect", "bridge")
    path = house / "lib" / "networks" / "bridge"
    subnet = json.loads((path / "network.json").read_text())["subnets"][0]["subnet"]
    site.ip(f"route add {subnet} via {WORLD}")  # a VPN came
    said = site.refuses("run", "--rm", "busybox", "true")
    assert f"{subnet} of network bridge overlaps" in said
    remedy = re.search("`(rm -r [^`]+)`", said.replace("\n", ""))
    assert remedy and remedy[1] == f"rm -r {path}"
    site.run("sh", "-c", remedy[1])
    assert "eth0" in site.labrt("run", "--rm", "busybox", "ls", "/sys/class/net")
    site.ip(f"route del {subnet}")


def test_where_the_pool_of_networks_is_full_it_is_refused(asked_for_nothing, site):
    site.ip(f"route add 172.24.0.0/13 via {WORLD}")
    said = site.refuses("run", "--rm", "busybox", "true")
    assert "172.24.0.0/13 is full" in said and "`labrt network prune`" in said
    assert site.labrt("ps", "-aq") == ""
    site.ip("route del 172.24.0.0/13")


def test_a_build_is_on_the_bridge_too(asked_for_nothing, site, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN ls /sys/class/net\nRUN --network=none ls /sys/class/net\n")
    def built(*words):
        return site.labrt("build", "--no-cache", "--progress", "plain", *words, str(tmp_path))

    assert built().count("eth0") == 1
    assert "eth0" not in built("--network", "none")
    assert built("--network", "host").count("up0") == 1
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN --network=host ls /sys/class/net\n")
    assert "--network=host is not allowed" in site.refuses("build", str(tmp_path))
    assert "up0" in built("--allow", "network.host")


def test_pasta_is_an_ordinary_users(labrt_root):
    with pytest.raises(InvalidInput, match="ordinary user"):
        Options("busybox", network="pasta")


def test_no_network_needs_no_module():
    assert not Options("busybox", network="none").given("network")
    assert Options("busybox", network="host").given("network")
