"""A container in one line, in docker's words: what `labrt ps` and GET /containers/json show.

    command(record)          sh -c 'sleep 60'
    status(container)        Up 3 seconds (healthy)
    ago(moment)              2 minutes ago
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labrt.engine.container import Container

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


def command(record: dict[str, Any]) -> str:
    """Write what it was told to run, words with spaces in quotes."""
    return " ".join(f"'{word}'" if " " in word else word for word in record["command"])


def status(container: Container) -> str:
    """Say it as docker does: Created, Up 3 seconds (healthy), Exited (0) 2 minutes ago."""
    state, word = container.state, container.status
    if word in ("running", "paused"):
        said = f"Up {duration(time.time() - state.started)}"
        return f"{said} (Paused)" if word == "paused" else f"{said}{_health(container)}"
    if word in ("exited", "restarting"):
        return f"{word.capitalize()} ({state.exit_code}) {ago(state.finished)}"
    return word.capitalize()


def _health(container: Container) -> str:
    health = container.health
    if health is None:
        return ""
    return " (health: starting)" if health["Status"] == "starting" else f" ({health['Status']})"


def duration(seconds: float) -> str:
    """Say how long, in one unit: 3 seconds, About a minute, 5 weeks."""
    for least, unit, text in _UNITS:
        if seconds >= least:
            return text.format(int(seconds / unit + (0.5 if unit == _HOUR else 0)))  # hours are rounded
    return "Less than a second"


def ago(moment: float) -> str:
    """Say how long ago: `moment` is in seconds since the epoch."""
    return f"{duration(time.time() - moment)} ago"
