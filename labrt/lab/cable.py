"""Packets on their way, as a message sequence: one line for each station, an arrow for each frame. Notebooks 14 and 15.

    frames = capture.frames()                       linux/network/packets.py
    cable.sequence(frames, {mac: "left", …})        from station to station, as MACs say
    cable.ports(frames, {"v1": "left", …})          what a bridge lets out by which port

Only what was captured is drawn. See packet(7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, Picture
from labrt.linux.network.packets import EVERYBODY, Frame

_FIRST, _LAST, _STEP = 110.0, 690.0, 46.0


def sequence(frames: Sequence[Frame], stations: Mapping[str, str], *, title: str = "On the cable") -> Picture:
    """Draw frames from top to bottom. `stations` says whose a MAC is; a frame to everybody goes to all lines."""
    names = list(dict.fromkeys(stations.values()))
    places = _places(names)
    height = 70 + _STEP * max(len(frames), 1)
    parts = [show.text_at(8, 18, title, bold=True), *_lifelines(places, height)]
    rows: list[tuple[object, ...]] = [("µs", "from", "to", "what", "")]
    for number, frame in enumerate(frames):
        y = 92 + _STEP * number
        source = stations.get(frame.source, frame.source)
        everybody = frame.destination == EVERYBODY
        to = "everybody" if everybody else stations.get(frame.destination, frame.destination)
        after = round(1e6 * (frame.time - frames[0].time))
        others = [name for name in names if name != source] if everybody else [to]
        for name in others:
            if source in places and name in places:
                parts += _arrow(y, places[source], places[name], frame.kind)
        ends = [places[name] for name in (source, *others) if name in places] or [_FIRST]
        above, _, below = frame.said.partition(", ")  # beside each other they would not fit between two lines
        parts.append(show.text_at(min(ends) + 12, y - 6, f"{frame.kind}: {above}"))
        parts.append(show.text_at(min(ends) + 12, y + 16, below))
        parts.append(show.text_at(8, y + 4, f"{after} µs"))
        rows.append((after, source, to, frame.kind, frame.said))
    text = show.said(title, rows if frames else [("no frame came by",)])
    return Picture(show.svg(760, height, title, text, parts), text)


def _places(names: Sequence[str]) -> dict[str, float]:
    step = (_LAST - _FIRST) / max(len(names) - 1, 1)
    return {name: _FIRST + step * number for number, name in enumerate(names)}


def _lifelines(places: Mapping[str, float], height: float) -> list[str]:
    parts = []
    for name, x in places.items():
        parts.append(show.text_at(x - 3.5 * len(name), 44, name, bold=True))
        style = f"stroke:{FAINT};stroke-width:1.5"
        parts.append(f'<line x1="{x:.0f}" y1="52" x2="{x:.0f}" y2="{height - 6:.0f}" style="{style}"/>')
    return parts


def _arrow(y: float, start: float, end: float, kind: str) -> list[str]:
    """An arrow: ARP's are dashed, and all have the name of what they are beside them."""
    back = 9 if end < start else -9
    ink = COLOURS["warn"] if kind == "ARP" else COLOURS["brand"]
    dash = ";stroke-dasharray:6 4" if kind == "ARP" else ""
    line = f'<path d="M{start:.0f} {y}H{end + back:.0f}" style="stroke:{ink};stroke-width:1.8;fill:none{dash}"/>'
    points = f"{end:.0f},{y} {end + back:.0f},{y - 5} {end + back:.0f},{y + 5}"
    return [line, f'<polygon points="{points}" style="fill:{ink}"/>']


def ports(frames: Sequence[Frame], names: Mapping[str, str], *, title: str = "Out of the switch") -> Picture:
    """Say for each kind of frame by which ports of a bridge it came in, and by which it left; how often."""
    kinds: dict[str, dict[str, list[int]]] = {}
    for frame in frames:
        if frame.interface in names:
            counts = kinds.setdefault(f"{frame.kind}: {_what(frame)}", {})
            counts.setdefault(frame.interface, [0, 0])[frame.outgoing] += 1
    rows = []
    for kind, counts in kinds.items():
        rows.append([kind, *(_count(counts.get(port, [0, 0])) for port in names)])
    return show.table(["what", *(f"{port}, to {name}" for port, name in names.items())], rows, caption=title)


def _what(frame: Frame) -> str:
    if frame.kind == "ARP":
        return frame.said.partition("?")[0] + "?" if "?" in frame.said else "an answer"
    return frame.said.partition(",")[0]


def _count(counts: Sequence[int]) -> str:
    words = [f"{number} {way}" for number, way in zip(counts, ("came in", "went out"), strict=True) if number]
    return ", ".join(words) or "nothing"
