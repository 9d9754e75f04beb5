"""Tables and times, as docker prints them: plain text that awk can read and people too."""

from __future__ import annotations

import time
from collections.abc import Sequence

# Each unit begins where the one before gets too large to read: below it, count in the one before.
_UNITS = (
    (2 * 365 * 86400, 365 * 86400, "years"),
    (60 * 86400, 30 * 86400, "months"),
    (14 * 86400, 7 * 86400, "weeks"),
    (48 * 3600, 86400, "days"),
    (90 * 60, 3600, "hours"),
    (120, 60, "minutes"),
    (2, 1, "seconds"),
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
    for least, unit, name in _UNITS:
        if seconds >= least:
            # Hours are rounded, as their unit begins at one and a half.
            return f"{int(seconds / unit + (0.5 if name == 'hours' else 0))} {name}"
    if seconds >= 3600:
        return "About an hour"
    if seconds >= 60:
        return "About a minute"
    return "1 second" if seconds >= 1 else "Less than a second"


def ago(moment: float) -> str:
    """Say how long ago: `moment` is in seconds since the epoch."""
    return f"{duration(time.time() - moment)} ago"


def shortened(text: str, longest: int) -> str:
    """Cut a text to at most `longest` characters; the last one then says that there was more."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
