"""Where a repository is asked for, and how: a mirror first, then the registry; without a token first, then with one.

    endpoints.fetch(reference, path, what)       a 200 or 206, or the error that says why not
    endpoints.ask("GET", host, base, path)       any status, signed in where a 401 asked for it

    endpoints.of_environment()                   {"docker.io": LABRT_MIRROR}, where that is set

A mirror has credentials of its own: what we are to docker.io is never told to it. Notebook 13.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from labrt.errors import LabrtError, RegistryError
from labrt.image.reference import Reference
from labrt.registry import failures
from labrt.registry.auth import Authenticator, Challenge
from labrt.registry.events import Emitter, MirrorFailed
from labrt.registry.response import Response
from labrt.registry.transport import Transport


def of_environment() -> dict[str, str]:
    """The mirrors that LABRT_MIRROR names: a base URL, of Docker Hub; so a class asks the Hub once."""
    mirror = os.environ.get("LABRT_MIRROR", "")
    if not mirror:
        return {}
    if urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).netloc:
        remedy = "export LABRT_MIRROR=http://HOST:5000"
        raise RegistryError(f"LABRT_MIRROR is {mirror!r}: no URL of a registry", remedy=remedy)
    return {"docker.io": mirror}


def plain(mirrors: Mapping[str, str]) -> set[str]:
    """The hosts of mirrors that are named with `http:`: who writes that has decided to trust the network."""
    return {urlsplit(base).netloc for base in mirrors.values() if urlsplit(base).scheme == "http"}


class Endpoints:
    """One client's registries and their mirrors. `mirrors` maps a registry to a base URL."""

    def __init__(
        self, transport: Transport, auth: Authenticator, mirrors: Mapping[str, str], emit: Emitter
    ) -> None:
        self._transport = transport
        self._auth = auth
        self._mirrors = {registry: base.rstrip("/") for registry, base in mirrors.items()}
        self._emit = emit

    def __repr__(self) -> str:
        return f"<Endpoints mirrors {self._mirrors}>"

    def fetch(self, reference: Reference, path: str, what: str, *, method: str = "GET", **how: Any) -> Response:
        """Ask for `/v2/REPOSITORY/path`. `what` names it in errors; `how` are Transport.request's headers and limit.

        Returns a 200 or 206. Every other status is an error: of the registry's, if a mirror failed before it.
        """
        mirror = self._mirrors.get(reference.registry)
        if mirror:
            try:
                return self._fetch(urlsplit(mirror).netloc, mirror, reference, path, what, method, attempts=1, **how)
            except LabrtError as error:
                self._emit(MirrorFailed(mirror, error.message))
        base = self._transport.base_url(reference.registry)
        return self._fetch(reference.registry, base, reference, path, what, method, **how)

    def _fetch(
        self, host: str, base: str, reference: Reference, path: str, what: str, method: str, **how: Any
    ) -> Response:
        response = self.ask(method, host, base, f"/v2/{reference.repository}/{path}", scope=scope(reference), **how)
        if response.status not in (200, 206):
            raise failures.refusal(response, what)
        return response

    def ask(self, method: str, host: str, base: str, path: str, *, scope: str = "", **how: Any) -> Response:
        """Ask; when the answer is 401, sign in and ask once more. `scope` "" is that of signing in and no more."""
        known = self._auth.cached(host, scope)
        response = self._transport.request(method, base + path, authorization=known, **how)
        if response.status != 401:
            return response
        challenges = Challenge.parse(response.headers.get("WWW-Authenticate", ""))
        answer = self._auth.answer(host, base, challenges, scope, refused=known)
        return self._transport.request(method, base + path, authorization=answer, **how)


def scope(reference: Reference, actions: str = "pull") -> str:
    """What a token must be good for to pull this repository, or for other actions: `pull,push`, `delete`."""
    return f"repository:{reference.repository}:{actions}"
