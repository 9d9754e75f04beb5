"""Signing in: what a registry's 401 asks for, and the token or password that answers it.

    Challenge.parse('Bearer realm="https://auth.docker.io/token",service="registry.docker.io"')
    authenticator.answer("docker.io", base, challenges, "repository:library/busybox:pull")    a header, as a Secret
    authenticator.cached("docker.io", base, scope)                                            the same later; or None

A registry that says *Bearer* sends us to a token server, its realm, which gives a token for one scope (may pull this
repository) and some minutes: to anybody for public images, or to those whom `docker login` knows. One that says *Basic*
wants user and password with each request.

RFC 9110 section 11 (challenges), RFC 7617 (Basic), RFC 6750 (Bearer), and the token pages of CNCF Distribution.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from labrt.errors import NotSupported, RegistryError, Unauthorized
from labrt.registry import failures, urls
from labrt.registry.credentials import Credentials, DockerConfig, Secret
from labrt.registry.events import Emitter, HelperFailed, TokenGranted
from labrt.registry.response import Response
from labrt.registry.transport import Transport

_DEFAULT_SECONDS = 60.0  # how long a token is good that does not say so: the token specification's number
_MARGIN = 0.1  # of its life: by then we stop using a token, as the request must still arrive with it

_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")
_WORD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))""")
_VISIBLE = re.compile("[!-~]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to sign in that a registry offers. `scheme` is in lower case; parameters are as they came."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def realm(self) -> str:
        """For bearer: the token server's URL. For basic: a name."""
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str:
        """What the token server calls this registry."""
        return self.parameters.get("service", "")

    @property
    def scope(self) -> str:
        """What a token must be good for, `repository:NAME:pull`; "" where only signing in is asked for."""
        return self.parameters.get("scope", "")

    @classmethod
    def parse(cls, header: str) -> list[Challenge]:
        """Read a WWW-Authenticate, in the registry's order. Several challenges, and commas in quotes, are allowed.

        What cannot be read is skipped, as an unknown scheme would be.
        """
        found: list[Challenge] = []
        parameters: dict[str, str] = {}
        position = 0
        while position < len(header):
            if header[position] in ", \t":
                position += 1
            elif found and (match := _PARAMETER.match(header, position)):
                name, quoted, plain = match.groups()
                parameters.setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
                position = match.end()
            elif match := _WORD.match(header, position):
                parameters = {}
                found.append(cls(match[0].lower(), parameters))
                position = match.end()
                if token := re.compile(r"\s+").match(header, position):
                    token68 = _TOKEN68.match(header, token.end())
                    position = token68.end() if token68 else token.end()
            else:
                position += 1
        return found

    def __rich_repr__(self) -> Any:
        yield self.scheme
        yield from self.parameters.items()


@dataclass(frozen=True, slots=True)
class Token:
    """What a token server gave: good for `scope` at `host`, `seconds` long from when it came. Shows no secret."""

    host: str
    scope: str
    seconds: float
    secret: Secret
    refresh: Secret | None = None  # an identity token for later, where one was asked for and given

    @property
    def header(self) -> Secret:
        """What the header Authorization says with it."""
        return Secret(f"Bearer {self.secret.reveal()}")

    def __repr__(self) -> str:
        return f"<Token for {self.scope or 'signing in'} at {self.host}, good for {self.seconds:.0f} s>"


class Authenticator:
    """Answers challenges for one client, and remembers its answers per host and scope. Threads may share it."""

    def __init__(
        self,
        transport: Transport,
        config: DockerConfig | None = None,
        *,
        emit: Emitter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._config = config
        self._emit = emit or Emitter()
        self._clock = clock
        self._answers: dict[tuple[str, str], tuple[Secret, float]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Authenticator {len(self._answers)} answers remembered>"

    def cached(self, host: str, scope: str) -> Secret | None:
        """The header Authorization that answered here before and is still good; None: ask without and see."""
        secret, until = self._answers.get((host, scope), (None, 0.0))
        return secret if self._clock() < until else None

    def answer(
        self, host: str, base: str, challenges: Sequence[Challenge], scope: str, *, refused: Secret | None = None
    ) -> Secret:
        """The header Authorization that meets a 401 of `host`, whose URL is `base`; remembered for `scope`.

        `refused` is the header that has just been turned down; what another thread got meanwhile is good for this one
        too. Raises Unauthorized when there is nothing to answer with.
        """
        with self._lock:
            known = self.cached(host, scope)
            if known is not None and known != refused:
                return known
            for challenge in challenges:
                if challenge.scheme == "bearer":
                    token = self.token(host, base, challenge, scope)
                    secret, seconds = token.header, token.seconds * (1 - _MARGIN)
                elif challenge.scheme == "basic" and (credentials := self.credentials(host)):
                    secret, seconds = credentials.basic(), float("inf")
                else:
                    continue
                if secret == refused:
                    break
                self._answers[host, scope] = secret, self._clock() + seconds
                return secret
        raise _cannot_answer(host, challenges, refused)

    def credentials(self, host: str) -> Credentials | None:
        """Who we are to `host` by Docker's config; None: nobody."""
        if self._config is None:
            self._config = DockerConfig.load()
        try:
            return self._config.credentials(host)
        except NotSupported as error:
            helper = f"docker-credential-{self._config.helper_for(host)}"
            self._emit(HelperFailed(host, helper, error.message))
            return None

    def token(self, host: str, base: str, challenge: Challenge, scope: str = "", *, offline: bool = False) -> Token:
        """Fetch a new token from the challenge's realm. `scope` "" is what the challenge names.

        `offline` asks for an identity token besides, to sign in with later.
        """
        scope = _wider(challenge.scope, scope)
        credentials = self._credentials_for_realm(host, base, challenge.realm)
        if credentials is not None and credentials.identity:
            response = self._refresh(challenge, scope, credentials)
        else:
            response = self._get(challenge, scope, credentials, offline)
        who = credentials.username if credentials else ""
        if response.status in (401, 403) and credentials:
            remedy = "sign in anew with labrt login"
            message = f"{response.host} does not accept the sign-in of {who!r} for {host}"
            raise Unauthorized(message, status=response.status, remedy=remedy)
        if response.status != 200:
            raise failures.refusal(response, f"a token for {scope or host}")
        secret, seconds, refresh = _read_token(response)
        self._emit(TokenGranted(host, scope, who, seconds))
        return Token(host, scope, seconds, secret, refresh)

    def _get(
        self, challenge: Challenge, scope: str, credentials: Credentials | None, offline: bool = False
    ) -> Response:
        query = [("service", challenge.service)] if challenge.service else []
        query += [("scope", one) for one in scope.split()]
        if credentials:
            query.append(("account", credentials.username))
        if offline:
            query += [("client_id", "labrt"), ("offline_token", "true")]
        parts = urlsplit(challenge.realm)
        url = urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, urlencode(query)]))))
        return self._transport.request("GET", url, authorization=credentials.basic() if credentials else None)

    def _refresh(self, challenge: Challenge, scope: str, credentials: Credentials) -> Response:
        form = {"grant_type": "refresh_token", "client_id": "labrt", "service": challenge.service, "scope": scope}
        return self._transport.request("POST", challenge.realm, form={**form, "refresh_token": credentials.secret})

    def _credentials_for_realm(self, host: str, base: str, realm: str) -> Credentials | None:
        """Who we are, unless the realm is a stranger on an open line: then we are nobody."""
        try:
            urls.origin(realm)
            parts = urlsplit(realm)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            message = f"{host} names {failures.printable(repr(realm))} as its token server, which is no URL"
            raise RegistryError(message, remedy="is this an OCI registry?")
        safe = parts.scheme == "https" or urls.is_loopback(parts.netloc)
        # A registry that is itself spoken to in plain HTTP would hear the password anyway.
        return self.credentials(host) if safe or urls.origin(realm) == urls.origin(base) else None


