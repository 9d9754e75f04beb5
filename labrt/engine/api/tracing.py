"""`labrt daemon --trace`: a request's way, from the client to the system calls, as it goes.

    docker ──HTTP──► handler ──► engine ──order──► launcher ──fork──► monitor ──clone3──► init

Each of these tells over one FIFO (linux/tracing.py) what it does, with the number of the request that it works for.
Here that is read, and written to standard output: as text, or one JSON object a line. What a monitor does later, at
its container's end say, bears the number of the request that had it made.

A body is shown if it is JSON and short, without what is empty and what may be secret (secrets.py). Headers are not:
credentials are in them. Nothing of this is imported, wrapped or asked without --trace.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import itertools
import json
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from aiohttp import web

from labrt.engine.api import context, secrets
from labrt.engine.api.router import Handler
from labrt.linux import procfs, tracing

FIFO = "trace.fifo"
SHOWN = 32 << 10  # bytes of a body that may be shown; longer ones are only counted
_numbers = itertools.count(1)


@contextlib.contextmanager
def following(shared: context.Context, as_json: bool, out: TextIO | None = None) -> Iterator[Callable[..., None]]:
    """Trace for as long as the block runs. Yields what the application is to be given to, before it serves."""
    path = os.path.join(shared.where.run, FIFO)
    with tracing.channel(path) as fd:
        os.environ[tracing.VARIABLE] = path  # the launcher and the workers find it there
        tracing.join(path, "daemon", python=False)
        _wrap_orders()
        _wrap_engine(shared)
        reader = _Reader(fd, as_json, out or sys.stdout)

        def attach(app: web.Application) -> None:
            app.middlewares.insert(0, _middleware)
            asyncio.get_running_loop().add_reader(fd, reader.read)

        try:
            yield attach
        finally:
            reader.read()
            os.environ.pop(tracing.VARIABLE, None)


# What the daemon itself tells -----------------------------------------------------------------------------------------


@web.middleware
async def _middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    tracing.request.set(next(_numbers))
    began = time.monotonic()
    asked = f"{request.method} {secrets.url(request)}"
    tracing.tell("request", asked, client=_client(request), body=await _body(request))
    final = request.match_info.handler
    tracing.tell("handler", _name(final), about=(final.__doc__ or "").partition("\n")[0])
    status = 0
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        took = round((time.monotonic() - began) * 1000, 1)
        tracing.tell("answer", str(status) if status else "the client has gone", milliseconds=took)


async def _body(request: web.Request) -> str:
    """Return a short JSON body as it came, but for secrets. Its handler reads it once more: it is kept for that."""
    length = request.content_length or 0
    if not length or request.content_type != "application/json" or length > SHOWN or "Upgrade" in request.headers:
        return f"{length} bytes of {request.content_type}" if length else ""
    raw = await request.read()
    try:
        return json.dumps(_shortened(secrets.body(json.loads(raw))), separators=(",", ":"))
    except (ValueError, RecursionError):
        return f"{length} bytes that are no JSON"


def _shortened(value: Any) -> Any:
    """Leave out what is empty, zero or false: a client sends a hundred such fields."""
    if not isinstance(value, dict):
        return value
    left = {}
    for key, inner in value.items():
        shorter = _shortened(inner)
        if shorter not in (None, "", 0, {}, []):
            left[key] = shorter
    return left


def _client(request: web.Request) -> str:
    """Name who asks: over a unix socket the kernel knows which process that is, SO_PEERCRED in unix(7)."""
    sock = request.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        with contextlib.suppress(OSError, ValueError):
            return f"{procfs.stat(pid).comm}[{pid}]"
    return request.remote or "somebody"


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    owner = getattr(function, "__self__", None)
    module = str(getattr(function, "__module__", "")).removeprefix("labrt.")
    name = f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"
    shows_itself = getattr(type(owner), "__repr__", None) is not object.__repr__ and not isinstance(owner, type)
    return f"{name} of {owner!r}" if owner is not None and shows_itself else name


def _wrap_engine(shared: context.Context) -> None:
    """Tell each call of the engine, and take the request's number along to the thread or the process that makes it."""
    for name in ("call", "call_slowly"):
        setattr(shared, name, functools.partial(_told, getattr(shared, name)))
    for name in ("apart", "apart_slowly"):
        setattr(shared, name, functools.partial(_told_apart, getattr(shared, name)))


