"""GET /events: what has happened since, and what happens until the client has enough. See engine/events.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any, BinaryIO

from aiohttp import web

from labrt.engine import events, moments
from labrt.engine.api import context, router, streams

FILTERS = (*events.FILTERS, "daemon", "config", "node", "plugin", "secret", "service")
_PAUSE = 0.1  # seconds between two looks


async def listen(request: web.Request) -> web.StreamResponse:
    """Send one JSON object for each event. The head comes at once: `docker stats` waits for it."""
    shared, wanted = context.of(request), router.filters(request, FILTERS)
    since, until = _moment(request, "since"), _moment(request, "until")
    lines = streams.Lines(request)
    with contextlib.closing(Follower(shared.where.events)) as follower:
        lines.response = await streams.begin(request)
        if since is not None:
            now = time.time() if until is None else until
            for event in await shared.call(_past, shared, since, now, wanted):
                await lines.send(_shape(event))
        while until is None or time.time() <= until:
            for event in follower.read():
                if (until is None or event["timeNano"] / 1e9 <= until) and events.matches(event, wanted):
                    await lines.send(_shape(event))
            if request.transport is None or request.transport.is_closing():
                break
            await asyncio.sleep(_PAUSE)
    return await lines.end()


def _moment(request: web.Request, name: str) -> float | None:
    text = request.query.get(name, "")
    return moments.parse(text) if text else None


def _past(shared: context.Context, since: float, until: float, wanted: dict[str, list[str]]) -> list[events.Event]:
    return [*events.read(shared.where, since=since, until=until, filters=wanted)]


def _shape(event: events.Event) -> dict[str, Any]:
    """Add what older clients read: status, id and from."""
    if event["Type"] not in ("container", "image"):
        return event
    older = {"status": event["Action"], "id": event["Actor"]["ID"]}
    image = event["Actor"]["Attributes"].get("image")
    return older | ({"from": image} if image else {}) | event


class Follower:
    """Reads what is written to the log of events from now on, also when it goes on in a new file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BinaryIO | None = self._open()
        if self._file:
            self._file.seek(0, os.SEEK_END)

    def _open(self) -> BinaryIO | None:
        with contextlib.suppress(FileNotFoundError):
            return open(self._path, "rb")
        return None

    def read(self) -> list[events.Event]:
        """Return what has come."""
        if self._file is None:
            self._file = self._open()
            return self.read() if self._file else []
        moved = events.is_elsewhere(self._file, self._path)  # asked before reading: complete then
        found = [*events.parse(self._file)]
        if moved:
            self._file.close()
            self._file = self._open()
            found += self.read() if self._file else []
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()


ROUTES: list[router.Route] = [("GET", "/events", listen)]
