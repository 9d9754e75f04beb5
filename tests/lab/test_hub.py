"""lab.hub: Docker Hub where it answers, else the embedded default."""

from __future__ import annotations

import socket

import pytest

from labrt import lab, paths
from labrt.engine import embedded
from labrt.errors import Unreachable
from labrt.image.platform import Platform
from labrt.registry.client import Client


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_without_docker_hub_a_real_registry_stands_in(labrt_root, monkeypatch):
    monkeypatch.setattr(lab.hub, "HUB", f"127.0.0.1:{closed_port()}")
    with lab.hub() as hub, Client() as client:
        assert hub.embedded and hub.host.startswith("127.0.0.1:")
        assert str(hub).startswith("No answer from Docker Hub (") and hub.host in str(hub)
        reference = hub.reference("busybox")
        assert reference == f"{hub.host}/library/busybox:latest"
        assert client.manifest(reference, platform=Platform.host()).layers


def test_it_has_one_image_and_says_so(labrt_root, monkeypatch):
    monkeypatch.setattr(lab.hub, "HUB", f"127.0.0.1:{closed_port()}")
    with lab.hub() as hub:
        with pytest.raises(Unreachable, match=r"redis:latest.*without a network there is busybox:latest only"):
            hub.reference("redis")
        assert hub.reference("quay.io/some/thing:1") == "quay.io/some/thing:1"


def test_where_the_hub_answers_it_is_the_hub(labrt_root, monkeypatch):
    with embedded.serve(paths.default()) as server:
        monkeypatch.setattr(lab.hub, "HUB", server.host)
        with lab.hub() as hub:
            assert not hub.embedded
            assert hub.reference("redis:7") == f"{server.host}/library/redis:7"
            assert str(hub) == f"{server.host} answers"


def test_docker_hub_keeps_its_name():
    hub = lab.hub.Hub("docker.io")
    assert hub.reference("busybox") == "docker.io/library/busybox:latest"
    assert str(hub) == "Docker Hub answers"
