"""Tables and pictures for notebooks: HTML and SVG as strings, each with the same said in text.

    table(["name", "size"], rows)        an HTML table
    stack([Sheet("base", 1_900_000)])    an image's layers as a pile of sheets, the base layer at the bottom
    timeline([Step("pull", 812.0)])      one bar per step, with its milliseconds
    compare(before, after)               what changed between two looks at the same thing

Each returns a Picture: a notebook draws its `html`, print() and a terminal show its `text`. Whatever comes in is
escaped. Colours are JupyterLab's own variables with a fallback for other pages, readable on light and on dark; the
meaning never hangs on a colour alone. No picture asks a host for anything.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labrt.image.image import human

TEXT = "var(--jp-ui-font-color1, currentColor)"
FAINT = "var(--jp-border-color1, #9e9e9e)"
FONT = "font-family:var(--jp-ui-font-family, system-ui, sans-serif);font-size:13px"
# A colour per status, with mid-tones as fallbacks: they are read on white and on black.
COLOURS = {
    "ok": "var(--jp-success-color1, #388e3c)",
    "warn": "var(--jp-warn-color1, #e67e00)",
    "fail": "var(--jp-error-color1, #d9483b)",
    "brand": "var(--jp-brand-color1, #1e88e5)",
}


@dataclass(frozen=True, repr=False)
class Picture:
    """Something to look at: `html` for a notebook, `text` with the same content for everybody else."""

    html: str
    text: str

    def __repr__(self) -> str:
        first, _, rest = self.text.partition("\n")
        return f"<Picture: {first}{' …' if rest else ''}>"

    def __str__(self) -> str:
        return self.text

    def __rich__(self) -> object:
        from rich.text import Text

        return Text(self.text)

    def _repr_html_(self) -> str:
        return self.html


class Shown:
    """What shows itself by a picture: in a notebook as HTML, by rich and by print as text."""

    def picture(self) -> Picture:
        """Draw it."""
        raise NotImplementedError(type(self).__name__)

    def __str__(self) -> str:
        return self.picture().text

    def __rich__(self) -> object:
        return self.picture().__rich__()

    def _repr_html_(self) -> str:
        return self.picture().html


class Sheet(NamedTuple):
    """One layer in a stack: its label, its size in bytes, and a word on where it comes from."""

    label: str
    size: int
    detail: str = ""


class Step(NamedTuple):
    """One bar of a timeline. `start` is in milliseconds from the beginning; None: where the step before it ended."""

    name: str
    milliseconds: float
    start: float | None = None


def plain(value: object) -> str:
    """Make a value safe for a terminal: one line, and no control characters (a path may hold an escape sequence)."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(" " if c in "\t\n" else "\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def short_ids(text: str) -> str:
    """Leave of each id and digest in a text its first 12 digits, as docker prints them."""
    return re.sub("([0-9a-f]{12})[0-9a-f]{52}", r"\1…", text)


def escape(value: object) -> str:
    """Make a value safe inside HTML and SVG, in text and in attributes."""
    return html.escape(plain(value), quote=True)


