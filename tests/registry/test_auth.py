"""Challenges, tokens, and to whom a password may go."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable

import pytest
from hub import SERVICE, Hub
from samples import platform, signed_in

from labrt.errors import RegistryError, Unauthorized
from labrt.image.layout import Layout
from labrt.registry.auth import Authenticator, Challenge, Token
from labrt.registry.client import Client
from labrt.registry.credentials import Credentials, DockerConfig, Secret
from labrt.registry.events import Event, HelperFailed, TokenGranted
from labrt.registry.transport import Transport

SCOPE = "repository:library/busybox:pull"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [("bearer", {"realm": "https://auth.docker.io/token", "service": "registry.docker.io",
                         "scope": "repository:a/b:pull,push"})],
        ),
        ('Basic realm="one, two", bearer realm=here , error="a \\"b\\""',
         [("basic", {"realm": "one, two"}), ("bearer", {"realm": "here", "error": 'a "b"'})]),
        ("Negotiate, Basic realm=z", [("negotiate", {}), ("basic", {"realm": "z"})]),
        ('Negotiate YWJj==, Bearer realm="q"', [("negotiate", {}), ("bearer", {"realm": "q"})]),
        ("Basic", [("basic", {})]),
        ('Basic realm = "spaced" , charset="UTF-8"', [("basic", {"realm": "spaced", "charset": "UTF-8"})]),
        ("", []),
        ('"""', []),
        (",,, ,", []),
    ],
)  # fmt: skip
def test_challenges(header: str, found: list) -> None:
    assert [(one.scheme, dict(one.parameters)) for one in Challenge.parse(header)] == found


def test_every_step_of_a_token_by_hand(hub: Hub, client: Client) -> None:
    challenge = client.challenge(hub.host)
    assert challenge == Challenge("bearer", {"realm": f"{hub.tokens.url}/token", "service": SERVICE})
    token = client.token(f"{hub.host}/library/busybox")
    assert isinstance(token, Token)
    assert (token.scope, token.seconds) == (SCOPE, 300)
    assert token.secret.reveal() in hub.tokens.granted
    assert token.secret.reveal() not in repr(token) + str(token)
    (seen,) = hub.tokens.seen
    assert seen.query == {"service": [SERVICE], "scope": [SCOPE]}
    assert "authorization" not in seen.headers


def test_a_user_gets_what_anybody_does_not(hub: Hub, store: Layout) -> None:
    hub.tokens.public.clear()
    hub.tokens.users["learner"] = "correct-horse"
    name = f"{hub.host}/library/busybox"
    with Client() as client, pytest.raises(Unauthorized, match="sign in with labrt login"):
        client.manifest(name)
    seen: list[Event] = []
    with Client(config=signed_in(hub.host, "learner", "correct-horse"), on_event=seen.append) as client:
        client.pull(name, store, platform=platform("amd64"))
    assert [event.account for event in seen if isinstance(event, TokenGranted)] == ["learner"]
    assert hub.tokens.seen[-1].query["account"] == ["learner"]
    shown = "".join(f"{event} {event!r}" for event in seen) + repr(client)
    assert not any(secret in shown for secret in hub.secrets)


def test_a_wrong_password_is_told_without_it(hub: Hub) -> None:
    config = signed_in(hub.host, "learner", "a-wrong-guess")
    with Client(config=config) as client, pytest.raises(Unauthorized) as caught:
        client.manifest(f"{hub.host}/library/busybox")
    assert "does not accept the sign-in of 'learner'" in str(caught.value)
    assert "a-wrong-guess" not in "".join(traceback.format_exception(caught.value))


def test_an_identity_token_is_posted(hub: Hub) -> None:
    hub.tokens.identities["refresh-me"] = "learner"
    config = DockerConfig(auths={hub.host: {"identitytoken": "refresh-me"}})
    with Client(config=config) as client:
        client.manifest(f"{hub.host}/library/busybox")
    (seen,) = hub.tokens.seen
    assert seen.method == "POST"
    assert seen.form == {
        "grant_type": "refresh_token", "client_id": "labrt", "service": SERVICE, "scope": SCOPE,
        "refresh_token": "refresh-me",
    }  # fmt: skip


def test_a_token_is_used_until_shortly_before_its_end(hub: Hub) -> None:
    now = 1000.0
    transport = Transport()
    auth = Authenticator(transport, DockerConfig(), clock=lambda: now)
    challenge = Challenge("bearer", {"realm": f"{hub.tokens.url}/token", "service": SERVICE, "scope": SCOPE})
    hub.tokens.expires_in = 100
    first = auth.answer(hub.host, hub.front.url, [challenge], SCOPE)
    now = 1089.0
    assert auth.cached(hub.host, SCOPE) == first
    assert auth.cached(hub.host, "repository:another:pull") is None
    assert auth.cached("another.example", SCOPE) is None
    now = 1091.0
    assert auth.cached(hub.host, SCOPE) is None
    transport.close()


