"""Which request is whose, and in which version of the API.

A path may begin with a version, /v1.41: as the client speaks. It may be from OLDEST to NEWEST; without one the newest
is meant. Handlers find it in request["version"], as two numbers.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

import labrt
from labrt.engine import moments
from labrt.engine.api import context, errors, protocol, secrets, streams
from labrt.errors import InvalidInput

OLDEST, NEWEST = (1, 24), (1, 50)
BODY = 8 << 20  # bytes of a JSON body; archives are streams, and have no limit
DEEPEST = 64  # of objects in objects
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Route = tuple[str, str, Handler]
RESOURCES = (
    "system", "events", "listing", "containers", "creation", "attach", "execs", "archive", "stats", "images",
    "pulling", "archives", "volumes", "networks", "build", "absent",
)  # fmt: skip


def application(shared: context.Context) -> web.Application:
    """Make the application: all routes, with and without a version."""
    app = web.Application(middlewares=[_count, _errors, _versions], client_max_size=BODY)
    app[context.CONTEXT] = shared
    app.cleanup_ctx.append(context.lifetime)
    app.on_response_prepare.append(_common_headers)
    for method, path, handler in _routes():
        app.router.add_route(method, path, handler)
        app.router.add_route(method, rf"/v{{version:\d+\.\d+}}{path}", handler)
    return app


def _routes() -> Iterator[Route]:
    for name in RESOURCES:
        yield from importlib.import_module(f"labrt.engine.api.{name}").ROUTES


async def _common_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(request.get("headers") or headers(NEWEST))


def headers(version: tuple[int, int]) -> dict[str, str]:
    """Return what each answer begins with: clients look here for the API's version."""
    return {
        "Api-Version": f"{version[0]}.{version[1]}",
        "Docker-Experimental": "false",
        "Ostype": "linux",
        "Server": f"labrt/{labrt.__version__} (linux)",
    }


@web.middleware
async def _count(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count for /metrics, and write a line of log."""
    status = 0
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        counts = context.of(request).counts
        counts[request.method, status] = counts.get((request.method, status), 0) + 1
        errors.log.debug("%s %s: %s", request.method, secrets.url(request), status or "the client has gone")


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return protocol.check_head(request) or await handler(request)
    except web.HTTPException as error:
        words = {404: "page not found", 413: "request body too large"}
        return errors.reply(error.status, words.get(error.status, error.reason.lower()))
    except ConnectionError:  # nobody is there any more to be answered
        if request.transport is not None:
            request.transport.abort()
        return streams.Taken(status=499)
    except Exception as error:
        return errors.answer(error)


@web.middleware
async def _versions(request: web.Request, handler: Handler) -> web.StreamResponse:
    text = request.match_info.get("version", f"{NEWEST[0]}.{NEWEST[1]}")
    major, minor = (int(part) for part in text.split("."))
    newest, oldest = (".".join(map(str, end)) for end in (NEWEST, OLDEST))
    if (major, minor) > NEWEST:
        raise InvalidInput(f"client version {text} is too new. Maximum supported API version is {newest}")
    if (major, minor) < OLDEST:
        old = f"client version {text} is too old. Minimum supported API version is {oldest}"
        raise InvalidInput(f"{old}, please upgrade your client to a newer version")
    request["version"] = (major, minor)
    request["headers"] = headers(NEWEST)
    return await handler(request)


# What handlers read of a request --------------------------------------------------------------------------------------


async def body(request: web.Request, *, needed: bool = False) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty object, unless it is `needed`. Raises InvalidInput."""
    raw = await request.read()
    if not raw.strip():
        if needed:
            raise InvalidInput("invalid JSON: got EOF while reading request body")
        return {}
    return parse(raw)


def parse(raw: bytes | str) -> dict[str, Any]:
    """Read a JSON object. Raises InvalidInput for another value, and for one that is too deep."""
    try:
        value = json.loads(raw)
    except RecursionError:
        raise InvalidInput(_TOO_DEEP) from None
    except ValueError as error:
        raise InvalidInput(f"invalid JSON: {error}"[:300]) from None
    if not isinstance(value, dict):
        raise InvalidInput("invalid JSON: an object is wanted")
    _check_depth(value, DEEPEST)
    if (b"\\u0000" if isinstance(raw, bytes) else "\\u0000") in raw:  # type: ignore[operator]
        _check_nul(value)
    return value


_TOO_DEEP = f"invalid JSON: deeper than {DEEPEST} levels"


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise InvalidInput(_TOO_DEEP)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(inner, dict | list):
            _check_depth(inner, left - 1)


def _check_nul(value: Any) -> None:
    """Refuse a NUL in a string: no name, path or argument of the kernel's has one."""
    if isinstance(value, str) and "\0" in value:
        raise InvalidInput(f"invalid JSON: a NUL byte in {value!r:.60}")
    for inner in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_nul(inner)


def flag(request: web.Request, name: str, default: bool = False) -> bool:
    """Read a boolean of the query, as Go's API reads it: what is not "no" is yes."""
    value = request.query.get(name)
    if value is None:
        return default
    return value.strip().lower() not in ("", "0", "no", "false", "none")


def number(request: web.Request, name: str, default: int | None = None) -> int | None:
    """Read a number of the query. Raises InvalidInput."""
    text = request.query.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"invalid value {text!r:.60} for {name}: a number is wanted") from None


def filters(request: web.Request, known: tuple[str, ...]) -> dict[str, list[str]]:
    """Read the query's filters: {"label": {"a=b": true}} or, older, {"label": ["a=b"]}. Raises InvalidInput."""
    text = request.query.get("filters", "")
    if not text:
        return {}
    found = {}
    for name, values in parse(text).items():
        if name not in known:
            raise InvalidInput(f"invalid filter '{name}'")
        if isinstance(values, dict):
            values = [value for value, wanted in values.items() if wanted]
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InvalidInput(f"invalid filter '{name}'")
        found[name] = values
    for text in found.get("until", ()):
        moments.parse(text)
    return found


def has_labels(labels: dict[str, str], wanted: list[str]) -> bool:
    """Whether all of these are there: "key" or "key=value"."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def to_prune(labels: dict[str, str], created: float | None, wanted: dict[str, list[str]]) -> bool:
    """Whether the filters `label`, `label!` and `until` of a prune let something go; `created` None: at no time."""
    late = created is not None and any(created > moments.parse(text) for text in wanted.get("until", ()))
    kept = any(has_labels(labels, [text]) for text in wanted.get("label!", ()))
    return has_labels(labels, wanted.get("label", [])) and not kept and not late
