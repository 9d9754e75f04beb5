"""A grid of words: what was tried against what, each cell a verdict.

    grid.draw(["disk"], ["nothing", "filter"], {("disk", "nothing"): "OUT", ("disk", "filter"): "held"})

A cell that begins with "OUT" or "miss" is framed as bad, "held" or "hit" as good; where there is none, nothing was
tried. The word says it, the colour only repeats it. Notebook 18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, TEXT, Picture

WIDTH = 760
ROW = 40
_LEFT = 120
_BAD, _GOOD = ("OUT", "miss"), ("held", "hit")


def draw(
    rows: Sequence[str], columns: Sequence[str], cells: Mapping[tuple[str, str], str], *, title: str = "What was tried"
) -> Picture:
    """Draw the cells, by (row, column). Long column names break at their blanks."""
    across = (WIDTH - _LEFT) / max(len(columns), 1)
    parts = [show.text_at(8, 18, title, bold=True)]
    for number, name in enumerate(columns):
        for line, word in enumerate(name.split(" ")):
            parts.append(_centred(_LEFT + across * (number + 0.5), 44 + 17 * line, word))
    top = 56 + 17 * max((name.count(" ") for name in columns), default=0)
    for line, row in enumerate(rows):
        y = top + ROW * line
        parts.append(show.text_at(8, y + 24, row, bold=True))
        for number, column in enumerate(columns):
            parts += _cell(_LEFT + across * number, y, across, cells.get((row, column), ""))
    said = [("", *columns), *((row, *(cells.get((row, column), "·") for column in columns)) for row in rows)]
    text = show.said(title, said)
    return Picture(show.svg(WIDTH, top + ROW * len(rows) + 6, title, text, parts), text)


def _cell(x: float, y: float, wide: float, word: str) -> list[str]:
    bad, good = word.startswith(_BAD), word.startswith(_GOOD)
    ink = COLOURS["fail"] if bad else COLOURS["ok"] if good else FAINT
    fill = f"fill:{ink};fill-opacity:0.22" if bad or good else "fill:none"
    # The bad ones have a dashed frame: seen without colours, too.
    dash = ";stroke-dasharray:6 3" if bad else ""
    style = f"{fill};stroke:{ink};stroke-width:{2 if bad or good else 1}{dash}"
    box = f'<rect x="{x + 3:.1f}" y="{y + 3:.1f}" width="{wide - 6:.1f}" height="{ROW - 6}" rx="4" style="{style}"/>'
    return [box, _centred(x + wide / 2, y + 24, word or "·", bold=bad)]


def _centred(x: float, y: float, word: str, *, bold: bool = False) -> str:
    style = f"fill:{TEXT};{show.FONT};text-anchor:middle{';font-weight:bold' if bold else ''}"
    return f'<text x="{x:.1f}" y="{y:.1f}" style="{style}">{show.escape(word)}</text>'
