"""POST /containers/{id}/attach and /resize: a container's stdio over a taken connection.

Input ends when the client's half of the connection does, and output goes on: `echo hi | docker run -i busybox cat`.
With a terminal, and over HTTP too, a sequence of keys leaves the container.

A client that does not read makes the container wait when a megabyte is on its way to it (runtime/stdio.py), as with
dockerd (moby's pull request 30286 wanted it otherwise, and was not taken): who is attached misses no byte. Who wants to
look on without holding anything up, follows the logs.
"""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from labrt.engine import keys
from labrt.engine.api import context, inspecting, router, starts, streams
from labrt.engine.api.pipes import Pipe
from labrt.engine.container import Container
from labrt.errors import Conflict, InvalidInput, LabrtError
from labrt.runtime import wire
from labrt.runtime.attachment import Attachment


async def attach(request: web.Request) -> web.StreamResponse:
    """Be attached to a container that runs, or wait until it is started."""
    shared, container = context.of(request), await context.of(request).find(request)
    record = container.record()
    tty, leaving = record["options"]["tty"], parse_keys(request.query.get("detachKeys", ""))
    flags = {name: router.flag(request, name) for name in ("stdin", "stdout", "stderr", "stream", "logs")}
    shown = {wire.STDOUT} if flags["stdout"] else set()
    shown |= {wire.STDERR} if flags["stderr"] else set()
    if container.status == "paused":
        raise Conflict(f"container {container.id} is paused, unpause the container before attach")
    stdin = flags["stdin"] and record["options"]["interactive"] and flags["stream"]
    once = bool(inspecting.asked(container).get("Config", {}).get("StdinOnce", True))
    async with streams.hijack(request, tty=tty) as client:
        if flags["logs"]:
            await _history(shared, container, client, shown, tty)
        if flags["stream"]:
            with contextlib.suppress(ConnectionError, LabrtError):
                container.note("attach")
                await _attached(shared, container, Attached(client, shown, tty, leaving, stdin, once))
    return streams.Taken()


async def _history(
    shared: context.Context, container: Container, client: streams.Hijacked, shown: set[int], tty: bool
) -> None:
    from labrt.engine.api import logs
    from labrt.engine.api.log_frames import Wanted

    async with contextlib.aclosing(logs.frames(container, shared, Wanted(shown, tty))) as pieces:
        async for piece in pieces:
            await client.write(piece)


async def _attached(shared: context.Context, container: Container, session: Attached) -> None:
    ready = await session.client.unless_gone(shared.starts.awaited(container))
    try:
        pipe = await shared.call(starts.connect, container, stdin=session.stdin)
    finally:
        if not ready.done():
            ready.set_result(None)
    with contextlib.closing(pipe):
        await session.run(pipe)
    if session.left:
        container.note("detach")


class Attached:
    """One client and one container."""

    def __init__(
        self, client: streams.Hijacked, shown: set[int], tty: bool, leaving: bytes, stdin: bool, once: bool
    ) -> None:
        self.client, self.shown, self.tty, self.stdin, self.once = client, shown, tty, stdin, once
        self.keys = keys.Keys(leaving) if tty else None
        self.left = False

    async def run(self, pipe: Pipe) -> None:
        """Move bytes both ways until the container ends or the client leaves."""
        output = asyncio.ensure_future(self._output(pipe))
        input = asyncio.ensure_future(self._input(pipe))
        try:
            await asyncio.wait([output, input], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (output, input):
                task.cancel()
            await asyncio.gather(output, input, return_exceptions=True)

    async def _output(self, pipe: Pipe) -> None:
        frames = wire.Unpacker()
        while data := await pipe.read():
            for stream, payload in frames.feed(data):
                if stream in self.shown:
                    await self.client.write(payload if self.tty else wire.frame(stream, payload))

    async def _input(self, pipe: Pipe) -> None:
        while data := await self.client.read():
            if not self.stdin:
                continue
            if self.keys is not None:
                data, self.left = self.keys.feed(data)
            if data:
                await pipe.write(wire.frame(wire.STDIN, data))
            if self.left:
                return
        if self.stdin and self.once and not self.tty:
            with contextlib.suppress(BrokenPipeError):
                await pipe.write(wire.frame(wire.STDIN, b""))
        await self.client.wait_gone()


def parse_keys(text: str) -> bytes:
    """Read "ctrl-p,ctrl-q". Raises InvalidInput in docker's words."""
    try:
        return keys.parse(text)
    except InvalidInput:
        raise InvalidInput(f"Invalid detach keys ({text!r:.60}) provided") from None


async def resize(request: web.Request) -> web.Response:
    """POST /containers/{id}/resize."""
    shared, container = context.of(request), await context.of(request).find(request)
    rows, columns = router.number(request, "h", 0) or 0, router.number(request, "w", 0) or 0
    if not container.up:
        raise Conflict(f"cannot resize a stopped container: {container.id}: container is not running")

    def tell() -> None:
        with Attachment.connect(container.runtime.sockets, output=False) as attached:
            attached.resize(rows, columns)

    await shared.call(tell)
    return web.Response()


ROUTES: list[router.Route] = [
    ("POST", "/containers/{id}/attach", attach),
    ("POST", "/containers/{id}/resize", resize),
]
