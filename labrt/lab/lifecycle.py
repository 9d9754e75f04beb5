"""The life of one container as a state machine, drawn from what it really did.

    journey = lifecycle.Journey()
    journey("create", lambda: container.prepare(), lambda: container.status)
    journey                                     the states, the way through them, and the time of each step

States and operations are those of the OCI runtime-spec, runtime.md, with `paused`, which engines add. Notebook 17.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from labrt.lab import show
from labrt.lab.live import Live
from labrt.lab.show import COLOURS, FAINT, TEXT, Picture, Shown

# Where each state stands; `gone` is before create and after delete.
_PLACES = {
    "gone": (90.0, 150.0), "created": (250.0, 60.0), "running": (450.0, 60.0), "paused": (650.0, 60.0),
    "stopped": (450.0, 210.0),
}  # fmt: skip
_WAYS = (
    ("gone", "created", "create"), ("created", "running", "start"), ("running", "paused", "pause"),
    ("paused", "running", "unpause"), ("running", "stopped", "kill, or its own end"), ("stopped", "gone", "delete"),
)  # fmt: skip
_SAME = {"exited": "stopped", "dead": "stopped", "removed": "gone", "removing": "gone"}  # Docker's words


class Passage(NamedTuple):
    """One operation: from which state to which, and how long it took."""

    operation: str
    before: str
    after: str
    milliseconds: float


class Journey(Shown):
    """What was done to one container, step by step."""

    def __init__(self, *, live: bool = True) -> None:
        self.passages: list[Passage] = []
        self._draw = Live() if live else None

    @property
    def state(self) -> str:
        """Where it is now."""
        return self.passages[-1].after if self.passages else "gone"

    def __call__(self, operation: str, work: Callable[[], object], status: Callable[[], str]) -> object:
        """Do it, look where that has led, and draw. Returns what `work` returned."""
        before, begin = self.state, time.perf_counter()
        answer = work()
        took = (time.perf_counter() - begin) * 1000
        after = status()
        self.passages.append(Passage(operation, before, _SAME.get(after, after), took))
        if self._draw:
            self._draw(self.picture())
        return answer

    def __repr__(self) -> str:
        return f"<Journey: {' → '.join(['gone', *(one.after for one in self.passages)])}>"

    def picture(self) -> Picture:
        """Draw it."""
        return machine(self.passages)


def machine(passages: list[Passage], *, title: str = "The states of a container") -> Picture:
    """Draw all states; those that were passed with a thick frame, the one it is in now filled."""
    now = passages[-1].after if passages else "gone"
    been = {"gone", *(one.after for one in passages)}
    went = {(one.before, one.after) for one in passages}
    parts = [show.text_at(8, 16, title, bold=True)]
    for start, end, word in _WAYS:
        parts += _way(start, end, word, went=(start, end) in went)
    for state, (x, y) in _PLACES.items():
        ink = COLOURS["brand"] if state in been else FAINT
        fill = f"fill:{COLOURS['brand']};fill-opacity:0.25" if state == now else "fill:none"
        look = f"{fill};stroke:{ink};stroke-width:{3 if state in been else 1}"
        parts.append(f'<rect x="{x - 52}" y="{y - 19}" width="104" height="38" rx="19" style="{look}"/>')
        parts.append(show.text_at(x - 3.6 * len(state), y + 5, state, bold=state == now))
    rows = [("operation", "from", "to", "time")]
    rows += [(one.operation, one.before, one.after, f"{one.milliseconds:.1f} ms") for one in passages]
    text = show.said(title, rows)
    return Picture(show.svg(760, 246, title, text, parts), text)


def _way(start: str, end: str, word: str, *, went: bool) -> list[str]:
    (x, y), (to_x, to_y) = _PLACES[start], _PLACES[end]
    if y == to_y:  # side by side: there above, back below
        ahead = to_x > x
        shift = -8 if ahead else 8
        x, to_x = (x + 52, to_x - 52) if ahead else (x - 52, to_x + 52)
        y, to_y = y + shift, to_y + shift
        at = ((x + to_x) / 2 - 3.5 * len(word), y + (-6 if ahead else 18))
    elif x == to_x:
        y, to_y = y + 19, to_y - 19
        at = (x + 10, (y + to_y) / 2 + 4)
    else:
        ahead = to_x > x
        x, to_x = (x + 30, to_x - 52) if ahead else (x - 52, to_x + 30)
        y, to_y = (y - 19, to_y + 8) if ahead else (y - 8, to_y + 19)
        at = ((x + to_x) / 2 - 3.5 * len(word) + (-34 if ahead else -10), (y + to_y) / 2 + (-4 if ahead else 22))
    ink, width = (COLOURS["brand"], 2.5) if went else (TEXT, 0.8)
    line = f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" style="stroke:{ink};stroke-width:{width}"/>'
    dot = f'<circle cx="{to_x}" cy="{to_y}" r="{4 if went else 2.5}" style="fill:{ink}"/>'
    return [line, dot, show.text_at(*at, word, bold=went)]
