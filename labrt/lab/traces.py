"""What a daemon told of its requests, as a message sequence: client, daemon, monitor, init, kernel.

    traces.sequence(daemon.trace(), requests=["start"])     those whose path has one of these words in it

The events are those of `labrt daemon --trace` (engine/api/tracing.py). What a process asks the same in a row, or of
mounts, is one arrow, which counts it. Notebook 19.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, TEXT, Picture

_LANES = {"client": 36.0, "daemon": 150.0, "monitor": 264.0, "init": 378.0, "kernel": 720.0}
_STEP = 26.0
_MOUNTS = {"mount", "fsopen", "fsconfig", "fsmount", "move_mount", "open_tree", "mount_setattr"}
_NEAR = {"launcher": "monitor", "joiner": "monitor", "program": "init", "worker": "daemon"}
Event = dict[str, Any]


def sequence(events: Sequence[Event], *, requests: Sequence[str] = (), title: str = "") -> Picture:
    """Draw events from top to bottom; `requests` are words of the paths of those to be shown, all if there are none."""
    told = [event for event in chosen(events, requests) if event["kind"] != "handler"]
    rows = _folded(told)
    calls = sum(event["kind"] == "call" for event in told)
    title = title or f"A request's way: {len(told)} events, {calls} of them system calls"
    height = 62 + _STEP * len(rows)
    parts = [show.text_at(8, 16, title, bold=True)]
    for name, x in _LANES.items():
        parts.append(show.text_at(x - 3.4 * len(name), 38, name, bold=True))
        line = f'x1="{x}" y1="46" x2="{x}" y2="{height - 6:.0f}"'
        parts.append(f'<line {line} style="stroke:{FAINT};stroke-width:1.5"/>')
    for number, row in enumerate(rows):
        parts += _drawn(66 + _STEP * number, *row)
    text = show.said(title, [("from", "to", "what"), *rows])
    return Picture(show.svg(760, height, title, text, parts), text)


def chosen(events: Sequence[Event], words: Sequence[str]) -> list[Event]:
    """Return the events of those requests whose first line has one of `words` in it."""
    asked = [event for event in events if event["kind"] == "request"]
    wanted = {event["request"] for event in asked if not words or any(word in event["text"] for word in words)}
    return [event for event in events if event["request"] in wanted]


def _folded(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    """Make of events rows of (from, to, what); one for what a process asks the same, or of mounts, in a row."""
    rows: list[tuple[str, str, str]] = []
    groups = itertools.groupby(events, lambda event: (event["role"], _group(event)) if _group(event) else id(event))
    for _, group in groups:
        same = [_row(event) for event in group]
        if len(same) < 3:
            rows += same
            continue
        counts = Counter(what.partition("(")[0] for _, _, what in same)
        rows.append((*same[0][:2], ", ".join(f"{name} × {times}" for name, times in counts.items())))
    return rows


def _group(event: Event) -> str:
    name = str(event["text"]).partition("(")[0]
    return "" if event["kind"] not in ("call", "write") else "mounts" if name in _MOUNTS else name


def _row(event: Event) -> tuple[str, str, str]:
    kind, text = event["kind"], show.short_ids(event["text"])
    if kind == "request":
        return "client", "daemon", text
    if kind == "answer":
        return "daemon", "client", text
    role = _NEAR.get(event["role"]) or str(event["role"])
    if kind == "order":
        return "daemon", "monitor", text
    if kind == "engine":
        return role, role, text.partition(" of ")[0]
    if kind == "state":
        return role, role, f"the container is {text}"
    result = f" = {event['result']}" if "result" in event else f" = -1 {event['error']}" if "error" in event else ""
    return role, "kernel", text + result


def _drawn(y: float, start: str, end: str, what: str) -> list[str]:
    a, b = _LANES.get(start, _LANES["daemon"]), _LANES.get(end, _LANES["daemon"])
    if a == b:
        dot = f'<circle cx="{a}" cy="{y - 4}" r="4" style="fill:{COLOURS["brand"]}"/>'
        return [dot, show.text_at(a + 10, y, _cut(what, 752 - a - 10))]
    ink = COLOURS["ok"] if end == "kernel" else TEXT
    tip = b - 8 if b > a else b + 8
    line = f'<line x1="{a}" y1="{y + 4}" x2="{tip}" y2="{y + 4}" style="stroke:{ink};stroke-width:1.3"/>'
    head = f'<polygon points="{b},{y + 4} {tip},{y} {tip},{y + 8}" style="fill:{ink}"/>'
    left = min(a, b) + 8
    return [line, head, show.text_at(left, y, _cut(what, (712 if end == "kernel" else 752) - left))]


def _cut(text: str, width: float) -> str:
    """Shorten a text to so many pixels: capitals, of which flags are made, are wide."""
    ends = itertools.accumulate(9.5 if letter.isupper() or letter in "_—" else 7.0 for letter in text)
    fitting = sum(end <= width for end in ends)
    return text if fitting == len(text) else text[: fitting - 1] + "…"
