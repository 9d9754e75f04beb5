"""Who we are to a registry: `docker login`'s file and its helper programs, and a wrapper that keeps secrets secret.

    config = DockerConfig.load()             ~/.docker/config.json, or $DOCKER_CONFIG/config.json; absent is empty
    config.credentials("docker.io")          Credentials(username='me', secret=***) or None

For each host the file may say, and this is the order that counts: `credHelpers` (a program for this host), `credsStore`
(a program for all), `auths` (base64 of `user:password`, or an identity token). The program is `docker-credential-NAME
get`, which reads the host on stdin and answers in JSON; its password is an identity token when the user is `<token>`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labrt.errors import InvalidInput, NotSupported

if TYPE_CHECKING:
    import subprocess

# Docker Hub's entry is named after the API that Docker 0.x spoke; everyone has kept to it.
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = {"docker.io", "index.docker.io", "registry-1.docker.io"}

_HELPER_SECONDS = 60  # a helper may ask the user to unlock a key ring


class Secret:
    """A string that does not show itself: not in repr, str, format, errors or logs. `reveal()` is the one way out.

    No subclass of str on purpose: `"Bearer " + secret` would show it, and here it is a TypeError.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself, for the one who puts it on the wire."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not to be pickled or copied to disk")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or with `identity` an identity token that a token server takes in place of both."""

    username: str
    secret: Secret
    identity: bool = False

    def basic(self) -> Secret:
        """The header Authorization of RFC 7617, whole."""
        pair = f"{self.username}:{self.secret.reveal()}"
        return Secret("Basic " + base64.b64encode(pair.encode()).decode())


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """The part of Docker's config.json that is about signing in. Made by `load()`, or by hand for a test."""

    auths: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    store: str = ""
    helpers: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Credentials] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> DockerConfig:
        """Read the file at `path`; None means where Docker looks. A file that is not there is an empty config."""
        path = config_path() if path is None else path
        try:
            with open(path, "rb") as stream:
                document = json.load(stream)
            return cls._parse(document)
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except PermissionError:
            remedy = "make it readable for this user, or point DOCKER_CONFIG at another directory"
            raise InvalidInput(f"{os.fspath(path)} may not be read", remedy=remedy) from None
        except (ValueError, RecursionError, TypeError, AttributeError):
            # The cause is not chained: a JSON error quotes what it could not read, and that may be a password.
            remedy = "mend it, or sign in anew with labrt login, which writes it"
            raise InvalidInput(f"{os.fspath(path)} is not Docker's config.json", remedy=remedy) from None

    @classmethod
    def of(cls, host: str, credentials: Credentials) -> DockerConfig:
        """A config that knows these credentials and no others: to try them before they are kept."""
        return cls(given={host: credentials})

    @classmethod
    def _parse(cls, document: dict[str, Any]) -> DockerConfig:
        auths = {str(host): {str(k): v for k, v in (entry or {}).items() if isinstance(v, str)}
                 for host, entry in (document.get("auths") or {}).items()}  # fmt: skip
        helpers = {str(host): str(name) for host, name in (document.get("credHelpers") or {}).items()}
        return cls(auths, str(document.get("credsStore") or ""), helpers)

    def credentials(self, host: str) -> Credentials | None:
        """What is known for a registry's host (`docker.io`, `ghcr.io`, `localhost:5000`); None: nothing.

        Raises NotSupported when a helper program is missing, hangs or answers nonsense.
        """
        if host in self.given:
            return self.given[host]
        if helper := self.helper_for(host):
            return _ask_helper(helper, file_key(host))
        entry = next((self.auths[key] for key in spellings(host) if key in self.auths), None)
        return _decode(host, entry) if entry else None

    def helper_for(self, host: str) -> str:
        """The name of the program that is asked for this host, or ""."""
        return next((self.helpers[key] for key in spellings(host) if key in self.helpers), self.store)


def config_path() -> str:
    """Where Docker's config.json is or would be."""
    return os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")


def file_key(host: str) -> str:
    """The name under which docker files this registry, and by which helpers know it."""
    return _HUB_KEY if host in _HUB_HOSTS else host


def spellings(host: str) -> list[str]:
    """The spellings under which an entry for `host` may be filed, most usual first."""
    if host in _HUB_HOSTS:
        return [_HUB_KEY, *sorted(_HUB_HOSTS)]
    return [host, *(f"{scheme}://{host}{path}" for scheme in ("https", "http") for path in ("", "/", "/v1/", "/v2/"))]


def _decode(host: str, entry: Mapping[str, str]) -> Credentials | None:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(entry["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            remedy = "sign in anew with labrt login"
            raise InvalidInput(f"Docker's config.json has a broken entry for {host}", remedy=remedy) from None
        username, _, password = decoded.partition(":")
        password = password.rstrip("\0")  # some old writers pad it
    if entry.get("identitytoken"):
        return Credentials(username, Secret(entry["identitytoken"]), identity=True)
    return Credentials(username, Secret(password)) if username else None


def run_helper(name: str, verb: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    """Have `docker-credential-NAME` do something: get, store or erase. Raises NotSupported when it cannot be run."""
    import subprocess

    program = f"docker-credential-{name}"
    if "/" in name:
        raise NotSupported(f"{program!r} is no name of a credential helper")
    try:
        return subprocess.run([program, verb], input=data, capture_output=True, timeout=_HELPER_SECONDS)
    except OSError as error:
        raise NotSupported(f"{program} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise NotSupported(f"{program} did not answer in {_HELPER_SECONDS} s") from None


def _ask_helper(name: str, server: str) -> Credentials | None:
    program = f"docker-credential-{name}"
    done = run_helper(name, "get", server.encode())
    if done.returncode != 0:
        # The one refusal that is no failure; its words are the protocol's.
        if b"credentials not found" in done.stdout:
            return None
        raise NotSupported(f"{program} failed with exit code {done.returncode}")
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), Secret(str(answer["Secret"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotSupported(f"{program} answered something else than credentials") from None
    return Credentials(username, secret, identity=username == "<token>")
