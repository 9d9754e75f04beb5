"""login and logout: at replicas of the four big registries, with helper programs, and what becomes of config.json."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import threading
import traceback
from pathlib import Path

import pytest
from clouds import Acr, Cloud, Ecr, EcrPublic, Gar, Offline
from hub import Hub
from samples import AMD64, TAG, platform

from labrt.errors import InvalidInput, NotSupported, Unauthorized
from labrt.image.layout import Layout
from labrt.registry import configfile
from labrt.registry.client import Client
from labrt.registry.credentials import Secret
from labrt.registry.events import Event
from labrt.registry.login import login, logout, registry_host

WORD = "a-password-that-is-secret"
KEY = json.dumps({"type": "service_account", "private_key": "-----BEGIN:KEY-----\nAAAA\n"})
NULL = "00000000-0000-0000-0000-000000000000"
HUB_KEY = "https://index.docker.io/v1/"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker-credential-mine, which keeps everything in one JSON file. Gives that file."""
    kept = tmp_path / "kept.json"
    kept.write_text("{}")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker-credential-mine").write_text(f"""#!{sys.executable}
import json, sys
known = json.load(open({str(kept)!r}))
said = sys.stdin.read()
if sys.argv[1] == "store":
    entry = json.loads(said)
    known[entry["ServerURL"]] = entry
elif sys.argv[1] == "erase":
    known.pop(said, None)
elif said in known:
    print(json.dumps(known[said]))
else:
    print("credentials not found in native keychain")
    sys.exit(1)
