"""What of a request may be shown, in a log or a trace: names, and no values that may be secret.

    secrets.url(request)        the path with its query, but for build arguments
    secrets.body(value)         what JSON says, but for passwords and the values of an environment

Docker has no place of its own for secrets: programs are given them in the environment and builds as arguments.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

HIDDEN = "*****"
WHOLE = {"password", "secret", "auth", "auths", "authconfig", "token", "registrytoken", "identitytoken"}
VALUES = {"env", "buildargs"}  # only the names are shown
_ENV = re.compile(r"^(\s*(?:ENV|ARG)\s+[^\s=]+).*", re.IGNORECASE | re.DOTALL)


def url(request: web.Request) -> str:
    """Write a request's path and query."""
    if not request.query.keys() & {"buildargs", "changes"}:
        return request.path_qs
    return f"{request.path}?{urlencode([(name, _parameter(name, value)) for name, value in request.query.items()])}"


def _parameter(name: str, value: str) -> str:
    if name == "changes":
        return "\n".join(_ENV.sub(rf"\1={HIDDEN}", line) for line in value.split("\n"))
    if name != "buildargs":
        return value
    try:
        return json.dumps(_names_only(json.loads(value)))
    except (ValueError, RecursionError):
        return HIDDEN


def body(value: Any) -> Any:
    """Return a value of JSON with what is secret hidden."""
    if isinstance(value, list):
        return [body(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: _field(key.lower(), inner) for key, inner in value.items()}


def _field(key: str, value: Any) -> Any:
    if key in WHOLE:
        return HIDDEN if value else value
    return _names_only(value) if key in VALUES else body(value)


def _names_only(value: Any) -> Any:
    """Of {"A": "b"}, and of ["A=b"], what is before the value. Of anything else, nothing."""
    if isinstance(value, dict):
        return {name: HIDDEN if inner else inner for name, inner in value.items()}
    if isinstance(value, list):
        return [f"{text.partition('=')[0]}={HIDDEN}" if "=" in text else text for text in map(str, value)]
    return HIDDEN if value else value
