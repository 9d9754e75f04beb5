"""Alarms for a loop around a selector: what to do at a certain time, if it is not called off before.

    alarms.set("probe", 30.0, probe)        in 30 seconds; setting it again moves it
    selector.select(alarms.remaining())     None when none is set: wait for as long as it takes
    alarms.ring()                           call those whose time has come
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Alarms:
    """A few of them, by name. Seconds of CLOCK_MONOTONIC: nobody who sets the date makes one late. See time(7)."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}

    def set(self, name: str, seconds: float, function: Callable[[], None]) -> None:
        """Have `function` called in so many seconds."""
        self._due[name] = (time.monotonic() + seconds, function)

    def cancel(self, name: str) -> None:
        """Call one off; harmless when it is not set."""
        self._due.pop(name, None)

    def remaining(self) -> float | None:
        """Return the seconds until the next one, 0 if it is late, None if there is none."""
        if not self._due:
            return None
        return max(0.0, min(due for due, _ in self._due.values()) - time.monotonic())

    def ring(self) -> None:
        """Call each whose time has come, once."""
        now = time.monotonic()
        for name in [name for name, (due, _) in self._due.items() if due <= now]:
            if name in self._due:  # the one before may have called it off
                self._due.pop(name)[1]()
