"""Signals by name and number, as `kill` and `--stop-signal` take them."""

from __future__ import annotations

import signal

from labrt.errors import InvalidInput
from labrt.linux import signal_names


def parse_signal(sig: int | str) -> int:
    """Turn 9, "9", "KILL", "SIGKILL" or "RTMIN+3" into a number."""
    text = str(int(sig)) if isinstance(sig, int) else sig.strip()
    if text.isdecimal() and int(text) in map(int, signal.valid_signals()):
        return int(text)
    number = signal_names.number(text)
    if number is None:
        raise InvalidInput(f"no signal is called {sig!r}", remedy="KILL, TERM, … or a number; see `kill -l`")
    return number
