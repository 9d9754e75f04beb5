"""Signing in for later: ask the registry whether it takes a user and password, and keep them where docker keeps them.

    login("ghcr.io", "me", Secret("…"))          Login: asked, taken, kept; says where
    logout("ghcr.io")                            forgotten, here; the registry is told nothing

A registry that wants Basic is asked with it. One that wants Bearer sends us to its token server; that may give, besides
a token for now, an identity token (`refresh_token`) for later, which is then kept in the place of the password.

They are kept by the program that config.json names for this host (`credHelpers`, `credsStore`), else in config.json
itself, in base64, which hides nothing: its mode is 0600. The file is Docker's: everything else in it stays as it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from labrt.errors import InvalidInput, NotSupported, Unauthorized
from labrt.registry import configfile, failures
from labrt.registry.auth import Authenticator, Challenge
from labrt.registry.credentials import Credentials, DockerConfig, Secret, config_path, file_key, run_helper, spellings
from labrt.registry.transport import Transport

HUB = "docker.io"
_CHECK = "check user and password; many registries want an access token in the place of the password"


@dataclass(frozen=True, slots=True)
class Login:
    """What came of it: who is signed in where. `kept` is the helper program or the file that keeps it."""

    host: str
    username: str
    kept: str
    identity: bool
    encrypted: bool


def registry_host(server: str) -> str:
    """The registry's host of what people type: `https://ghcr.io/v2/`, `ghcr.io`, "" for Docker Hub."""
    host = server.strip().removeprefix("https://").removeprefix("http://").partition("/")[0]
    if not host or host in ("index.docker.io", "registry-1.docker.io", "hub.docker.com"):
        return HUB
    if not host.isprintable() or any(letter in host for letter in " @?#\\"):
        raise InvalidInput(f"{server!r:.100} is no registry", remedy="give its host, such as ghcr.io or localhost:5000")
    return host


def login(
    server: str,
    username: str,
    secret: Secret,
    *,
    insecure: Collection[str] = frozenset(),
    transport: Transport | None = None,
    wait: Callable[[float], object] | None = None,
) -> Login:
    """Sign in and keep it. Raises Unauthorized when the registry does not take it; then nothing is kept."""
    host = registry_host(server)
    if not username or ":" in username:
        raise InvalidInput(f"{username!r} is no user name", remedy="a user name is not empty and has no colon")
    if not secret.reveal():
        raise InvalidInput("the password is empty", remedy="type it, or give it with --password-stdin")
    credentials = Credentials(username, secret, identity=username == "<token>")
    own = transport or Transport(insecure=insecure, wait=wait)
    try:
        kept = _asked(own, host, credentials)
    except Unauthorized as error:  # whose remedy would be to sign in
        raise Unauthorized(error.message, status=error.status, remedy=_CHECK) from None
    finally:
        if transport is None:
            own.close()
    return _keep(host, kept)


def logout(server: str) -> bool:
    """Forget who we are to a registry. False: nothing was known."""
    host = registry_host(server)
    config = DockerConfig.load()
    known = False
    if helper := config.helper_for(host):
        known = config.credentials(host) is not None
        run_helper(helper, "erase", file_key(host).encode())

    def forget(document: dict[str, Any]) -> None:
        nonlocal known
        auths = document.get("auths")
        for key in spellings(host):
            if isinstance(auths, dict) and auths.pop(key, None) is not None:
                known = True

    if any(key in config.auths for key in spellings(host)):
        configfile.edit(config_path(), forget)
    return known


def _asked(transport: Transport, host: str, credentials: Credentials) -> Credentials:
    """Have the registry judge them. Returns what is to be kept, which may be an identity token instead."""
    base = transport.base_url(host)
    response = transport.request("GET", f"{base}/v2/")
    if response.status == 200:  # open to all: it judges nothing, and docker keeps them all the same
        return credentials
    if response.status != 401:
        raise failures.refusal(response, "registry API")
    challenges = Challenge.parse(response.headers.get("WWW-Authenticate", ""))
    ours = DockerConfig.of(host, credentials)
    authenticator = Authenticator(transport, ours)
    kept = credentials
    bearer = next((one for one in challenges if one.scheme == "bearer"), None)
    if bearer is not None and not credentials.identity:
        granted = authenticator.token(host, base, bearer, offline=True)
        header = granted.header
        if granted.refresh is not None:
            kept = replace(credentials, secret=granted.refresh, identity=True)
    else:
        header = authenticator.answer(host, base, challenges, "")
    answer = transport.request("GET", f"{base}/v2/", authorization=header)
    if answer.status in (401, 403):
        message = f"{host} does not accept the sign-in of {credentials.username!r}"
        raise Unauthorized(message, status=answer.status)
    if answer.status != 200:
        raise failures.refusal(answer, "registry API")
    return kept


def _keep(host: str, credentials: Credentials) -> Login:
    """Keep them where config.json says."""
    path = config_path()
    helper = DockerConfig.load().helper_for(host)
    key = file_key(host)
    if helper:
        username = "<token>" if credentials.identity else credentials.username
        entry = {"ServerURL": key, "Username": username, "Secret": credentials.secret.reveal()}
        done = run_helper(helper, "store", json.dumps(entry).encode())
        if done.returncode != 0:
            # Its words are not quoted: a program that is given a password may repeat it.
            raise NotSupported(f"docker-credential-{helper} failed with exit code {done.returncode}",
                               remedy="see that it works, or take it out of config.json")  # fmt: skip
    configfile.edit(path, lambda document: _enter(document, host, key, None if helper else credentials))
    kept = f"docker-credential-{helper}" if helper else path
    return Login(host, credentials.username, kept, credentials.identity, bool(helper))


def _enter(document: dict[str, Any], host: str, key: str, credentials: Credentials | None) -> None:
    """Write one entry; None: a helper has it, and as docker does an empty one says that we are signed in."""
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise InvalidInput("Docker's config.json has no object as its `auths`", remedy="mend it")
    for other in spellings(host):
        if other != key:
            auths.pop(other, None)
    if credentials is None:
        auths[key] = {}
        return
    password = "" if credentials.identity else credentials.secret.reveal()
    pair = f"{credentials.username}:{password}"
    auths[key] = {"auth": base64.b64encode(pair.encode()).decode()}
    if credentials.identity:
        auths[key]["identitytoken"] = credentials.secret.reveal()


