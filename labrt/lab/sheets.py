"""A union of directories as a pile of sheets: each file in the colour of the layer that it comes from.

    sheets.pile({"base": "/…/base", "update": "/…/update", "upper": "/…/upper"}, root)

Layers base first; `root` is where the union is mounted, and the topmost sheet is what is really seen there. Read from
the directories themselves: a whiteout is a device 0:0, an opaque directory has an extended attribute, as overlayfs
writes them. See the kernel's filesystems/overlayfs.rst. Notebook 10.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from labrt.image.whiteouts import OPAQUE
from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, Picture

# Mid-tones, read on white and on black; each cell has the number of its layer beside the colour.
_INKS = ("#1e88e5", "#43a047", "#e67e00", "#8e5bd0", "#00897b", "#c2185b")
_MOST = 7  # columns: more do not fit


class Sheet(NamedTuple):
    """What one layer has: files, directories, what it hides, and the directories that it makes opaque."""

    files: frozenset[str]
    directories: frozenset[str]
    whiteouts: frozenset[str]
    opaque: frozenset[str]


def read(directory: str) -> Sheet:
    """Look through a layer's directory, as overlayfs keeps it."""
    files, directories, whiteouts, opaque = set(), set(), set(), set()
    for place, folders, names in os.walk(directory):
        for name in [*folders, *names]:
            path = os.path.join(place, name)
            found = os.lstat(path)
            known = os.path.relpath(path, directory)
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                whiteouts.add(known)
            elif stat.S_ISDIR(found.st_mode):
                directories.add(known)
                if _is_opaque(path):
                    opaque.add(known)
            else:
                files.add(known)
    return Sheet(*map(frozenset, (files, directories, whiteouts, opaque)))


def _is_opaque(path: str) -> bool:
    for attribute in OPAQUE:
        with contextlib.suppress(OSError):
            if os.getxattr(path, attribute) == b"y":
                return True
    return False


def origin(path: str, layers: list[Sheet]) -> int | None:
    """Return the number of the layer, base 0, that a file of the union comes from; None: it is not seen."""
    for number in reversed(range(len(layers))):
        sheet = layers[number]
        if path in sheet.files or path in sheet.directories:
            return number
        if _hides(sheet, path):
            return None
    return None


def _hides(sheet: Sheet, path: str) -> bool:
    above = path
    while above:
        if above in sheet.whiteouts or (above != path and above in sheet.opaque):
            return True
        if above in sheet.files:  # a file in the place of a directory
            return True
        above = os.path.dirname(above)
    return False


def pile(layers: Mapping[str, str], root: str, *, title: str = "The pile, and what is seen from above") -> Picture:
    """Draw the layers, base at the bottom, and above them what is seen at `root`."""
    read_layers = [read(directory) for directory in layers.values()]
    everything = set().union(*(sheet.files | sheet.whiteouts for sheet in read_layers))
    paths = sorted(everything)[:_MOST]
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    seen = [_seen(path, root, read_layers) for path in paths]
    rows.append(("what you see", seen))
    for number, (name, sheet) in reversed([*enumerate(zip(layers, read_layers, strict=True))]):
        rows.append((f"{number}  {name}", [_cell(path, sheet, number) for path in paths]))
    text = show.said(title, [("", *paths), *((name, *(word or "·" for word, _ in cells)) for name, cells in rows)])
    return Picture(show.svg(760, 74 + 62 * len(rows), title, text, _draw(title, paths, rows)), text)


def _seen(path: str, root: str, layers: list[Sheet]) -> tuple[str, str]:
    if not os.path.lexists(os.path.join(root, path)):
        return "", ""
    number = origin(path, layers)
    return ("?", "") if number is None else (f"from {number}", _INKS[number % len(_INKS)])


def _cell(path: str, sheet: Sheet, number: int) -> tuple[str, str]:
    if path in sheet.files or path in sheet.directories:
        return str(number), _INKS[number % len(_INKS)]
    if path in sheet.whiteouts:
        return "whiteout", "hole"
    if _hides(sheet, path):
        return "hidden", "hole"
    return "", ""


def _draw(title: str, paths: list[str], rows: list[tuple[str, list[tuple[str, str]]]]) -> list[str]:
    parts = [show.text_at(8, 16, title, bold=True)]
    width, left = 84, 160
    for column, path in enumerate(paths):
        label = path if len(path) <= 13 else "…" + path[-12:]
        parts.append(show.text_at(left + width * column, 40, label))
    for row, (name, cells) in enumerate(rows):
        y = 56 + 62 * row
        parts.append(_lid(left - 10, y, width * len(paths) + 12, 42, f"fill:{FAINT};fill-opacity:0.18;stroke:{FAINT}"))
        parts.append(show.text_at(8, y + 26, name, bold=not row))
        for column, (word, ink) in enumerate(cells):
            if not word:
                continue
            style = f"fill:none;stroke:{COLOURS['fail']};stroke-width:1.5;stroke-dasharray:4 3" if ink == "hole" else (
                f"fill:{ink};fill-opacity:0.35;stroke:{ink};stroke-width:1.5")  # fmt: skip
            parts.append(_lid(left + width * column + 2, y + 8, width - 14, 26, style))
            parts.append(show.text_at(left + width * column + 11, y + 26, word))
    return parts


def _lid(x: float, y: float, width: float, height: float, style: str) -> str:
    lean, right, bottom = height * 0.35, x + width, y + height
    corners = ((x + lean, y), (right + lean, y), (right, bottom), (x, bottom))
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    return f'<polygon points="{points}" style="{style}"/>'
