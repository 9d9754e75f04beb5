"""Charts of what was measured: SVG for notebooks, each with the same said in text.

    climb(points, wall=64)          memory over time, and the wall that it must not pass (notebook 08)
    periods(samples)                how much of each interval a group ran, and how long it was held (CPU, notebook 09)
    bars({"vfs": {"time": …}})      several measures of several things, each measure on a scale of its own

The points are the caller's: nothing here measures, and nothing is drawn that was not given. See show.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, Picture

LAST = 40
_LEFT, _RIGHT, _TOP, _BASE = 64, 640, 30, 210


class Sample(NamedTuple):
    """One interval: how much CPU was used in it (1.0: one whole CPU), and how long it was throttled (same scale)."""

    ran: float
    throttled: float = 0.0
    limit: float | None = None


class Bar(NamedTuple):
    """One measure: its value, and how to write it."""

    value: float
    text: str


def climb(
    points: Sequence[tuple[float, float]],
    *,
    wall: float | None = None,
    title: str = "Memory over time",
    end: str = "",
) -> Picture:
    """Draw (seconds, MiB) points as a line, a wall as a dashed line, and at the last point what happened there."""
    highest = max([value for _, value in points] + [wall or 0.0]) * 1.15 or 1.0
    longest = max((seconds for seconds, _ in points), default=0.0) or 1.0

    def place(seconds: float, value: float) -> tuple[float, float]:
        return _LEFT + (_RIGHT - _LEFT) * seconds / longest, _BASE - (_BASE - _TOP) * value / highest

    parts = _axes(longest, highest, "MiB")
    if wall is not None:
        y = place(0, wall)[1]
        parts.append(_line(_LEFT, y, _RIGHT, y, COLOURS["fail"], "stroke-width:2;stroke-dasharray:7 4"))
        parts.append(show.text_at(_RIGHT + 8, y + 4, f"wall: {wall:g} MiB"))
    if points:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{path}" style="fill:none;stroke:{COLOURS["brand"]};stroke-width:2.5"/>')
    if points and end:
        x, y = place(*points[-1])
        parts.append(show.text_at(x - 6, y + 5, "✕" if "kill" in end else "●", bold=True))
        parts.append(show.text_at(min(x, _RIGHT - 60) - 4, y + 24, end, bold=True))
    every = max(1, len(points) // 8)
    rows: list[tuple[object, ...]] = [(f"{s:6.2f} s", f"{v:7.1f} MiB") for s, v in points[::every]]
    rows += [("wall", f"{wall:7.1f} MiB")] if wall is not None else []
    rows += [("end", end)] if end else []
    text = show.said(title, rows)
    return Picture(show.svg(760, _BASE + 34, title, text, [show.text_at(8, 16, title, bold=True), *parts]), text)


def periods(samples: Sequence[Sample], *, title: str = "CPU, interval by interval") -> Picture:
    """Draw one bar per interval: filled is the time that the group ran, dashed above it the time that it was held.

    The thick mark is the limit at that time. Only the last LAST intervals are drawn.
    """
    samples = samples[-LAST:]
    highest = max([1.0, *(s.ran + s.throttled for s in samples), *(s.limit or 0.0 for s in samples)]) * 1.15
    scale, step = (_BASE - _TOP) / highest, (_RIGHT - _LEFT) / max(len(samples), 12)
    parts = _axes(None, highest, "CPUs")
    for number, sample in enumerate(samples):
        x, ran, held = _LEFT + step * number + 1, sample.ran * scale, sample.throttled * scale
        parts.append(_box(x, _BASE - ran, step - 3, ran, f"fill:{COLOURS['brand']}"))
        if held > 1:
            dashed = f"fill:none;stroke:{COLOURS['warn']};stroke-width:1.5;stroke-dasharray:3 2"
            parts.append(_box(x, _BASE - ran - held, step - 3, held, dashed))
        if sample.limit is not None:
            y = _BASE - sample.limit * scale
            parts.append(_line(x - 1, y, x + step - 2, y, COLOURS["fail"], "stroke-width:3"))
    parts += [
        _box(_RIGHT + 12, 40, 12, 12, f"fill:{COLOURS['brand']}"), show.text_at(_RIGHT + 32, 51, "ran"),
        _box(_RIGHT + 12, 62, 12, 12, f"fill:none;stroke:{COLOURS['warn']};stroke-dasharray:3 2"),
        show.text_at(_RIGHT + 32, 73, "was held"),
        _line(_RIGHT + 12, 90, _RIGHT + 24, 90, COLOURS["fail"], "stroke-width:3"),
        show.text_at(_RIGHT + 32, 95, "the limit"),
    ]  # fmt: skip
    rows = [("interval", "ran", "was held", "limit")]
    rows += [(str(n), f"{s.ran:.2f}", f"{s.throttled:.2f}", "none" if s.limit is None else f"{s.limit:.2f}")
             for n, s in enumerate(samples, 1)]  # fmt: skip
    text = show.said(title, rows)
    return Picture(show.svg(760, _BASE + 34, title, text, [show.text_at(8, 16, title, bold=True), *parts]), text)


def bars(groups: Mapping[str, Mapping[str, Bar | str]], *, title: str) -> Picture:
    """Draw for each thing one bar per measure; a measure's longest bar is its largest value.

    A string in the place of a Bar says why there is none.
    """
    largest: dict[str, float] = {}
    for measures in groups.values():
        for name, bar in measures.items():
            if isinstance(bar, Bar):
                largest[name] = max(largest.get(name, 0.0), bar.value)
    parts, rows, y = [show.text_at(8, 16, title, bold=True)], [], 32.0
    for thing, measures in groups.items():
        parts.append(show.text_at(8, y + 14, thing, bold=True))
        for name, bar in measures.items():
            if isinstance(bar, str):
                parts.append(show.text_at(136, y + 14, f"{name}: {bar}"[:88]))
                rows.append((thing, name, bar, ""))
            else:
                share = bar.value / (largest[name] or 1.0)
                colour = COLOURS["brand"] if name == next(iter(largest)) else COLOURS["ok"]
                parts.append(show.text_at(136, y + 14, name))
                parts.append(_box(212, y + 2, max(1.0, 380 * share), 14, f"fill:{colour}"))
                parts.append(show.text_at(220 + max(1.0, 380 * share), y + 14, bar.text))
                rows.append((thing, name, bar.text, "█" * round(24 * share)))
            y += 20
        y += 8
    text = show.said(title, rows)
    return Picture(show.svg(760, y + 4, title, text, parts), text)


def _axes(seconds: float | None, highest: float, unit: str) -> list[str]:
    parts = [_line(_LEFT, _BASE, _RIGHT, _BASE, FAINT), _line(_LEFT, _TOP, _LEFT, _BASE, FAINT)]
    for share in (0.0, 0.5, 1.0):
        value = highest / 1.15 * share
        y = _BASE - (_BASE - _TOP) * value / highest
        parts.append(show.text_at(8, y + 4, f"{value:.3g}"))
    parts.append(show.text_at(_RIGHT + 8, _BASE + 4, unit))
    if seconds is not None:
        parts += [show.text_at(_LEFT, _BASE + 20, "0 s"), show.text_at(_RIGHT - 40, _BASE + 20, f"{seconds:.1f} s")]
    return parts


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, more: str = "stroke-width:1") -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" style="stroke:{colour};{more}"/>'


def _box(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0.0):.1f}" style="{style}"/>'