json.dump(known, open({str(kept)!r}, "w"))
""")
    (programs / "docker-credential-mine").chmod(0o755)
    (programs / "docker-credential-broken").write_text("#!/bin/sh\ncat >&2; cat; exit 3\n")
    (programs / "docker-credential-broken").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return kept


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The four, and the specification: clouds.py says where each is documented --------------------------------------

CASES = [
    pytest.param(Ecr, "AWS", "ecr-password-of-twelve-hours", id="ecr"),
    pytest.param(EcrPublic, "AWS", "ecr-password-of-twelve-hours", id="ecr-public"),
    pytest.param(Gar, "_json_key", KEY, id="gar-key"),
    pytest.param(Gar, "_json_key_base64", base64.b64encode(KEY.encode()).decode(), id="gar-key-base64"),
    pytest.param(Gar, "oauth2accesstoken", "ya29.some-token", id="gar-token"),
    pytest.param(Acr, NULL, "acr-refresh-token", id="acr"),
    pytest.param(Offline, "learner", WORD, id="distribution-offline"),
]


@pytest.mark.parametrize(("kind", "user", "word"), CASES)
def test_login_then_pull_then_push_then_logout(
    kind: type[Cloud], user: str, word: str, busybox: Layout, config: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    copied = Layout(tmp_path / "served")
    with kind(copied, {user: word}) as cloud:
        done = login(cloud.host, user, Secret(word))
        assert (done.host, done.username, done.kept) == (cloud.host, user, str(config))
        with Client(on_event=events.append, wait=lambda seconds: None) as client:
            client.push(f"{cloud.host}/team/busybox:1", busybox, source=f"docker.io/library/busybox:{TAG}")
        with Client(on_event=events.append) as client:
            image = client.pull(f"{cloud.host}/team/busybox:1", Layout(tmp_path / "here"), platform=platform("amd64"))
        assert str(image.manifest.digest) == AMD64
        assert logout(cloud.host)
        with Client() as client, pytest.raises(Unauthorized):
            client.manifest(f"{cloud.host}/team/busybox:1")
        assert not logout(cloud.host)
    shown = "".join(map(str, events)) + repr(events) + repr(done)
    assert not any(secret in shown for secret in (word, *cloud.granted, *cloud.identities))
    assert read(config)["auths"] == {}


@pytest.mark.parametrize(("kind", "user", "word"), CASES)
def test_a_wrong_password_is_not_kept(
    kind: type[Cloud], user: str, word: str, config: Path, tmp_path: Path
) -> None:
    with kind(Layout(tmp_path / "served"), {user: word}) as cloud:
        wrong = word[::-1]
        with pytest.raises(Unauthorized, match="does not accept.*check user and password") as caught:
            login(cloud.host, user, Secret(wrong))
        assert wrong not in "".join(traceback.format_exception(caught.value))
    assert not config.exists()


def test_docker_hub(hub: Hub, config: Path, store: Layout) -> None:
    hub.tokens.users["learner"] = WORD
    done = login(hub.host, "learner", Secret(WORD))
    assert not done.identity
    assert hub.tokens.seen[-1].query["service"] == ["registry.replica"]
    with Client() as client:
        client.pull(f"{hub.host}/library/busybox:{TAG}", store, platform=platform("amd64"))
    assert hub.tokens.seen[-1].query["account"] == ["learner"]
    with pytest.raises(Unauthorized) as caught:
        login(hub.host, "learner", Secret("a-wrong-guess"))
    assert "a-wrong-guess" not in str(caught.value)


def test_an_identity_token_is_kept_in_the_place_of_the_password(config: Path, tmp_path: Path, busybox: Layout) -> None:
    with Offline(busybox, {"learner": WORD}) as cloud:
        assert login(cloud.host, "learner", Secret(WORD)).identity
        entry = read(config)["auths"][cloud.host]
        assert entry["identitytoken"] == "identity-that-lasts"
        assert base64.b64decode(entry["auth"]) == b"learner:"
        assert WORD not in config.read_text()
        cloud.users.clear()  # the password was only needed once
        with Client() as client:
            client.manifest(f"{cloud.host}/library/busybox:{TAG}")
        method, form = cloud.asked[-1]
        assert (method, form["grant_type"], form["client_id"]) == ("POST", "refresh_token", "labrt")
        assert form["scope"] == "repository:library/busybox:pull"


def test_an_identity_token_of_azure(config: Path, tmp_path: Path, busybox: Layout) -> None:
    """As `az acr login` writes it."""
    with Acr(busybox, {}) as cloud:
        cloud.identities["the-identity"] = "me"
        pair = base64.b64encode(f"{NULL}:".encode()).decode()
        config.parent.mkdir()
        config.write_text(json.dumps({"auths": {cloud.host: {"auth": pair, "identitytoken": "the-identity"}}}))
        with Client() as client:
            client.manifest(f"{cloud.host}/library/busybox:{TAG}")
        assert [method for method, _ in cloud.asked] == ["POST"]
        cloud.identities.clear()
        with Client() as client, pytest.raises(Unauthorized) as caught:
            client.manifest(f"{cloud.host}/library/busybox:{TAG}")
        assert "the-identity" not in "".join(traceback.format_exception(caught.value))


# Helper programs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["credsStore", "credHelpers"])
def test_a_helper_keeps_it(how: str, helper: Path, config: Path, tmp_path: Path, busybox: Layout) -> None:
    with Ecr(busybox, {"AWS": WORD}) as cloud:
        config.parent.mkdir()
        config.write_text(json.dumps({how: "mine" if how == "credsStore" else {cloud.host: "mine"}}))
        done = login(cloud.host, "AWS", Secret(WORD))
        assert (done.kept, done.encrypted) == ("docker-credential-mine", True)
        assert read(helper)[cloud.host] == {"ServerURL": cloud.host, "Username": "AWS", "Secret": WORD}
        assert read(config)["auths"] == {cloud.host: {}}
        with Client() as client:
            client.manifest(f"{cloud.host}/library/busybox:{TAG}")
        assert logout(cloud.host)
        assert read(helper) == {}
        assert read(config)["auths"] == {}
        assert not logout(cloud.host)


def test_a_helper_keeps_an_identity_token(helper: Path, config: Path, busybox: Layout) -> None:
    with Offline(busybox, {"learner": WORD}) as cloud:
        config.parent.mkdir()
        config.write_text('{"credsStore": "mine"}')
        login(cloud.host, "learner", Secret(WORD))
        assert read(helper)[cloud.host]["Username"] == "<token>"
        with Client() as client:
            client.manifest(f"{cloud.host}/library/busybox:{TAG}")
        assert cloud.asked[-1][0] == "POST"


def test_a_helper_that_breaks_says_no_password(helper: Path, config: Path, busybox: Layout) -> None:
    with Ecr(busybox, {"AWS": WORD}) as cloud:
        config.parent.mkdir()
        config.write_text('{"credsStore": "broken"}')
        with pytest.raises(NotSupported, match="exit code 3") as caught:
            login(cloud.host, "AWS", Secret(WORD))
        assert WORD not in "".join(traceback.format_exception(caught.value))


# The file -------------------------------------------------------------------------------------------------------------


def test_what_is_not_ours_stays(config: Path, busybox: Layout) -> None:
    config.parent.mkdir()
    others = {"HttpHeaders": {"X": "y"}, "psFormat": "table", "auths": {"other.example": {"auth": "YTpi"}},
              "plugins": {"é": [1, None]}}  # fmt: skip
    config.write_text(json.dumps(others))
    config.chmod(0o644)
    with Ecr(busybox, {"AWS": WORD}) as cloud:
        login(cloud.host, "AWS", Secret(WORD))
        found = read(config)
        assert found["auths"].pop(cloud.host) == {"auth": base64.b64encode(f"AWS:{WORD}".encode()).decode()}
        assert found == others
        assert mode(config) == 0o600
        assert logout(f"https://{cloud.host}/v2/")
    assert read(config) == others
    assert sorted(path.name for path in config.parent.iterdir()) == ["config.json"]


def test_a_new_file_is_for_nobody_else(config: Path) -> None:
    before = os.umask(0)
    try:
        configfile.edit(str(config), lambda document: document.update(a=1))
    finally:
        os.umask(before)
    assert (mode(config), mode(config.parent)) == (0o600, 0o700)


def test_a_link_stays_a_link(config: Path, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    config.parent.mkdir()
    config.symlink_to(tmp_path / "real.json")
    configfile.edit(str(config), lambda document: document.update(a=1))
    assert config.is_symlink()
    assert read(tmp_path / "real.json") == {"a": 1}


@pytest.mark.parametrize("text", ["[]", '{"auths": ', '"a-secret"', "\xff"])
def test_a_broken_file_is_left_alone(config: Path, text: str) -> None:
    config.parent.mkdir()
    config.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match="is not Docker's") as caught:
        configfile.edit(str(config), lambda document: document.update(a=1))
    assert "a-secret" not in "".join(traceback.format_exception(caught.value))
    assert config.read_bytes() == text.encode("latin-1")


def test_a_change_that_fails_changes_nothing(config: Path) -> None:
    configfile.edit(str(config), lambda document: document.update(a=1))
    with pytest.raises(ZeroDivisionError):
        configfile.edit(str(config), lambda document: document.update(a=1 // 0))
    assert read(config) == {"a": 1}
    assert [path.name for path in config.parent.iterdir()] == ["config.json"]


def test_many_at_once(config: Path) -> None:
    def add(number: int) -> None:
        configfile.edit(str(config), lambda document: document.update({str(number): number}))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(config) == {str(number): number for number in range(20)}


@pytest.mark.parametrize(("typed", "host"), [
    ("", "docker.io"), ("docker.io", "docker.io"), (HUB_KEY, "docker.io"), ("registry-1.docker.io", "docker.io"),
    ("ghcr.io", "ghcr.io"), ("https://ghcr.io/v2/", "ghcr.io"), ("localhost:5000", "localhost:5000"),
])  # fmt: skip
def test_what_people_type(typed: str, host: str) -> None:
    assert registry_host(typed) == host


@pytest.mark.parametrize("typed", ["user@ghcr.io", "a b", "ghcr.io?x", "a\nb"])
def test_what_is_no_registry(typed: str) -> None:
    with pytest.raises(InvalidInput, match="is no registry"):
        registry_host(typed)


@pytest.mark.parametrize(("user", "word"), [("", "x"), ("a:b", "x"), ("a", "")])
def test_what_cannot_sign_in(user: str, word: str, config: Path) -> None:
    with pytest.raises(InvalidInput):
        login("localhost:1", user, Secret(word))
