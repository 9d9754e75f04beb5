"""GET /events: what has happened since, and what happens until the client has enough. See engine/events.py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

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
    with contextlib.closing(events.Follower(shared.where.events, past=since is not None)) as follower:
        lines.response = await streams.begin(request)
        come = await shared.call(lambda: [*follower.read()])  # of the past there may be much
        while True:
            for event in come:
                moment = event["timeNano"] / 1e9
                fits = (since is None or moment >= since) and (until is None or moment <= until)
                if fits and events.matches(event, wanted):
                    await lines.send(_shape(event))
            if (until is not None and time.time() > until) or streams.is_gone(request):
                break
            await asyncio.sleep(_PAUSE)
            come = [*follower.read()]
    return await lines.end()


def _moment(request: web.Request, name: str) -> float | None:
    text = request.query.get(name, "")
    return moments.parse(text) if text else None


def _shape(event: events.Event) -> dict[str, Any]:
    """Add what older clients read: status, id and from."""
    if event["Type"] not in ("container", "image"):
        return event
    older = {"status": event["Action"], "id": event["Actor"]["ID"]}
    image = event["Actor"]["Attributes"].get("image")
    return older | ({"from": image} if image else {}) | event


ROUTES: list[router.Route] = [("GET", "/events", listen)]
