"""Signals by name and number, as `kill` and `--stop-signal` take them."""

from __future__ import annotations

import signal

from labrt.errors import InvalidInput


def parse_signal(sig: int | str) -> int:
    """Turn 9, "9", "KILL" or "SIGKILL" into a number."""
    text = str(int(sig)) if isinstance(sig, int) else sig.strip().upper()
    if text.isdigit() and int(text) in map(int, signal.valid_signals()):
        return int(text)
    try:
        return int(signal.Signals[text if text.startswith("SIG") else f"SIG{text}"])
    except KeyError:
        raise InvalidInput(f"no signal is called {sig!r}", remedy="KILL, TERM, … or a number; see `kill -l`") from None
