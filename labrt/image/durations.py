"""Durations as Go writes them, and so all of docker's world: "30s", "1h30m", "1.5ms".

    nanoseconds("1m30s")        90_000_000_000; None for what is no duration
"""

from __future__ import annotations

import re

UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"


def nanoseconds(text: str) -> int | None:
    """Read one; None if it is none, as each number without a unit but 0."""
    if text == "0":
        return 0
    if not re.fullmatch(f"(?:{_PART})+", text):
        return None
    return round(sum(float(number) * UNITS[unit] for number, unit in re.findall(_PART, text)))