async def _told(call: Callable[..., Any], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    tracing.tell("engine", _name(function))
    return await call(contextvars.copy_context().run, function, *args, **kwargs)


async def _told_apart(apart: Callable[..., Any], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    tracing.tell("engine", _name(function), where="in a process apart")
    return await apart(_numbered, tracing.request.get(), function, *args, **kwargs)


def _numbered(number: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """In a worker: work for one request."""
    tracing.request.set(number)
    return function(*args, **kwargs)


def _wrap_orders() -> None:
    """Tell what the launcher and the monitors are asked for."""
    from labrt.runtime import wire
    from labrt.runtime.launcher import Launcher

    begin, control = Launcher.begin, wire.control

    def told_begin(self: Launcher, request: dict[str, Any], fds: Any = ()) -> Any:
        tracing.tell("order", f"to the launcher: {request.get('op')}", container=str(request.get("id") or ""))
        return begin(self, {**request, "traced_for": tracing.request.get()}, fds)

    def told_control(**message: object) -> bytes:
        tracing.tell("order", f"to a monitor: {json.dumps(message)}")
        return control(**message)

    Launcher.begin, wire.control = told_begin, told_control  # type: ignore[method-assign]


# What is read ---------------------------------------------------------------------------------------------------------


class _Reader:
    """Reads the FIFO, and writes it out."""

    def __init__(self, fd: int, as_json: bool, out: TextIO) -> None:
        self.fd, self.as_json, self.out = fd, as_json, out
        self.rest = b""

    def read(self) -> None:
        """Write out all that is there."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 1 << 16):
                *lines, self.rest = (self.rest + data).split(b"\n")
                for line in lines:
                    self._write(line.decode())
        with contextlib.suppress(OSError, ValueError):
            self.out.flush()

    def _write(self, line: str) -> None:
        text = line if self.as_json else "\n".join(shown(json.loads(line)))
        with contextlib.suppress(OSError, ValueError):  # nobody looks any more
            self.out.write(f"{text}\n")


_DEPTH = {"request": 0, "handler": 1, "engine": 2, "order": 3, "answer": 0}


def shown(event: dict[str, Any]) -> Iterator[str]:
    """Show an event as lines of text: the deeper in the house, the more to the right."""
    depth = _DEPTH.get(event["kind"], 2 if event["role"] == "daemon" else 4)
    lead = f"#{event['request']:<4}{'    ' * depth}"
    who = "" if event["role"] == "daemon" else f"{event['role']}[{event['pid']}] "
    said = event["text"]
    said += f" = {event['result']}" if "result" in event else f" = -1 {event['error']}" if "error" in event else ""
    arrow = {"request": "──► ", "answer": "◄── ", "state": "is "}.get(event["kind"], "")
    extra = [f"from {event['client']}"] if event.get("client") else []
    extra += [event["where"]] if event.get("where") else []
    extra += [f"{event['milliseconds']} ms"] if "milliseconds" in event else []
    extra += ["and is silent from here: it closes what is not the container's"] if event.get("last") else []
    extra += [f"({event['lost']} lines lost before)"] if event.get("lost") else []
    yield _printable(f"{lead}{arrow}{who}{said}{'   ' if extra else ''}{', '.join(extra)}")
    if event.get("body"):
        yield _printable(f"{lead}    {event['body']}")


def _printable(text: str) -> str:
    """A client, an image or a program chooses some of these words: they shall not steer the terminal."""
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
