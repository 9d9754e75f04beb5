"""Tables, as docker prints them: plain text that awk can read and people too. Times: engine/summary.py."""

from __future__ import annotations

from collections.abc import Sequence

from labrt.engine.summary import ago, duration

__all__ = ["ago", "duration", "shortened", "table"]

GAP, NARROWEST = 3, 10


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out columns, three spaces apart. The last one has no spaces after it."""
    lines = [headers, *rows]
    widths = [max(NARROWEST, *(len(line[column]) + GAP for line in lines)) for column in range(len(headers) - 1)]
    padded = ([*map(str.ljust, line[:-1], widths), line[-1]] for line in lines)
    return "\n".join("".join(cells) for cells in padded)


def shortened(text: str, longest: int) -> str:
    """Cut a text to at most `longest` characters; the last one then says that there was more."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
