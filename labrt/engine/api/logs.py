"""GET /containers/{id}/logs: the log's lines, numbered by their stream unless the container has a terminal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection

from aiohttp import web

from labrt.engine import moments
from labrt.engine.api import context, router, streams
from labrt.engine.container import Container
from labrt.errors import ContainerNotFound, InvalidInput
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
    lines = entries(container, tail=_tail(request), follow=follow, since=_moment(request, "since"),
                    until=_moment(request, "until"), shared=context.of(request),
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
    container: Container, *, tail: int | None, follow: bool, since: float | None, until: float | None,
    shared: context.Context, gone: Callable[[], bool],
) -> AsyncGenerator[list[Entry], None]:  # fmt: skip
    """Yield entries as engine/logs.py does, without ever waiting for a container that is silent."""
    if not follow:
        yield await shared.call(lambda: [*container.logs(tail=tail, since=since, until=until)])
        return
    import time

    with contextlib.closing(Reader(container.runtime.log)) as reader:
        if tail is not None:
            await shared.call(reader.skip_to, tail)
        pause = _PAUSE
        while True:
            ended = not _goes_on(container)  # asked before reading: nothing comes after what is read then
            batch = await shared.call(reader.read)
            pause = _PAUSE if batch else min(pause * 1.5, _LONGEST_PAUSE)
            stamped = [entry for entry in batch if since is None or moments.parse(entry.time) >= since]
            if until is not None:
                stamped = [entry for entry in stamped if moments.parse(entry.time) <= until]
            if stamped:
                yield stamped
            if not batch:
                if ended or gone() or (until is not None and time.time() > until):
                    return
                await asyncio.sleep(pause)


def _goes_on(container: Container) -> bool:
    try:
        state = container.state
    except ContainerNotFound:
        return False
    return bool(state.pid and state.kept)


