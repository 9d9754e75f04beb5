"""Docker's config.json, its helper programs, and secrets that stay secret."""

from __future__ import annotations

import base64
import json
import pickle
import traceback
from pathlib import Path

import pytest

from labrt.errors import InvalidInput, NotSupported
from labrt.registry.credentials import Credentials, DockerConfig, Secret

WORD = "correct-horse"


def config(tmp_path: Path, **content: object) -> DockerConfig:
    (tmp_path / "config.json").write_text(json.dumps(content))
    return DockerConfig.load(tmp_path / "config.json")


def auth(user: str = "learner", password: str = WORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write the program docker-credential-NAME, a shell script, and find it on PATH."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")

    def write(name: str, script: str) -> None:
        program = bin_ / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("show", "shown"),
    [
        (repr, "***"),
        (str, "***"),
        ("{}".format, "***"),
        (lambda secret: f"{secret!s} {secret!r}", "*** ***"),
        (lambda secret: "%s" % secret, "***"),  # noqa: UP031
        (lambda secret: repr({"a": [secret]}), "{'a': [***]}"),
        (lambda secret: repr(Credentials("me", secret)), "Credentials(username='me', secret=***, identity=False)"),
    ],
)
def test_a_secret_does_not_show_itself(show, shown: str) -> None:
    assert show(Secret(WORD)) == shown


@pytest.mark.parametrize("leak", [pickle.dumps, json.dumps, lambda s: "Bearer " + s, lambda s: "".join([s]), len, list])
def test_a_secret_is_no_string(leak) -> None:
    with pytest.raises(TypeError) as caught:
        leak(Secret(WORD))
    assert WORD not in "".join(traceback.format_exception(caught.value))


def test_a_secret_is_equal_to_its_like() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret("a") != "a"


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
        ("http://localhost:5000", "localhost:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_an_entry_is_found_under_each_spelling(tmp_path: Path, key: str, host: str) -> None:
    found = config(tmp_path, auths={key: auth()}).credentials(host)
    assert found == Credentials("learner", Secret(WORD))
    assert found.basic().reveal() == "Basic bGVhcm5lcjpjb3JyZWN0LWhvcnNl"
    assert config(tmp_path, auths={key: auth()}).credentials("elsewhere.example") is None


def test_a_password_with_colons_and_an_identity_token(tmp_path: Path) -> None:
    assert config(tmp_path, auths={"a": auth("me", "x:y:z")}).credentials("a") == Credentials("me", Secret("x:y:z"))
    entry = {**auth("me", ""), "identitytoken": "refresh-me"}
    assert config(tmp_path, auths={"a": entry}).credentials("a") == Credentials("me", Secret("refresh-me"), True)
    assert config(tmp_path, auths={"a": {}}).credentials("a") is None, "what docker writes beside a credsStore"


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(tmp_path, auths={"a": auth()})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert DockerConfig.load().credentials("a") is not None
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert DockerConfig.load() == DockerConfig()
    (tmp_path / "home" / ".docker").mkdir(parents=True)
    (tmp_path / "config.json").rename(tmp_path / "home" / ".docker" / "config.json")
    assert DockerConfig.load().credentials("a") is not None


def test_a_config_shows_no_password(tmp_path: Path) -> None:
    loaded = config(tmp_path, auths={"a": auth(), "b": {"username": "u", "password": WORD}})
    assert loaded.credentials("b") == Credentials("u", Secret(WORD))
    assert WORD not in repr(loaded)
    assert auth()["auth"] not in repr(loaded)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"auths": {{"a": {{"password": "{WORD}"',
        f'["{WORD}"]',
        f'{{"auths": "{WORD}"}}',
        f'{{"auths": {{"a": "{WORD}"}}}}',
        f'{{"auths": {{"a": {{"auth": "{WORD}"}}}}}}',
        f'{{"credHelpers": ["{WORD}"]}}',
        "\x00" + WORD,
        "[" * 100_000,
    ],
)
def test_a_broken_config_is_one_error_that_quotes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InvalidInput, match="labrt login") as caught:
        DockerConfig.load(tmp_path / "config.json").credentials("a")
    assert WORD not in "".join(traceback.format_exception(caught.value))


def test_a_helper_is_asked_on_stdin(tmp_path: Path, helper) -> None:
    answer = f'{{"Username": "%s", "Secret": "{WORD}"}}'
    helper("ring", f"""read -r host; [ "$1" = get ] && printf '{answer}' "$host" """)
    everywhere = config(tmp_path, credsStore="ring", auths={"ghcr.io": auth()})
    assert everywhere.credentials("ghcr.io") == Credentials("ghcr.io", Secret(WORD)), "the store, not the file"
    assert everywhere.credentials("docker.io") == Credentials("https://index.docker.io/v1/", Secret(WORD))
    for_one = config(tmp_path, credHelpers={"ghcr.io": "ring"}, auths={"a": auth()})
    assert for_one.credentials("ghcr.io") == Credentials("ghcr.io", Secret(WORD))
    assert for_one.credentials("a") == Credentials("learner", Secret(WORD))


def test_a_helper_with_an_identity_token(tmp_path: Path, helper) -> None:
    helper("ring", 'echo \'{"Username": "<token>", "Secret": "refresh-me"}\'')
    assert config(tmp_path, credsStore="ring").credentials("a") == Credentials("<token>", Secret("refresh-me"), True)


def test_a_helper_that_knows_nothing(tmp_path: Path, helper) -> None:
    helper("ring", 'echo "credentials not found in native keychain"; exit 1')
    assert config(tmp_path, credsStore="ring").credentials("a") is None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"echo {WORD}; exit 3", "failed with exit code 3"),
        (f"echo {WORD}", "answered something else than credentials"),
        (f'echo \'["{WORD}"]\'', "answered something else than credentials"),
        (None, "cannot be started: No such file"),
    ],
)
def test_a_helper_that_fails(tmp_path: Path, helper, script: str | None, words: str) -> None:
    if script:
        helper("ring", script)
    with pytest.raises(NotSupported, match=f"docker-credential-ring {words}") as caught:
        config(tmp_path, credsStore="ring").credentials("a")
    assert WORD not in "".join(traceback.format_exception(caught.value))


def test_a_helper_is_a_program_on_path_and_no_path(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="no name of a credential helper"):
        config(tmp_path, credsStore="../../tmp/evil").credentials("a")
