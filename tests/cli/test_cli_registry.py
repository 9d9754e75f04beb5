"""`labrt tag`, `push`, `login` and `logout`, against a registry of our own on loopback."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrt.image.layout import Layout
from labrt.registry import distribution
from labrt.registry.distribution import Answer, Request
from labrt.registry.server import RegistryServer

pytestmark = pytest.mark.root

WORD = "a-password-that-is-secret"


class Signed(RegistryServer):
    """Wants user and password with each request."""

    def answer(self, request: Request) -> Answer:
        wanted = base64.b64encode(f"learner:{WORD}".encode()).decode()
        if request.headers.get("authorization") == f"Basic {wanted}":
            return super().answer(request)
        answer = distribution.refuse(401, "UNAUTHORIZED", "authentication required")
        answer.headers["Www-Authenticate"] = 'Basic realm="a test"'
        return answer


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(Layout(tmp_path / "served"), push=True) as server:
        yield server


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Signed]:
    with Signed(Layout(tmp_path / "signed"), push=True) as server:
        yield server


@pytest.fixture(autouse=True)
def docker_config(cli, tmp_path: Path) -> Iterator[Path]:
    cli.env["DOCKER_CONFIG"] = str(tmp_path / "docker")
    yield tmp_path / "docker" / "config.json"
    del cli.env["DOCKER_CONFIG"]


def typed(cli, password: str, *arguments: str) -> tuple[int, str, str]:
    process = cli.start(*arguments, stdin=subprocess.PIPE)
    out, err = process.communicate(password.encode(), timeout=60)
    return process.returncode, out.decode(), err.decode()


def test_tag_push_and_push_again(cli, registry):
    name = f"{registry.host}/team/tools:1"
    try:
        assert cli.ok("tag", "busybox", name) == ""
        assert f"{registry.host}/team/tools" in cli.ok("images")
        out = cli.ok("push", name).splitlines()
        assert out[0] == f"The push refers to repository [{registry.host}/team/tools]"
        assert any(line.endswith(": Pushed") for line in out[1:])
        assert out[-1].startswith("1: digest: sha256:") and " size: " in out[-1]
        assert "Layer already exists" in cli.ok("push", name)
        cli.ok("tag", name, f"{registry.host}/team/tools:2")
        assert cli.ok("push", "-q", "-a", f"{registry.host}/team/tools").splitlines() == [
            name, f"{registry.host}/team/tools:2"]  # fmt: skip
        assert set(registry.layout.references()) == {"localhost/team/tools:1", "localhost/team/tools:2"}
        cli.ok("tag", "busybox", f"{registry.host}/other/tools")
        assert "Mounted from team/tools" in cli.ok("push", f"{registry.host}/other/tools")
    finally:
        for one in cli.ok("images").splitlines()[1:]:
            repository, tag = one.split()[:2]
            if registry.host in repository:
                cli.ok("rmi", f"{repository}:{tag}")


def test_what_cannot_be_pushed_or_tagged(cli, registry):
    for arguments, words in (
        (("push", f"{registry.host}/nothing"), "is not here"),
        (("push", "-a", f"{registry.host}/nothing"), "has no tag here"),
        (("tag", "nothing", "a:b"), "is not here"),
        (("tag", "busybox", f"x@sha256:{'0' * 64}"), "a digest is no name to give"),
        (("tag", "busybox", "UPPER"), "no capitals"),
    ):
        done = cli(*arguments)
        assert (done.code, words in done.err) == (1, True), done
    assert cli("push", "-a", "x:1").code == 125


def test_login_push_logout(cli, signed, docker_config):
    name = f"{signed.host}/team/tools"
    cli.ok("tag", "busybox", name)
    try:
        refused = cli("push", name)
        assert refused.code == 1 and f"labrt login {signed.host}" in refused.err
        code, out, err = typed(cli, "a-wrong-guess\n", "login", "-u", "learner", "--password-stdin", signed.host)
        assert code == 1 and "does not accept" in err and "a-wrong-guess" not in out + err
        assert not docker_config.exists()
        code, out, err = typed(cli, f"{WORD}\n", "login", "-u", "learner", "--password-stdin", signed.host)
        assert (code, out) == (0, "Login Succeeded\n") and str(docker_config) in err and WORD not in err
        assert stat.S_IMODE(docker_config.stat().st_mode) == 0o600
        assert list(json.loads(docker_config.read_text())["auths"]) == [signed.host]
        assert "Pushed" in cli.ok("push", name)
        assert cli.ok("logout", signed.host) == f"Removing login credentials for {signed.host}\n"
        assert cli.ok("logout", signed.host) == f"Not logged in to {signed.host}\n"
        assert cli("push", name).code == 1
    finally:
        cli.ok("rmi", name)


def test_login_at_a_terminal(cli, signed, docker_config):
    terminal = cli.terminal("login", signed.host)
    terminal.expect("Username: ")
    terminal.type("learner\r")
    terminal.expect("Password: ")
    terminal.type(f"{WORD}\r")
    shown = terminal.expect("Login Succeeded")
    assert WORD not in shown
    assert terminal.wait() == 0
    assert list(json.loads(docker_config.read_text())["auths"]) == [signed.host]


def test_a_push_at_a_terminal_draws_bars(cli, registry):
    name = f"{registry.host}/team/tools"
    cli.ok("tag", "busybox", name)
    try:
        terminal = cli.terminal("push", name)
        terminal.expect("The push refers to repository")
        assert "━" in terminal.expect("latest: digest: sha256:")
        assert terminal.wait() == 0
    finally:
        cli.ok("rmi", name)


def test_login_without_a_terminal(cli, signed):
    code, _, err = typed(cli, "", "login", signed.host)
    assert code == 1 and "--password-stdin" in err
    assert typed(cli, "x", "login", "--password-stdin", signed.host)[0] == 125
