"""Images as what they are: names that point to blobs, and blobs that name each other by digest.

    content.graph({"before": image, "after": other})

A blob that both images have is drawn once, with two arrows to it: that is what sharing means. Notebook 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from labrt.image.image import Image, human
from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, Picture

_WIDTH, _COLUMNS = 216.0, (8.0, 190.0, 500.0)


class Node(NamedTuple):
    """One blob: what it is, its digest and size, and the names of the images that reach it."""

    kind: str
    digest: str
    size: int
    owners: tuple[str, ...]


def nodes(images: Mapping[str, Image]) -> tuple[list[Node], list[Node]]:
    """Collect the manifests, and what they point to; each digest once, in the order in which it is first met."""
    manifests: dict[str, Node] = {}
    parts: dict[str, Node] = {}
    for name, image in images.items():
        _add(manifests, "manifest", str(image.manifest.digest), len(image.manifest.raw), name)
        _add(parts, "config", str(image.manifest.config.digest), image.manifest.config.size, name)
        for number, layer in enumerate(image.manifest.layers):
            _add(parts, f"layer {number}", str(layer.digest), layer.size, name)
    order = {"config": 0}
    return list(manifests.values()), sorted(parts.values(), key=lambda node: (order.get(node.kind, 1), node.kind))


def _add(found: dict[str, Node], kind: str, digest: str, size: int, owner: str) -> None:
    known = found.get(digest)
    owners = (*(known.owners if known else ()), owner)
    found[digest] = Node(known.kind if known else kind, digest, size, tuple(dict.fromkeys(owners)))


def graph(images: Mapping[str, Image], *, title: str = "Who names whom, by digest") -> Picture:
    """Draw names, manifests and blobs in three columns, and an arrow for each digest that one has of another."""
    manifests, parts = nodes(images)
    places: dict[str, tuple[float, float]] = {}
    drawn = [show.text_at(8, 16, title, bold=True)]
    rows: list[tuple[object, ...]] = [("", "digest", "size", "of")]
    height = 44 + 50 * max(len(manifests), len(parts))
    for number, name in enumerate(images):
        y = _centre(number, len(images), height)
        drawn += [show.text_at(_COLUMNS[0], y + 5, name, bold=True)]
        places[name] = (_COLUMNS[0] + 9.0 * len(name), y)
    for x, column in ((_COLUMNS[1], manifests), (_COLUMNS[2], parts)):
        for number, node in enumerate(column):
            y = _centre(number, len(column), height)
            places[node.digest] = (x, y)
            drawn += _box(x, y, node, shared=len(node.owners) == len(images) > 1)
            rows.append((node.kind, node.digest[7:19] + "…", human(node.size), " and ".join(node.owners)))
    for node in manifests:
        for name in node.owners:
            drawn.append(_arrow(places[name], places[node.digest]))
    for name, image in images.items():
        x, y = places[str(image.manifest.digest)]
        for part in parts:
            if name in part.owners:
                drawn.append(_arrow((x + _WIDTH, y), places[part.digest]))
    text = show.said(title, rows)
    return Picture(show.svg(760, height + 10, title, text, drawn), text)


def _centre(number: int, count: int, height: float) -> float:
    return 34 + (height - 34) * (number + 0.5) / count


def _box(x: float, y: float, node: Node, *, shared: bool) -> list[str]:
    ink = COLOURS["ok"] if shared else COLOURS["brand"]
    look = f"fill:{ink};fill-opacity:0.15;stroke:{ink};stroke-width:{2.5 if shared else 1.2}"
    return [
        f'<rect x="{x}" y="{y - 20:.1f}" width="{_WIDTH}" height="40" rx="5" style="{look}"/>',
        show.text_at(x + 8, y - 3, f"{node.kind}, {human(node.size)}{', shared' if shared else ''}", bold=True),
        show.text_at(x + 8, y + 13, f"sha256:{node.digest[7:19]}…"),
    ]


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = start, end
    bend = (x + to_x) / 2
    line = f'<path d="M{x:.1f},{y:.1f} C{bend:.1f},{y:.1f} {bend:.1f},{to_y:.1f} {to_x - 6:.1f},{to_y:.1f}" '
    tip = f'<polygon points="{to_x:.1f},{to_y:.1f} {to_x - 8:.1f},{to_y - 4:.1f} {to_x - 8:.1f},{to_y + 4:.1f}" '
    return f'{line}style="fill:none;stroke:{FAINT};stroke-width:1.4"/>{tip}style="fill:{FAINT}"/>'
