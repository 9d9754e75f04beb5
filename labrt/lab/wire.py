"""What goes over the wire between a client and its registries, as a message sequence.

    heard = []
    with Client(on_event=heard.append) as client: …
    wire.sequence(heard)

From the client's own events (registry/events.py): one line to each host, an arrow for each request, with its answer's
status; notes for what happened in between. Notebook 13.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, TEXT, Picture
from labrt.registry.events import Event, Exchange, LayerProgress

_CLIENT, _FIRST, _STEP = 60.0, 620.0, 34.0


def sequence(events: Sequence[Event], *, title: str = "On the wire") -> Picture:
    """Draw events from top to bottom. Progress of single pieces is left out."""
    told = [event for event in events if not isinstance(event, LayerProgress)]
    hosts = list(dict.fromkeys(urlsplit(event.url).netloc for event in told if isinstance(event, Exchange)))
    # The registry itself is asked for the longest paths: it stands farthest from the client.
    places = {host: _FIRST - 150 * number for number, host in enumerate(hosts)}
    height = 74 + _STEP * len(told)
    parts = [show.text_at(8, 16, title, bold=True), *_lifelines(places, height)]
    rows: list[tuple[object, ...]] = []
    for number, event in enumerate(told):
        y = 76 + _STEP * number
        if isinstance(event, Exchange):
            host = urlsplit(event.url).netloc
            what = _what(event)
            parts += _exchange(y, places[host], what, event)
            rows.append((host, what, event.signed or "nobody", event.status))
        else:
            parts += _note(y, event.describe())
            rows.append(("", show.short_ids(event.describe()), "", ""))
    text = show.said(title, [("host", "what", "signed in as", "status"), *rows])
    return Picture(show.svg(760, height, title, text, parts), text)


def _lifelines(places: dict[str, float], height: float) -> list[str]:
    parts = []
    for name, x in {"client": _CLIENT, **places}.items():
        parts.append(show.text_at(x - 3.5 * min(len(name), 22), 42, name[:22], bold=True))
        style = f"stroke:{FAINT};stroke-width:1.5"
        parts.append(f'<line x1="{x}" y1="50" x2="{x}" y2="{height - 8:.0f}" style="{style}"/>')
    return parts


def _what(event: Exchange) -> str:
    """The request in short: digests to 12 digits, and no scheme or host."""
    parts = urlsplit(event.url)
    return show.short_ids(f"{event.method} {parts.path}") + (f"?{parts.query}" if parts.query else "")


def _exchange(y: float, x: float, what: str, event: Exchange) -> list[str]:
    ink = COLOURS["ok"] if event.status < 400 else COLOURS["warn"] if event.status in (401, 429) else COLOURS["fail"]
    line = f'<line x1="{_CLIENT}" y1="{y}" x2="{x - 7}" y2="{y}" style="stroke:{TEXT};stroke-width:1.2"/>'
    tip = f'<polygon points="{x},{y} {x - 8},{y - 4} {x - 8},{y + 4}" style="fill:{TEXT}"/>'
    most = int((x - _CLIENT - 60) / 7)
    label = what if len(what) <= most else what[: most - 1] + "…"
    look = f"fill:none;stroke:{ink};stroke-width:2"
    box = f'<rect x="{x + 8}" y="{y - 11}" width="40" height="20" rx="4" style="{look}"/>'
    signed = f"  ({event.signed})" if event.signed and len(what) + 10 < most else ""
    words = show.text_at(_CLIENT + 10, y - 5, label + signed), show.text_at(x + 15, y + 4, str(event.status))
    return [line, tip, box, *words]


def _note(y: float, said: str) -> list[str]:
    said = re.sub(r"https?://[^/ ]+", "", show.short_ids(said))  # which host that is, the arrows say
    words = said if len(said) <= 86 else said[:85] + "…"
    return [show.text_at(_CLIENT + 10, y, f"· {words}")]
