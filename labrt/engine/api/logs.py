"""GET /containers/{id}/logs: the log's lines, numbered by their stream unless the container has a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection

from aiohttp import web

from labrt.engine import logs, moments
from labrt.engine.api import context, router, streams
from labrt.engine.container import Container
from labrt.errors import InvalidInput
from labrt.runtime import wire
from labrt.runtime.log import Entry
from labrt.runtime.log_reader import Reader

STREAMS = {"stdout": wire.STDOUT, "stderr": wire.STDERR}
_PAUSE = 0.05  # seconds between two looks for more
_LONGEST_PAUSE = 0.5


async def answer(request: web.Request, container: Container) -> web.StreamResponse:
    """Send the log, and with `follow` what comes."""
    shown = {number for name, number in STREAMS.items() if router.flag(request, name)}
    if not shown:
        raise InvalidInput("Bad parameters: you must choose at least one stream")
    record = container.record()
    tty, follow = record["options"]["tty"], router.flag(request, "follow")
    stamps, details = router.flag(request, "timestamps"), router.flag(request, "details")
    kind = streams.MULTIPLEXED if not tty and request["version"] >= (1, 42) else streams.RAW
    lines = entries(container, context.of(request), tail=_tail(request), follow=follow,
                    since=_moment(request, "since"), until=_moment(request, "until"),
                    gone=lambda: streams.is_gone(request))  # fmt: skip
    response = await streams.begin(request, kind)
    async with contextlib.aclosing(lines):
        async for batch in lines:
            pieces = [framed(entry, shown, tty, stamps=stamps, details=details) for entry in batch]
            await response.write(b"".join(pieces))
    await response.write_eof()
    return response


def framed(
    entry: Entry, shown: Collection[int], tty: bool, *, stamps: bool = False, details: bool = False
) -> bytes:
    """Write an entry as it goes over the wire; b"" if its stream is not wanted."""
    stream = STREAMS[entry.stream]
    if stream not in shown:
        return b""
    text = f"{' ' if details else ''}{entry.text}"
    data = (f"{entry.time} {text}" if stamps else text).encode("utf-8", "surrogateescape")
    return data if tty else wire.frame(stream, data)


def _tail(request: web.Request) -> int | None:
    text = request.query.get("tail", "all")
    return int(text) if text.isdecimal() else None


def _moment(request: web.Request, name: str) -> float | None:
    text = request.query.get(name, "")
    return moments.parse(text) if text and text != "0" else None


async def entries(
    container: Container, shared: context.Context, *, tail: int | None = None, follow: bool = False,
    since: float | None = None, until: float | None = None, gone: Callable[[], bool] = bool,
) -> AsyncGenerator[list[Entry], None]:  # fmt: skip
    """Yield entries as engine/logs.py does, in pieces: the log may be long. No thread waits for who is silent."""
    first, last = (None if moment is None else logs.stamp(moment) for moment in (since, until))
    with contextlib.closing(Reader(container.runtime.log)) as reader:
        if tail is not None:
            await shared.call(reader.skip_to, tail)
        pause = _PAUSE
        while True:
            ended = not follow or not logs.goes_on(container)  # asked before reading: nothing comes after that
            batch = await shared.call(reader.read)
            pause = _PAUSE if batch else min(pause * 1.5, _LONGEST_PAUSE)
            fits = [one for one in batch if (not first or one.time >= first) and (not last or one.time <= last)]
            if fits:
                yield fits
            if not batch:
                if ended or gone() or (until is not None and time.time() > until):
                    return
                await asyncio.sleep(pause)
