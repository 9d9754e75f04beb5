"""HTTP/1.1 as it comes from strangers: aiohttp's own protocol, with bounds, and with Docker's answers for what is none.

    protocol.Protocol(server, done)                one connection's; `done()` is called at its end
    protocol.check_head(request)                   the bounds that are the whole head's

A line of a head has up to LINE bytes, a head HEADERS fields and HEAD bytes: `docker build` sends whatever the client's
config.json knows of registries in one field. What is longer is answered with 431, what is no HTTP with 400, and both
with {"message": …}. See RFC 9112; RFC 6585, 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import http_exceptions, web
from aiohttp.web_protocol import RequestHandler

from labrt.engine.api import errors

if TYPE_CHECKING:
    from aiohttp.web_server import Server

LINE, HEADERS, HEAD = 32 << 10, 128, 128 << 10
TOO_LONG = f"the request's head is too long: at most {LINE} bytes a line, {HEADERS} fields and {HEAD} bytes"


def check_head(request: web.Request) -> web.Response | None:
    """Return the answer to a head that is too long as a whole; None: it is not."""
    size = len(request.path_qs) + sum(len(name) + len(value) for name, value in request.raw_headers)
    return errors.reply(431, TOO_LONG) if size > HEAD or len(request.raw_headers) > HEADERS else None


class Protocol(RequestHandler):
    """One connection, whose requests `server` gets."""

    __slots__ = ("_done",)

    def __init__(self, server: Server, done: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, access_log=None, max_line_size=LINE, max_field_size=LINE)  # type: ignore[arg-type]
        self._done: Callable[[], None] | None = done

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever wants to know."""
        super().connection_lost(exc)
        if self._done is not None:
            done, self._done = self._done, None
            done()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what never came to a handler, and hang up. A stranger's bytes are no reason for a traceback."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        response = _answer(status, exc, message or "")
        response.force_close()
        return response


def _answer(status: int, error: Any, message: str) -> web.Response:
    if status >= 500:
        errors.log.error("a mistake in labrt", exc_info=error)
        return errors.reply(status, f"a mistake in labrt: {type(error).__name__}")
    if isinstance(error, http_exceptions.LineTooLong) or "Too many headers" in message:
        return errors.reply(431, TOO_LONG)
    why = message.partition("\n")[0].strip(" :")
    errors.log.debug("no HTTP: %r", why)
    return errors.reply(status, f"malformed HTTP request: {why}")
