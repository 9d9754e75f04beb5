"""TLS with certificates on both sides, in front of the same server that serves the unix socket.

    client ══TLS══► Relay ──socketpair──► aiohttp

A client of `docker run -i` ends its input and goes on reading: it closes its half of the TLS connection. asyncio takes
that for the end of both, so the bytes are relayed here, each direction with an end of its own. See RFC 8446, 6.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

from labrt.engine.api import errors
from labrt.engine.api.pipes import Pipe
from labrt.errors import InvalidInput

if TYPE_CHECKING:
    from labrt.engine.api.context import Context
    from labrt.engine.api.sockets import Settings

_GREETING = 15  # seconds for a handshake


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


def listen(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, settings: Settings, server: Any, shared: Context
) -> None:
    """Accept clients for as long as the loop runs."""
    holder = {"context": make_context(settings)}
    shared.reloads.append(lambda: holder.update(context=make_context(settings)))
    sock.setblocking(False)

    async def accept() -> None:
        while True:
            client, _ = await loop.sock_accept(sock)
            shared.keep(_serve(client, holder["context"], server))

    shared.keep(accept())


async def _serve(client: socket.socket, made: ssl.SSLContext, server: Any) -> None:
    ours, theirs = socket.socketpair()
    with contextlib.closing(Pipe(client.detach())) as outer, contextlib.closing(Pipe(ours.detach())) as inner:
        relay = Relay(outer, inner, made)
        try:
            await asyncio.wait_for(relay.shake_hands(), _GREETING)
        except (OSError, TimeoutError, EOFError) as error:
            errors.log.info("no TLS with a client: %s", error)
            theirs.close()
            return
        theirs.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(server, theirs)
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
        with contextlib.suppress(OSError):
            while True:
                try:
                    data = self._tls.read(1 << 16)
                except ssl.SSLWantReadError:
                    await self._flush()
                    more = await self.outer.read()
                    if not more:
                        break
                    self._came.write(more)
                    continue
                if not data:
                    break
                await self.inner.write(data)
        _end(self.inner)

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


def _end(pipe: Pipe) -> None:
    """Close our half of a socket."""
    sock = socket.socket(fileno=pipe.fd)
    try:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
    finally:
        sock.detach()
