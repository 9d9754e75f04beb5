"""Signals by name, as kill(1) takes them: TERM, SIGTERM, sigterm, RTMIN+3. See signal(7)."""

from __future__ import annotations

import signal


def number(name: str) -> int | None:
    """Return the number of a signal; None if none is called so. Real-time ones are counted from RTMIN or RTMAX."""
    text = name.upper().removeprefix("SIG")
    base, sign, offset = text.partition("+") if "+" in text else text.partition("-")
    known = getattr(signal, f"SIG{base}", None)
    if not isinstance(known, signal.Signals) or (sign and not _counts(base, offset)):
        return None
    found = int(known) + int(f"{sign}{offset or 0}")
    return found if found in signal.valid_signals() else None


def _counts(base: str, offset: str) -> bool:
    return base in ("RTMIN", "RTMAX") and offset.isascii() and offset.isdecimal() and len(offset) < 3
