r"""Answers that are no single JSON document.

    hijack(request)          the connection itself, after 101 UPGRADED: both sides write, and each ends when it likes
    Lines(request)           JSON objects, each flushed at once, ended by \r\n: progress, events, stats
    Body(request)            a request's body as a file that a thread reads, for archives that come in

Without a terminal, output is numbered: the header is that of labrt's own attach socket (runtime/wire.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web

from labrt.engine.api import context, errors
from labrt.errors import LabrtError

RAW, MULTIPLEXED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"
T = TypeVar("T")
WAITING = 256  # objects of a stream that a client has not read yet
_LOOK = 1  # seconds between two looks whether a silent client is still there


class Taken(web.Response):
    """What a handler returns whose connection is not HTTP any more: nothing is sent."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send no head."""
        self._eof_sent = True

    async def write_eof(self, data: bytes = b"") -> None:
        """Send no end."""


class Hijacked:
    """A connection in both directions. `read` gives b"" when the client's side has ended; ours may go on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> bytes:
        """Return what has come."""
        try:
            return await self.reader.read(1 << 16)
        except ConnectionError:
            return b""

    async def wait_gone(self) -> None:
        """Return when the client is gone altogether: it has closed both directions, where `read` hears of one only."""
        sock = self.writer.get_extra_info("socket")
        poll = select.poll()
        poll.register(sock.fileno(), 0)
        while not self.writer.is_closing() and not poll.poll(0):
            await asyncio.sleep(_LOOK)

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something for as long as the client is there. Raises ConnectionResetError when it is not any more."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self.wait_gone())
        try:
            await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ConnectionResetError
            return task.result()
        finally:
            task.cancel()
            gone.cancel()

    async def write(self, data: bytes) -> None:
        """Send; waits while the client does not read. Raises ConnectionError when it is gone."""
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()


class _Tail:
    """What aiohttp gives the bytes to that came after the request's head."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        return None


