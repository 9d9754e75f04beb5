"""Tables and times, as docker prints them: plain text that awk can read and people too."""

from __future__ import annotations

import time
from collections.abc import Sequence

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# From this many seconds on, count in that unit.
_UNITS = (
    (2 * 365 * _DAY, 365 * _DAY, "{} years"),
    (60 * _DAY, 30 * _DAY, "{} months"),
    (14 * _DAY, 7 * _DAY, "{} weeks"),
    (48 * _HOUR, _DAY, "{} days"),
    (1.5 * _HOUR, _HOUR, "{} hours"),
    (_HOUR, _HOUR, "About an hour"),
    (2 * _MINUTE, _MINUTE, "{} minutes"),
    (_MINUTE, _MINUTE, "About a minute"),
    (2, 1, "{} seconds"),
    (1, 1, "1 second"),
)
GAP, NARROWEST = 3, 10


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out columns, three spaces apart. The last one has no spaces after it."""
    lines = [headers, *rows]
    widths = [max(NARROWEST, *(len(line[column]) + GAP for line in lines)) for column in range(len(headers) - 1)]
    padded = ([*map(str.ljust, line[:-1], widths), line[-1]] for line in lines)
    return "\n".join("".join(cells) for cells in padded)


def duration(seconds: float) -> str:
    """Say how long, in one unit: 3 seconds, About a minute, 5 weeks."""
    for least, unit, text in _UNITS:
        if seconds >= least:
            return text.format(int(seconds / unit + (0.5 if unit == _HOUR else 0)))  # hours are rounded
    return "Less than a second"


def ago(moment: float) -> str:
    """Say how long ago: `moment` is in seconds since the epoch."""
    return f"{duration(time.time() - moment)} ago"


def shortened(text: str, longest: int) -> str:
    """Cut a text to at most `longest` characters; the last one then says that there was more."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
