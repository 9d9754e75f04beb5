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

_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse(text: str, *, now: float | None = None) -> float:
    """Return seconds since the epoch. `now` None is now. Raises InvalidInput."""
    text = text.strip()
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    if _DURATION.fullmatch(text):
        parts = re.findall(r"([\d.]+)([a-zµ]+)", text)
        return (time.time() if now is None else now) - sum(float(number) * _UNITS[unit] for number, unit in parts)
    # Docker writes nanoseconds, Python reads microseconds.
    match = re.fullmatch(r"(.*?\d)(?:(\.\d{1,6})\d*)?([Zz]|[+-]\d\d:\d\d)?", text)
    try:
        if match is None:
            raise ValueError
        fraction = f"{match[2]:0<7}" if match[2] else ""
        return datetime.datetime.fromisoformat(f"{match[1]}{fraction}{match[3] or ''}").timestamp()
    except ValueError:
        remedy = "10m, 1h30m, 2026-11-24T05:22:13, or seconds since 1970"
        raise InvalidInput(f"{text!r} is no point in time", remedy=remedy) from None
