"""TLS with certificates on both sides, in front of the same server that serves the unix socket.

    client ══TLS══► Relay ──socketpair──► aiohttp

A client of `docker run -i` ends its input and goes on reading: it closes its half of the TLS connection. asyncio takes
that for the end of both, so the bytes are relayed here, each direction with an end of its own. See RFC 8446, 6.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from labrt.engine.api import errors
from labrt.engine.api.door import Welcome
from labrt.engine.api.pipes import Pipe
from labrt.engine.api.protocol import Protocol
from labrt.errors import InvalidInput

if TYPE_CHECKING:
    from aiohttp.web_server import Server

    from labrt.engine.api.context import Context
    from labrt.engine.api.sockets import Settings

_GREETING = 15  # seconds for a handshake
_LOOK = 1  # seconds between two looks whether a client that says nothing more is still there


def make_context(settings: Settings) -> ssl.SSLContext:
    """Make what a server knows: who it is, and whose clients it serves. Raises InvalidInput."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_mode = ssl.CERT_REQUIRED
    try:
        made.load_cert_chain(settings.cert, settings.key)
        made.load_verify_locations(settings.cacert)
    except OSError as error:  # also what ssl raises
        raise InvalidInput(f"TLS: {error}", remedy="see --tlscacert, --tlscert and --tlskey") from None
    return made


def welcoming(settings: Settings, server: Server, shared: Context) -> Welcome:
    """Return what serves one client, as a door wants it."""
    holder = {"context": make_context(settings)}
    shared.reloads.append(lambda: holder.update(context=make_context(settings)))

    def welcome(client: socket.socket, done: Callable[[], None]) -> None:
        shared.keep(_serve(client, holder["context"], server, done))

    return welcome


def _watch(client: socket.socket) -> None:
    """Have the kernel ask whether a silent client is still there: tcp(7). One that has vanished answers nothing."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        client.setsockopt(socket.IPPROTO_TCP, option, value)


async def _serve(client: socket.socket, made: ssl.SSLContext, server: Server, done: Callable[[], None]) -> None:
    try:
        _watch(client)
        ours, theirs = socket.socketpair()
        with contextlib.closing(Pipe(client.detach())) as outer, contextlib.closing(Pipe(ours.detach())) as inner:
            await _relay(Relay(outer, inner, made), theirs, server)
    finally:
        client.close()
        done()


async def _relay(relay: Relay, theirs: socket.socket, server: Server) -> None:
    try:
        await asyncio.wait_for(relay.shake_hands(), _GREETING)
    except (OSError, TimeoutError, EOFError) as error:
        errors.log.info("no TLS with a client: %s", error)
        theirs.close()
        return
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: Protocol(server, lambda: None), theirs)
    await relay.run()


class Relay:
    """One connection: `outer` speaks TLS, `inner` does not."""

    def __init__(self, outer: Pipe, inner: Pipe, made: ssl.SSLContext) -> None:
        self.outer, self.inner = outer, inner
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = made.wrap_bio(self._came, self._goes, server_side=True)
        self._sending = asyncio.Lock()

    async def shake_hands(self) -> None:
        """Know each other. Raises ssl.SSLError, EOFError."""
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self.outer.read()
                if not data:
                    raise EOFError("it hung up") from None
                self._came.write(data)
            finally:
                await self._flush()

    async def run(self) -> None:
        """Move bytes until the server has said all; it does so, too, when the client has gone."""
        into = asyncio.ensure_future(self._into())
        try:
            await self._out()
        finally:
            into.cancel()
            await asyncio.gather(into, return_exceptions=True)

    async def _into(self) -> None:
        """Pass on what a client says, its end of input, and that it has gone altogether, which is more than that."""
        try:
            while data := await self._hear():
                await self.inner.write(data)
        except BrokenPipeError:  # the server wants no more
            await self._wait_gone()
        except OSError:  # it has broken off
            pass
        else:
            _end(self.inner, socket.SHUT_WR)
            await self._wait_gone()
        _end(self.inner, socket.SHUT_RDWR)

    async def _hear(self) -> bytes:
        """Return what the client says, in the clear; b"" is the end."""
        while True:
            try:
                return self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                await self._flush()
                more = await self.outer.read()
                if not more:
                    return b""
                self._came.write(more)

    async def _wait_gone(self) -> None:
        poll = select.poll()
        poll.register(self.outer.fd, 0)
        while not poll.poll(0):
            await asyncio.sleep(_LOOK)

    async def _out(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self.inner.read():
                self._tls.write(data)
                await self._flush()
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._goes.read():
                await self.outer.write(data)


def _end(pipe: Pipe, how: int) -> None:
    """Close our half of a socket, or both."""
    sock = socket.socket(fileno=pipe.fd)
    try:
        with contextlib.suppress(OSError):
            sock.shutdown(how)
    finally:
        sock.detach()
