"""docker-registry behind TLS with its own token authentication, and behind user and password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import oracles
import pytest
from samples import AMD64, TAG, USERS, platform, push, signed_in

from labrt.errors import Unauthorized, Unreachable
from labrt.image.layout import Layout
from labrt.registry.auth import Challenge
from labrt.registry.client import Client
from labrt.registry.events import Event, Exchange, TokenGranted

pytestmark = pytest.mark.oracle

@pytest.fixture(autouse=True)
def trust(authority: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority[0]))


def test_anybody_pulls_with_a_token(
    signed_registry: tuple[str, oracles.JwtServer], client: Client, store: Layout, events: list[Event]
) -> None:
    host, tokens = signed_registry
    before = len(tokens.seen)
    challenge = client.challenge(host)
    assert isinstance(challenge, Challenge)
    assert (challenge.scheme, challenge.service) == ("bearer", "registry.replica")
    image = client.pull(f"{host}/library/busybox:{TAG}", store, platform=platform("amd64"))
    assert str(image.manifest.digest) == AMD64
    assert len(tokens.seen) == before + 1, "one token serves the whole pull"
    assert [event.account for event in events if isinstance(event, TokenGranted)] == [""]
    assert all(event.url.startswith("https:") for event in events if isinstance(event, Exchange) and event.signed)


def test_a_user_signs_in(signed_registry: tuple[str, oracles.JwtServer], store: Layout) -> None:
    host, tokens = signed_registry
    seen: list[Event] = []
    config = signed_in(host, "learner", USERS["learner"])
    with Client(config=config, on_event=seen.append) as client:
        client.pull(f"{host}/library/busybox:{TAG}", store, platform=platform("arm64"))
    assert [event.account for event in seen if isinstance(event, TokenGranted)] == ["learner"]
    assert tokens.seen[-1].query["account"] == ["learner"]
    shown = repr(seen) + "".join(map(str, seen))
    assert not any(secret in shown for secret in (*tokens.tokens, *USERS.values()))


def test_a_wrong_password(signed_registry: tuple[str, oracles.JwtServer], store: Layout) -> None:
    host, _ = signed_registry
    with (
        Client(config=signed_in(host, "learner", "a-wrong-guess")) as client,
        pytest.raises(Unauthorized, match="does not accept the sign-in of 'learner'") as caught,
    ):
        client.pull(f"{host}/library/busybox:{TAG}", store)
    assert "a-wrong-guess" not in str(caught.value)
    assert store.blobs() == []


def test_a_certificate_that_nobody_signed_for_us(
    signed_registry: tuple[str, oracles.JwtServer], client: Client, monkeypatch: pytest.MonkeyPatch, waits: Callable
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(Unreachable, match="TLS: .*REQUESTS_CA_BUNDLE"):
        client.manifest(f"{signed_registry[0]}/library/busybox:{TAG}")
    assert waits() == [], "trying again does not mend a certificate"


def test_user_and_password_with_each_request(busybox: Layout, store: Layout, tmp_path: Path) -> None:
    oracles.need("docker-registry", "skopeo", "openssl")
    (tmp_path / "htpasswd").write_text(f"learner:{oracles.bcrypt('secret-word')}\n")
    auth = {"htpasswd": {"realm": "labrt", "path": str(tmp_path / "htpasswd")}}
    with oracles.docker_registry(tmp_path / "registry", auth=auth) as host:
        push(busybox, host, "--dest-creds=learner:secret-word", "--dest-tls-verify=false")
        with Client(config=signed_in(host, "learner", "secret-word")) as client:
            client.pull(f"{host}/library/busybox:{TAG}", store, platform=platform("amd64"))
        with Client() as client, pytest.raises(Unauthorized, match="labrt login"):
            client.manifest(f"{host}/library/busybox:{TAG}")