def columns(rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out in plain text, each column as wide as its widest cell."""
    cells = [list(map(plain, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> Picture:
    """Draw a table. A cell that reads `ok`, `warn` or `fail` gets that colour beside the word."""
    rows = [list(row) for row in rows]
    head = "".join(f'<th scope="col" style="text-align:left">{escape(name)}</th>' for name in headers)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    title = f'<caption style="text-align:left">{escape(caption)}</caption>' if caption else ""
    markup = f'<table style="color:{TEXT};{FONT}">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return Picture(markup, said(caption, [headers, *rows]))


def rich_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> object:
    """Make the same table for rich. As Text: a path with [brackets] is no markup."""
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    drawn = Table(*headers, title=Text(title))
    for row in rows:
        drawn.add_row(*(Text(plain(cell), style=colours.get(cell, "")) for cell in row))
    return drawn


def _cell(value: object) -> str:
    colour = COLOURS.get(value) if isinstance(value, str) else None
    border = f"border-left:4px solid {colour};" if colour else ""
    return f'<td style="{border}text-align:left;white-space:pre-wrap">{escape(value)}</td>'


def stack(layers: Sequence[Sheet], *, title: str = "Layers") -> Picture:
    """Draw an image's layers, given base layer first, as a pile with the base layer at the bottom.

    A sheet is as thick as its layer is big (with a least thickness: an empty layer is a layer too).
    """
    largest = max((sheet.size for sheet in layers), default=0) or 1
    thick = [4 + 56 * sheet.size / largest for sheet in layers]
    bottom = sum(max(26, t + 14) for t in thick) + 10
    height = bottom + 6
    parts = []
    for number, (sheet, t) in enumerate(zip(layers, thick, strict=True), 1):
        top = bottom - t
        colour = f"fill:{COLOURS['brand']};stroke:{TEXT};stroke-width:0.7"
        parts.append(f'<rect x="8" y="{top:.1f}" width="200" height="{t:.1f}" style="{colour}"/>')
        lid = f"8,{top:.1f} 24,{top - 8:.1f} 224,{top - 8:.1f} 208,{top:.1f}"
        parts.append(f'<polygon points="{lid}" style="{colour};fill-opacity:0.45"/>')
        label = f"{number}  {sheet.label}  {human(sheet.size)}  {sheet.detail}"
        parts.append(text_at(236, top + t / 2 + 4, _short(label)))
        bottom -= max(26, t + 14)
    rows = [(n, s.label, human(s.size), s.detail) for n, s in enumerate(layers, 1)]
    text = said(f"{title}, top layer first" if rows else f"{title}: none", list(reversed(rows)))
    return Picture(svg(760, height, title, text, parts), text)


def timeline(steps: Sequence[Step], *, title: str = "Timeline") -> Picture:
    """Draw one bar per step on a common scale, with its milliseconds beside it."""
    starts, clock = [], 0.0
    for step in steps:
        starts.append(clock if step.start is None else step.start)
        clock = starts[-1] + step.milliseconds
    end = max((s + step.milliseconds for s, step in zip(starts, steps, strict=True)), default=0.0) or 1.0
    parts = []
    for row, (start, step) in enumerate(zip(starts, steps, strict=True)):
        y, x, width = 8 + 24 * row, 260 + 400 * start / end, max(1.0, 400 * step.milliseconds / end)
        parts.append(text_at(8, y + 14, _short(step.name, 38)))
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" style="fill:{COLOURS["brand"]}"/>')
        parts.append(text_at(x + width + 6, y + 14, f"{step.milliseconds:.1f} ms"))
    rows = [(step.name, f"{step.milliseconds:8.1f} ms", "█" * round(30 * step.milliseconds / end)) for step in steps]
    text = said(f"{title}: {end:.1f} ms" if rows else f"{title}: no steps", rows)
    return Picture(svg(760, 24 * len(steps) + 16, title, text, parts), text)


def compare(before: Mapping[str, object], after: Mapping[str, object], *, caption: str = "") -> Picture:
    """Put two looks at the same thing side by side; the last column says in a word what became of each row."""
    rows: list[tuple[object, ...]] = []
    for name in {**before, **after}:
        if name not in before:
            rows.append((name, "", after[name], "new"))
        elif name not in after:
            rows.append((name, before[name], "", "gone"))
        else:
            same = before[name] == after[name]
            rows.append((name, before[name], after[name], "same" if same else "changed"))
    return table(["what", "before", "after", ""], rows, caption=caption)


# For those who draw pictures of their own -----------------------------------------------------------------------------


def said(title: str, rows: Sequence[Sequence[object]]) -> str:
    """Say a picture in text: its title, and rows in columns."""
    return "\n".join(filter(None, [plain(title), columns(rows)]))


def _short(text: str, length: int = 72) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def text_at(x: float, y: float, text: str, *, bold: bool = False) -> str:
    """Write one line into a drawing; `y` is its base line."""
    style = f"fill:{TEXT};{FONT};white-space:pre{';font-weight:bold' if bold else ''}"
    return f'<text x="{x:.1f}" y="{y:.1f}" style="{style}">{escape(text)}</text>'


def svg(width: float, height: float, title: str, text: str, parts: Sequence[str]) -> str:
    """Wrap a drawing: it scales with the page, and a screen reader reads its title and text."""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" style="max-width:100%;height:auto"'
    said = f"<title>{escape(title)}</title><desc>{escape(text)}</desc>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {box}>{said}{"".join(parts)}</svg>'
