"""--network, -p and their like: what is understood, what is refused."""

from __future__ import annotations

import pytest

from labrt.engine.options import Options, networking
from labrt.errors import InvalidInput


@pytest.mark.parametrize(("text", "ports"), [
    ("80", [("tcp", "", 0, 0, 80)]),
    ("8080:80", [("tcp", "", 8080, 8080, 80)]),
    ("8080:80/udp", [("udp", "", 8080, 8080, 80)]),
    ("127.0.0.1:8080:80", [("tcp", "127.0.0.1", 8080, 8080, 80)]),
    ("127.0.0.1::80", [("tcp", "127.0.0.1", 0, 0, 80)]),
    ("[::1]:8080:80", [("tcp", "::1", 8080, 8080, 80)]),
    ("0.0.0.0:8080:80", [("tcp", "0.0.0.0", 8080, 8080, 80)]),
    ("8000-8010:80", [("tcp", "", 8000, 8010, 80)]),
    ("8000-8001:80-81", [("tcp", "", 8000, 8000, 80), ("tcp", "", 8001, 8001, 81)]),
    ("80-81", [("tcp", "", 0, 0, 80), ("tcp", "", 0, 0, 81)]),
])  # fmt: skip
def test_what_is_published(text: str, ports: list[tuple[object, ...]]) -> None:
    assert [tuple(port.values()) for port in networking.parse(text)] == ports


@pytest.mark.parametrize("text", [
    "", "x", "0", "65536", "80/icmp", "8080:80:80", "1.2.3:80:80", "300.1.1.1:80:80", "81-80", "80-", "-80", "1-2:1-3",
    "[::1:80:80", "80 ", "8080:80/", "host:80:80",
])  # fmt: skip
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(InvalidInput, match="-p "):
        networking.parse(text)


@pytest.mark.parametrize(("given", "why"), [
    ({"network": "no/name"}, "not known"),
    ({"network": "front,colour=red"}, "'colour' is not known"),
    ({"network": "none", "ip": "10.0.0.1"}, "no network for it"),
    ({"network": "none", "further_networks": ["front"]}, "with other networks"),
    ({"network": "front", "further_networks": ["back", "front"]}, "given twice"),
    ({"network": "front", "ip": "fd00::1"}, "no such address"),
    ({"network": "front", "ip6": "10.0.0.1"}, "no such address"),
    ({"network": "front", "mac_address": "01:00:00:00:00:01"}, "no machine's"),
    ({"network": "front", "mac_address": "02:00:00"}, "no machine's"),
    ({"network": "front", "network_alias": ["a b"]}, "no name"),
    ({"network": "container:x", "publish": ["80"]}, "it would be that one's"),
    ({"network": "container:x", "hostname": "box"}, "it would be that one's"),
])  # fmt: skip
def test_what_is_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        Options("busybox", **given)


def test_the_words_of_a_network() -> None:
    further = ["name=back,ip6=fd00::5"]
    options = Options("busybox", network="front,ip=10.9.0.5,alias=a,alias=b", further_networks=further,
                      network_alias=["c"], mac_address="02-00-00-00-00-0A")  # fmt: skip
    front, back = networking.networks(options)
    assert front == {"network": "front", "ip": "10.9.0.5", "ip6": "", "mac": "02:00:00:00:00:0a",
                     "aliases": ["a", "b", "c"]}  # fmt: skip
    assert (back["network"], back["ip6"]) == ("back", "fd00::5")
    assert networking.networks(Options("busybox", network="default"))[0]["network"] == "bridge"
    assert networking.host_config(options.replace(publish=["8080:80"])) == {
        "NetworkMode": "front", "PublishAllPorts": False,
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}  # fmt: skip
