"""GET /containers/{id}/logs: the log's lines, numbered by their stream unless the container has a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable

from aiohttp import web

from labrt.engine import logs, moments
from labrt.engine.api import context, router, streams
from labrt.engine.api.log_frames import STREAMS, Wanted
from labrt.engine.container import Container
from labrt.errors import InvalidInput
from labrt.runtime.log_reader import Reader

_PAUSE = 0.05  # seconds between two looks for more
_LONGEST_PAUSE = 0.5


async def answer(request: web.Request, container: Container) -> web.StreamResponse:
    """Send the log, and with `follow` what comes."""
    shown = {number for name, number in STREAMS.items() if router.flag(request, name)}
    if not shown:
        raise InvalidInput("Bad parameters: you must choose at least one stream")
    since, until = _moment(request, "since"), _moment(request, "until")
    wanted = Wanted(
        shown, container.record()["options"]["tty"],
        router.flag(request, "timestamps"), router.flag(request, "details"),
        b"" if since is None else logs.stamp(since - _ROUNDING).encode(),
        b"" if until is None else logs.stamp(until + _ROUNDING).encode(),
    )  # fmt: skip
    kind = streams.MULTIPLEXED if not wanted.tty and request["version"] >= (1, 42) else streams.RAW
    pieces = frames(container, context.of(request), wanted, tail=_tail(request), follow=router.flag(request, "follow"),
                    until=until, gone=lambda: streams.is_gone(request))  # fmt: skip
    response = await streams.begin(request, kind)
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            await response.write(piece)
    await response.write_eof()
    return response


_ROUNDING = 1e-6  # seconds: a float of today's is right to a quarter of a microsecond, a log tells nanoseconds


def _tail(request: web.Request) -> int | None:
    text = request.query.get("tail", "all")
    return int(text) if text.isdecimal() else None


def _moment(request: web.Request, name: str) -> float | None:
    text = request.query.get(name, "")
    return moments.parse(text) if text and text != "0" else None


async def frames(
    container: Container, shared: context.Context, wanted: Wanted, *, tail: int | None = None, follow: bool = False,
    until: float | None = None, gone: Callable[[], bool] = bool,
) -> AsyncGenerator[bytes, None]:  # fmt: skip
    """Yield what is wanted of the log in pieces: it may be long. No thread waits for who is silent."""
    with contextlib.closing(Reader(container.runtime.log)) as reader:
        if tail is not None:
            await shared.call(reader.skip_to, tail)
        pause = _PAUSE
        while True:
            ended = not follow or not logs.goes_on(container)  # asked before reading: nothing comes after that
            came, piece = await shared.call(_next, reader, wanted)
            pause = _PAUSE if came else min(pause * 1.5, _LONGEST_PAUSE)
            if piece:
                yield piece
            if not came:
                if ended or gone() or (until is not None and time.time() > until):
                    return
                await asyncio.sleep(pause)


def _next(reader: Reader, wanted: Wanted) -> tuple[bool, bytes]:
    """Return whether there was more, and what of it is wanted."""
    lines = reader.read_lines()
    return bool(lines), wanted.frames(lines)