@contextlib.asynccontextmanager
async def hijack(request: web.Request, *, tty: bool) -> AsyncIterator[Hijacked]:
    """Take a request's connection over. At the end of the block what was written is sent, and it is closed."""
    transport, before = request.transport, request.protocol
    if transport is None:
        raise ConnectionResetError
    transport.pause_reading()
    loop, tail = asyncio.get_running_loop(), _Tail()
    before.set_parser(tail)  # type: ignore[arg-type]
    reader = asyncio.StreamReader(limit=1 << 16, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    protocol._over_ssl = False  # type: ignore[attr-defined]  # tls.py keeps each half open on its own
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if tail.data:
        reader.feed_data(tail.data)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    transport.write(_head(request, tty))
    transport.resume_reading()
    try:
        yield Hijacked(reader, writer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 5)
        before.connection_lost(None)


def _head(request: web.Request, tty: bool) -> bytes:
    """Return the answer's head. Since API 1.42 the type says whether streams are numbered."""
    kind = MULTIPLEXED if not tty and request["version"] >= (1, 42) else RAW
    if request.headers.get("Upgrade"):
        lines = ["HTTP/1.1 101 UPGRADED", f"Content-Type: {kind}", "Connection: Upgrade", "Upgrade: tcp"]
    else:
        lines = ["HTTP/1.1 200 OK", f"Content-Type: {kind}"]
    more = (f"{name}: {value}" for name, value in request["headers"].items())
    return "\r\n".join([*lines, *more, "", ""]).encode()


async def begin(request: web.Request, kind: str = "application/json", status: int = 200) -> web.StreamResponse:
    """Begin an answer whose body comes piece by piece, and send its head now."""
    response = web.StreamResponse(status=status, headers={"Content-Type": kind})
    response.enable_chunked_encoding()
    await response.prepare(request)
    # aiohttp holds the head back until there is a body; but who waits for this head starts a container then.
    writer = response._payload_writer
    if writer is not None and hasattr(writer, "send_headers"):
        writer.send_headers()
    return response


def is_gone(request: web.Request) -> bool:
    """Whether the client has hung up."""
    return request.transport is None or request.transport.is_closing()


async def unless_gone(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """Await something for as long as the client is there. Raises ConnectionResetError when it is not any more."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_LOOK)
            if not task.done() and is_gone(request):
                raise ConnectionResetError
        return task.result()
    finally:
        task.cancel()


class Lines:
    r"""JSON objects in one response. Its head is sent with the first: until then an error has a status of its own."""

    def __init__(self, request: web.Request) -> None:
        self.request = request
        self.response: web.StreamResponse | None = None

    async def send(self, value: Any) -> None:
        """Send one object."""
        if self.response is None:
            self.response = await begin(self.request)
        await self.response.write(errors.encoded(value) + b"\r\n")

    async def end(self) -> web.StreamResponse:
        """End it."""
        if self.response is None:
            self.response = await begin(self.request)
        await self.response.write_eof()
        return self.response


async def told(request: web.Request, work: Callable[[Callable[[Any], None]], Any]) -> web.StreamResponse:
    """Answer with what `work` says on its way, which is done in a thread: it gets a function to say an object with.

    What fails before anything was said has a status of its own, later it is the stream's last object. When the client
    goes away, saying something raises ConnectionAbortedError in the thread: so the work ends, too. One that does not
    read holds nothing up: when WAITING objects wait for it, it hears of no more progress until it has caught up.
    """
    loop, lines = asyncio.get_running_loop(), Lines(request)
    queue: asyncio.Queue[Any] = asyncio.Queue()
    gone = False

    def say(value: Any) -> None:
        if gone:
            raise ConnectionAbortedError("the client has gone")
        if queue.qsize() > WAITING and value.get("progressDetail"):
            return
        loop.call_soon_threadsafe(queue.put_nowait, value)

    def run() -> None:
        try:
            work(say)
        finally:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    task = asyncio.ensure_future(context.of(request).call_slowly(run))
    try:
        while (value := await queue.get()) is not None:
            await lines.send(value)
        try:
            await task
        except LabrtError as error:
            if lines.response is None:
                raise
            await lines.send(errors.in_stream(error))
        return await lines.end()
    finally:
        gone = True
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


class Body:
    """A request's body, as a pipe that another thread or process reads: with back pressure, and never whole in memory.

    async with Body(request) as path: …     path is /proc/PID/fd/N, which any process of ours can open
    """

    def __init__(self, request: web.Request) -> None:
        self.request = request

    async def __aenter__(self) -> str:
        self._read, write = os.pipe2(os.O_CLOEXEC)
        self._task = asyncio.ensure_future(self._pump(write))
        return f"/proc/{os.getpid()}/fd/{self._read}"

    async def _pump(self, fd: int) -> None:
        from labrt.engine.api.pipes import Pipe

        with contextlib.closing(Pipe(fd)) as pipe:
            with contextlib.suppress(BrokenPipeError):
                async for chunk in self.request.content.iter_any():
                    await pipe.write(chunk)
            async for _ in self.request.content.iter_any():  # nobody wants the rest
                continue

    async def __aexit__(self, *exc: object) -> None:
        os.close(self._read)
        if exc[0] is not None:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, BrokenPipeError):
            await self._task


async def produced(
    request: web.Request, response_headers: dict[str, str], kind: str, work: Callable[[str], Any]
) -> web.StreamResponse:
    """Answer with the bytes that `work(path)`, a coroutine's function, writes into the pipe at `path`.

    What fails before the first byte has a status of its own; later the connection is cut, so that nobody takes what has
    come for the whole.
    """
    from labrt.engine.api.pipes import Pipe

    read, write = os.pipe2(os.O_CLOEXEC)
    task = asyncio.ensure_future(work(f"/proc/{os.getpid()}/fd/{write}"))
    task.add_done_callback(lambda _: os.close(write))
    response: web.StreamResponse | None = None
    with contextlib.closing(Pipe(read)) as pipe:
        try:
            while data := await pipe.read():
                if response is None:
                    request["headers"].update(response_headers)
                    response = await begin(request, kind)
                await response.write(data)
            await task
        except LabrtError as error:
            if response is None:
                raise
            errors.log.error("a stream broke off: %s", error)
            if request.transport:
                request.transport.abort()
            raise ConnectionResetError from None
    if response is None:
        request["headers"].update(response_headers)
        response = await begin(request, kind)
    await response.write_eof()
    return response