def test_a_token_that_does_not_say_is_good_for_a_minute(hub: Hub, client: Client) -> None:
    hub.tokens.expires_in = None
    token = client.token(f"{hub.host}/library/busybox")
    assert token is not None
    assert token.seconds == 60


def test_many_threads_fetch_one_token(hub: Hub) -> None:
    with Client() as client:
        client.transport.base_url(hub.host)
        ask = [threading.Thread(target=client.manifest, args=(f"{hub.host}/library/busybox",)) for _ in range(8)]
        for thread in ask:
            thread.start()
        for thread in ask:
            thread.join()
    assert hub.front.remaining == 92
    assert len(hub.tokens.seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b"secret-token", b"[]", b"{}", b'{"token": 3}', b'{"token": "secret-token\\r\\nX: y"}', b'{"token": ""}',
        b'{"token": "secret-token", "expires_in": "soon"}', b'{"token": "secret-token", "expires_in": -1}',
        b'{"token": "secret-token", "expires_in": 1e999}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_an_answer_without_a_token(hub: Hub, client: Client, body: bytes) -> None:
    hub.tokens.body = body
    with pytest.raises(RegistryError, match="holds no token") as caught:
        client.manifest(f"{hub.host}/library/busybox")
    assert "secret-token" not in "".join(traceback.format_exception(caught.value))


class Asked(Exception):
    pass


class Recorder(Transport):
    """Tells what would be sent, and sends nothing: the realms below are other people's."""

    def request(self, method: str, url: str, **how: object):  # type: ignore[override]
        raise Asked(url, how.get("authorization"))


@pytest.mark.parametrize(
    ("base", "realm", "trusted"),
    [
        ("https://registry.example", "https://auth.example/token", True),
        ("https://registry.example", "http://127.0.0.1:5001/token", True),
        ("https://registry.example", "http://auth.example/token", False),
        ("http://registry.example", "http://auth.example/token", False),
        ("http://registry.example", "http://registry.example/token", True),
        ("https://registry.example", "http://registry.example/token", False),
    ],
)
def test_to_whom_a_password_goes(base: str, realm: str, trusted: bool) -> None:
    auth = Authenticator(Recorder(), signed_in("registry.example", "learner", "word"))
    with pytest.raises(Asked) as caught:
        auth.token("registry.example", base, Challenge("bearer", {"realm": realm}), SCOPE)
    assert caught.value.args[1] == (Credentials("learner", Secret("word")).basic() if trusted else None)


@pytest.mark.parametrize("realm", ["", "/token", "file:///etc/passwd", "http://[", "http://a:99999999/", "\x1b[2J"])
def test_a_realm_that_is_no_url(realm: str) -> None:
    auth = Authenticator(Recorder(), DockerConfig())
    with pytest.raises(RegistryError, match="as its token server, which is no URL") as caught:
        auth.token("registry.example", "https://registry.example", Challenge("bearer", {"realm": realm}), SCOPE)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ('Basic realm="x"', "wants a user and a password"),
        ("Negotiate", "a kind of sign-in that labrt does not know: negotiate"),
        ("", "does not know: none"),
    ],
)
def test_what_cannot_be_answered(header: str, words: str) -> None:
    auth = Authenticator(Recorder(), DockerConfig())
    with pytest.raises(Unauthorized, match=words):
        auth.answer("registry.example", "https://registry.example", Challenge.parse(header), SCOPE)


def test_a_password_that_was_refused_is_not_sent_again() -> None:
    auth = Authenticator(Recorder(), signed_in("registry.example", "learner", "word"))
    challenges = Challenge.parse('Basic realm="x"')
    answer = auth.answer("registry.example", "https://registry.example", challenges, SCOPE)
    with pytest.raises(Unauthorized, match="does not accept our sign-in"):
        auth.answer("registry.example", "https://registry.example", challenges, SCOPE, refused=answer)


def test_a_missing_helper_is_told_and_we_are_nobody(hub: Hub) -> None:
    seen: list[Event] = []
    with Client(config=DockerConfig(store="not-installed"), on_event=seen.append) as client:
        client.manifest(f"{hub.host}/library/busybox")
    (failed,) = [event for event in seen if isinstance(event, HelperFailed)]
    assert failed.helper == "docker-credential-not-installed"


def test_a_broken_config_is_found_when_it_is_needed(hub: Hub, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": 3}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    make: Callable[[], Client] = Client
    with make() as client:
        assert client.challenge(hub.host) is not None
        with pytest.raises(ValueError, match=r"is not Docker's config\.json"):
            client.manifest(f"{hub.host}/library/busybox")
