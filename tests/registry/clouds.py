"""Replicas of how registries sign people in, each as its documentation has it. Docker Hub's is hub.py's.

    Ecr     Amazon: Basic with each request, user AWS and the password of `aws ecr get-login-password`
    EcrPublic  Amazon's public.ecr.aws: Bearer, for the scope `aws`, which is no TYPE:NAME:ACTIONS
    Gar     Google: Bearer from /v2/token, asked with Basic: _json_key and a whole JSON document, _json_key_base64 and
            the same in base64, or oauth2accesstoken
    Acr     Azure: Bearer from /oauth2/token; an identity token is posted to it as refresh_token, with service and
            scope, and gives access_token; or Basic with a service principal's password
    Offline CNCF Distribution's token specification: who asks for offline_token=true gets a refresh_token for later

Where it is written, as read in November 2026:

    Ecr     docs.aws.amazon.com, ECR user guide, "Private registry authentication" (registry_auth): user AWS, a token
            for twelve hours; its example sends `Authorization: Basic` with each request of the registry's HTTP API
    EcrPublic  ECR Public user guide, "Registry authentication" (public-registry-auth): user AWS again. That its
            challenge is Bearer with scope="aws" is in no guide, but in its answers, as many a client quotes them
    Gar     docs.cloud.google.com, Artifact Registry, "Configure authentication … for Docker": oauth2accesstoken for
            an access token, _json_key or _json_key_base64 for a service account's key. GCR: the same, gcr.io/v2/token
    Acr     github.com/Azure/acr, docs/AAD-OAuth.md: POST /oauth2/token with grant_type=refresh_token, service, scope
            and refresh_token gives {"access_token": …}; GET with Basic, too; the null GUID as user means that the
            password is a refresh token. (`az acr login` has it from POST /oauth2/exchange, no engine's business.)
    Offline distribution.github.io/distribution, spec/auth/token and spec/auth/oauth: 60 seconds where none are said
    hub.py  docs.docker.com, "Docker Hub pull usage and limits": auth.docker.io/token, service=registry.docker.io, the
            headers ratelimit-limit: 100;w=21600 and ratelimit-remaining, and 429
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
        scoped = name and "Bearer" in self.challenge and "scope" not in self.challenge
        scope = f',scope="repository:{name}:{action}"' if scoped else ""
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


class EcrPublic(Cloud):
    token_path = "/token/"
    challenge = 'Bearer realm="{url}/token/",service="{host}",scope="aws"'

    def _allows(self, request: Request) -> bool:
        return request.headers.get("authorization", "").removeprefix("Bearer ") in self.granted

    def _grant(self, user: str, query: dict[str, str], *, posted: bool) -> Answer:
        if query.get("scope") != "aws":
            return distribution.refuse(400, "UNSUPPORTED", "unknown scope")
        return super()._grant(user, query | {"scope": ""}, posted=posted)


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