def _cannot_answer(host: str, challenges: Sequence[Challenge], refused: Secret | None) -> Unauthorized:
    schemes = ", ".join(sorted({challenge.scheme for challenge in challenges}))
    if refused is not None:
        message, remedy = f"{host} does not accept our sign-in", "sign in anew with labrt login"
    elif "basic" in schemes:
        message, remedy = f"{host} wants a user and a password", f"sign in with labrt login {host}"
    else:
        message = f"{host} wants a kind of sign-in that labrt does not know: {failures.printable(schemes) or 'none'}"
        remedy = "labrt knows Bearer and Basic; is this an OCI registry?"
    return Unauthorized(message, status=401, remedy=remedy)


def _wider(asked: str, wanted: str) -> str:
    """The scope that a challenge asks for, with the actions that we shall soon want of the same repositories.

    A push begins with a HEAD, for which a registry asks for `pull`: one token with `pull,push` serves the whole push.
    Repositories that the challenge does not name are left out, as a mirror may call them by other names. What has not
    the form TYPE:NAME:ACTIONS is repeated as it came: public.ecr.aws asks for the scope `aws`.
    """
    actions = {one.rpartition(":")[0]: one.rpartition(":")[2].split(",") for one in wanted.split()}
    found = []
    for one in asked.split():
        resource, colon, listed = one.rpartition(":")
        if not colon:
            found.append(one)
            continue
        found.append(f"{resource}:{','.join(dict.fromkeys([*listed.split(','), *actions.get(resource, ())]))}")
    return " ".join(found) or wanted


def _read_token(response: Response) -> tuple[Secret, float, Secret | None]:
    """Token, seconds and perhaps an identity token out of a token server's answer."""
    try:
        document = json.loads(response.body)
        text = document.get("token") or document["access_token"]
        seconds = float(document.get("expires_in") or _DEFAULT_SECONDS)
        refresh = document.get("refresh_token") or ""
        readable = all(_VISIBLE.fullmatch(one) for one in (text, refresh or "none"))
        if not readable or not 0 < seconds < float("inf"):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        message = f"{response.asked}: the answer holds no token"
        # Not chained: the cause would quote what may be half a token.
        raise RegistryError(message, status=response.status, remedy="is this a token server?") from None
    return Secret(text), seconds, Secret(refresh) if refresh else None
