"""Replicas of how registries sign people in, each as its documentation has it. Docker Hub's is hub.py's.

    Ecr     Amazon: Basic with each request, user AWS and the password of `aws ecr get-login-password`
    Gar     Google: Bearer from /v2/token, asked with Basic: _json_key and a whole JSON document, _json_key_base64 and
            the same in base64, or oauth2accesstoken
    Acr     Azure: Bearer from /oauth2/token; an identity token is posted to it as refresh_token, with service and
            scope, and gives access_token; or Basic with a service principal's password
    Offline CNCF Distribution's token specification: who asks for offline_token=true gets a refresh_token for later
"""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qsl

from labrt.image.layout import Layout
from labrt.registry import distribution
from labrt.registry.distribution import Answer, Request
from labrt.registry.server import RegistryServer


class Cloud(RegistryServer):
    """One registry that serves `layout` to `users` (name: password) only, and takes what they push."""

    token_path = ""
    challenge = ""

    def __init__(self, layout: Layout, users: dict[str, str]) -> None:
        super().__init__(layout, push=True)
        self.users = users
        self.identities: dict[str, str] = {}
        self.granted: dict[str, set[str]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []  # of the token server: method, and query or form

    def answer(self, request: Request) -> Answer:
        if self.token_path and request.path == self.token_path:
            return self._token(request)
        return super().answer(request) if self._allows(request) else self._refuse(request)

    def _allows(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.granted:
            return False
        name = "/".join(request.path.split("/")[2:-2]).removesuffix("/blobs")
        actions = self.granted[token]
        wanted = "pull" if request.method in ("GET", "HEAD") else "push"
        return not name or f"{name}:{wanted}" in actions

    def _refuse(self, request: Request) -> Answer:
        answer = distribution.refuse(401, "UNAUTHORIZED", "authentication required")
        name = "/".join(request.path.split("/")[2:-2]).removesuffix("/blobs")
        action = "pull" if request.method in ("GET", "HEAD") else "pull,push"
        scope = f',scope="repository:{name}:{action}"' if name and "Bearer" in self.challenge else ""
        answer.headers["Www-Authenticate"] = self.challenge.format(url=self.url, host=self.host) + scope
        return answer

    def _user(self, request: Request) -> str:
        header = request.headers.get("authorization", "")
        name, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return name if name and self.users.get(name) == password else ""

    def _token(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.read(1 << 20).decode())) if request.method == "POST" else {}
        query = {**request.query, **form}
        self.asked.append((request.method, query))
        if query.get("service") != self.host:  # the challenge has named it, and all of them want to hear it again
            return distribution.refuse(400, "UNSUPPORTED", "service is missing")
        user = self.identities.get(form.get("refresh_token", ""), "") if form else self._user(request)
        if not user or (form and form.get("grant_type") != "refresh_token"):
            return distribution.refuse(401, "UNAUTHORIZED", "who are you?")
        return self._grant(user, query, posted=bool(form))

    def _grant(self, user: str, query: dict[str, str], *, posted: bool) -> Answer:
        token = f"access-{len(self.granted)}-of-{user[:4]}"
        self.granted[token] = set()
        for one in query.get("scope", "").split():
            _, name, actions = one.split(":")
            self.granted[token] |= {f"{name}:{action}" for action in actions.split(",")}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(self._body(token, query, posted)).encode())

    def _body(self, token: str, query: dict[str, str], posted: bool) -> dict[str, object]:
        return {"token": token, "expires_in": 300}


class Ecr(Cloud):
    challenge = 'Basic realm="https://{host}/",service="ecr.amazonaws.com"'

    def _allows(self, request: Request) -> bool:
        return bool(self._user(request))


class Gar(Cloud):
    token_path = "/v2/token"
    challenge = 'Bearer realm="{url}/v2/token",service="{host}"'


class Acr(Cloud):
    token_path = "/oauth2/token"
    challenge = 'Bearer realm="{url}/oauth2/token",service="{host}"'

    def _body(self, token: str, query: dict[str, str], posted: bool) -> dict[str, object]:
        return {"access_token": token}


class Offline(Cloud):
    token_path = "/token"
    challenge = 'Bearer realm="{url}/token",service="{host}"'

    def _body(self, token: str, query: dict[str, str], posted: bool) -> dict[str, object]:
        body: dict[str, object] = {"access_token" if posted else "token": token, "expires_in": 300}
        if query.get("offline_token") == "true":
            body["refresh_token"] = "identity-that-lasts"
            self.identities["identity-that-lasts"] = "learner"
        return body
