"""Points in time, as people type them after --since and --until.

    parse("10m")                    ten minutes ago; Go's durations: 1h30m, 1.5s
    parse("2026-11-24T05:22:13Z")   RFC 3339; without a zone, this machine's; down to "2026-11-24"
    parse("1795000000.5")           seconds since the epoch
"""

from __future__ import annotations

import datetime
import re
import time

from labrt.errors import InvalidInput
from labrt.image.durations import nanoseconds

LATEST = 253_402_300_800  # the year 10000: later times cannot be written


def parse(text: str, *, now: float | None = None) -> float:
    """Return seconds since the epoch. `now` None is now. Raises InvalidInput."""
    text = text.strip()
    try:
        moment = _parse(text, time.time() if now is None else now)
        if not abs(moment) < LATEST:
            raise ValueError
        return moment
    except ValueError:
        remedy = "10m, 1h30m, 2026-11-24T05:22:13, or seconds since 1970"
        raise InvalidInput(f"{text!r:.80} is no point in time", remedy=remedy) from None


def _parse(text: str, now: float) -> float:
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    passed = nanoseconds(text)
    if passed is not None:
        return now - passed / 1e9
    # Docker writes nanoseconds, Python reads microseconds.
    match = re.fullmatch(r"(.*?\d)(?:(\.\d{1,6})\d*)?([Zz]|[+-]\d\d:\d\d)?", text)
    if match is None:
        raise ValueError
    fraction = f"{match[2]:0<7}" if match[2] else ""
    return datetime.datetime.fromisoformat(f"{match[1]}{fraction}{match[3] or ''}").timestamp()
