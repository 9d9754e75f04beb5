"""The classroom's mirror: one variable of the environment."""

from __future__ import annotations

import pytest

from labrt.errors import RegistryError
from labrt.registry import endpoints
from labrt.registry.client import Client


def test_without_the_variable_there_is_no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRT_MIRROR", "")
    assert endpoints.of_environment() == {}


def test_the_variable_is_a_mirror_of_docker_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRT_MIRROR", "http://192.0.2.7:5000/")
    with Client() as client:
        assert "{'docker.io': 'http://192.0.2.7:5000'}" in repr(client)
        assert "'192.0.2.7:5000'" in repr(client.transport)  # plain HTTP, to it alone


def test_https_stays_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRT_MIRROR", "https://mirror.example")
    with Client() as client:
        assert "mirror.example" not in repr(client.transport)


def test_what_is_no_url_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRT_MIRROR", "mirror.example:5000")
    with pytest.raises(RegistryError, match="LABRT_MIRROR is 'mirror.example:5000'"):
        Client()
