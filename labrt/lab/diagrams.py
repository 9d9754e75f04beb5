"""Diagrams of what hangs together: SVG for notebooks, each with the same said in text.

    tree([Node("python3", "pid 7", [Node("sleep", "pid 8")])])      who hangs on whom: processes, mounts
    panels({"before": nodes, "after": nodes})                       several such trees, side by side
    pairs(Side("outside", […]), Side("inside", […]), links)         two columns, and lines from one to the other
    number_line(maps)                                               the ids of a user namespace on the host's line

What is drawn is the caller's: trees.py reads processes and mounts into Nodes. See show.py for colours and texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, TEXT, Picture
from labrt.linux.userns import IdMap

WIDTH = 760
ROW = 30
STEP = 22
LETTER = 6.7  # pixels, on average, at 13 px


class Node(NamedTuple):
    """One box: its label, a word beside it, what hangs on it. `mark` is "", or a word that also gives a colour."""

    label: str
    detail: str = ""
    children: Sequence[Node] = ()
    mark: str = ""


class Link(NamedTuple):
    """A line from a row of the left side to one of the right; `arrow` is "→", "←", "⇄", "=" or "≠"."""

    left: int
    right: int
    arrow: str
    label: str = ""


class Side(NamedTuple):
    """One column: what stands above it, and its rows."""

    title: str
    rows: Sequence[str]


def tree(roots: Sequence[Node], *, title: str = "Tree") -> Picture:
    """Draw trees, each node on a line of its own, under the one that it hangs on."""
    return panels({"": roots}, title=title)


def panels(stages: Mapping[str, Sequence[Node]], *, title: str = "Tree") -> Picture:
    """Draw several trees side by side, each under its name: before and after, or how something grew."""
    across = WIDTH / max(len(stages), 1)
    parts, rows, tallest = [], [], 0
    for number, (name, roots) in enumerate(stages.items()):
        lines = [*_lines(roots)]
        tallest = max(tallest, len(lines))
        left = 8 + number * across
        top = 34 if name else 8
        if name:
            parts.append(show.text_at(left, 20, name, bold=True))
            rows.append((name,))
        for row, (depth, node, above) in enumerate(lines):
            parts += _box(left, top, row, depth, node, above, across - 16)
            rows.append((f"{'  ' * depth}{'└ ' if depth else ''}{node.label}  {node.detail}  {node.mark}".rstrip(),))
    height = tallest * ROW + (44 if any(stages) else 16)
    text = show.said(title, rows)
    return Picture(show.svg(WIDTH, height, title, text, parts), text)


def _lines(roots: Sequence[Node], depth: int = 0, start: int = 0) -> Iterator[tuple[int, Node, int | None]]:
    """Walk through trees from above: (depth, node, the row of the node that it hangs on)."""
    row = start
    for node in roots:
        yield depth, node, start - 1 if depth else None
        below = [*_lines(node.children, depth + 1, row + 1)]
        yield from below
        row += 1 + len(below)


def _box(left: float, top: float, row: int, depth: int, node: Node, above: int | None, room: float) -> list[str]:
    """Draw one node: an elbow up to the one that it hangs on, a frame (dashed when marked), the words."""
    x, y = left + depth * STEP, top + row * ROW
    parts = []
    if above is not None:
        bend = x - STEP / 2
        path = f"M{bend:.1f} {top + above * ROW + 24:.1f}V{y + 12:.1f}H{x:.1f}"
        parts.append(f'<path d="{path}" style="fill:none;stroke:{FAINT};stroke-width:1.2"/>')
    colour = COLOURS.get({"zombie": "fail", "new": "ok", "gone": "fail", "you": "brand"}.get(node.mark, ""), FAINT)
    words = "  ".join(filter(None, (node.label, node.detail, node.mark)))
    space = room - depth * STEP
    fit = max(int((space - 16) / LETTER), 4)
    words = words if len(words) <= fit else f"{words[: fit - 1]}…"
    wide = min(space, 16 + LETTER * len(words))
    dash = ";stroke-dasharray:5 3" if node.mark in ("zombie", "gone") else ""
    frame = f"fill:none;stroke:{colour};stroke-width:{2 if node.mark else 1.2}{dash}"
    parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="24" rx="4" style="{frame}"/>')
    parts.append(show.text_at(x + 8, y + 16.5, words))
    return parts


def pairs(left: Side, right: Side, links: Sequence[Link], *, title: str = "From both sides") -> Picture:
    """Draw two columns of boxes and lines between them; above each line its label, at its ends its arrow heads."""
    height = 40 + 44 * max(len(left.rows), len(right.rows), 1)
    parts = [show.text_at(8, 20, left.title, bold=True), show.text_at(488, 20, right.title, bold=True)]
    for x, side in ((8, left), (488, right)):
        for row, words in enumerate(side.rows):
            style = f"fill:none;stroke:{FAINT};stroke-width:1.2"
            parts.append(f'<rect x="{x}" y="{34 + 44 * row}" width="264" height="30" rx="4" style="{style}"/>')
            parts.append(show.text_at(x + 10, 54 + 44 * row, words if len(words) < 36 else f"{words[:34]}…"))
    for link in links:
        parts += _line(link)
    said = [(left.title, "", right.title)]
    said += [(left.rows[one.left], f"{one.arrow} {one.label}".strip(), right.rows[one.right]) for one in links]
    for side, end in ((left, "left"), (right, "right")):
        tied = {getattr(link, end) for link in links}
        loose = [words for row, words in enumerate(side.rows) if row not in tied]
        said += [(words, "", "") if side is left else ("", "", words) for words in loose]
    text = show.said(title, said)
    return Picture(show.svg(WIDTH, height, title, text, parts), text)


def _line(link: Link) -> list[str]:
    y1, y2 = 49 + 44 * link.left, 49 + 44 * link.right
    colour = COLOURS["fail" if link.arrow == "≠" else "brand"]
    dash = ";stroke-dasharray:5 4" if link.arrow == "≠" else ""
    parts = [f'<path d="M276 {y1}L484 {y2}" style="fill:none;stroke:{colour};stroke-width:1.6{dash}"/>']
    slope = (y2 - y1) / 208
    for tip, way, heads in ((276, 1, "←⇄"), (484, -1, "→⇄")):
        if link.arrow in heads:
            y, back = (y1 if way == 1 else y2), 9 * way
            points = f"{tip},{y} {tip + back},{y + slope * back - 5:.1f} {tip + back},{y + slope * back + 5:.1f}"
            parts.append(f'<polygon points="{points}" style="fill:{colour}"/>')
    words = " ".join(filter(None, (link.arrow if link.arrow in "=≠" else "", link.label)))
    style = f"fill:{TEXT};{show.FONT};text-anchor:middle"
    parts.append(f'<text x="380" y="{(y1 + y2) / 2 - 6:.1f}" style="{style}">{show.escape(words)}</text>')
    return parts


def number_line(maps: Sequence[IdMap], *, title: str = "Ids inside, and who they are outside") -> Picture:
    """Draw each range of ids as a band from the upper line (inside) to the lower (outside). Not to scale."""
    inside = sorted(maps, key=lambda line: line.container_id)
    outside = sorted(maps, key=lambda line: line.host_id)
    slot = 620 / max(len(maps), 1)
    places = {line: 110 + slot * number for number, line in enumerate(outside)}
    parts = [show.text_at(8, 48, "inside", bold=True), show.text_at(8, 158, "outside", bold=True)]
    for y in (44, 154):
        parts.append(f'<path d="M100 {y}H744" style="stroke:{FAINT};stroke-width:1.2"/>')
    rows = []
    for number, line in enumerate(inside):
        top, bottom, wide = 110 + slot * number, places[line], slot - 22
        shape = f"{top:.0f},44 {top + wide:.0f},44 {bottom + wide:.0f},154 {bottom:.0f},154"
        colour = COLOURS["fail" if line.host_id == 0 else "brand"]
        style = f"fill:{colour};fill-opacity:0.25;stroke:{colour}"
        parts.append(f'<polygon points="{shape}" style="{style}"/>')
        names = (_range(line.container_id, line.size), _range(line.host_id, line.size))
        parts += [show.text_at(top, 34, names[0]), show.text_at(bottom, 174, names[1])]
        rows.append((names[0], "is" if line.size == 1 else "are", names[1]))
    text = show.said(title, [("inside", "", "outside"), *rows])
    return Picture(show.svg(WIDTH, 186, title, text, parts), text)


def _range(start: int, size: int) -> str:
    return str(start) if size == 1 else f"{start}…{start + size - 1}"
