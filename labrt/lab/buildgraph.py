"""A build as a picture: its stages, their steps, what was found in the cache, and who copies from whom.

    watch = lab.buildgraph.Watch(text)                      of a Dockerfile
    labrt.build(place, text=text, progress=watch)           draws while it is built
    watch.hits, watch.made                                  the steps that were in the cache, and the others

What is drawn is what the builder said (builder/events.py); arrows are what the Dockerfile says. Notebook 20.
"""

from __future__ import annotations

from typing import NamedTuple

from labrt.builder import dockerfile, events, stages
from labrt.builder.scopes import Arguments
from labrt.builder.stages import Stage
from labrt.image.image import human
from labrt.image.platform import Platform
from labrt.lab import live, show
from labrt.lab.show import COLOURS, FAINT, TEXT, Picture, Shown

WIDTH, ROW, BOX, TOP = 760.0, 50.0, 36.0, 62.0
_LETTER = 7.2  # pixels at 13 px, of wider letters


class Step(NamedTuple):
    """One step: its text, and a word on what became of it: "", "now", "base", "hit" or "made"."""

    text: str
    word: str = ""
    size: int | None = None

    @property
    def says(self) -> str:
        """The word, and the size of the layer if the step has one."""
        if self.word not in ("hit", "made"):
            return self.word
        return f"{self.word}, {'no layer' if self.size is None else human(self.size)}"


class Watch(Shown):
    """Hears the events of one build, or of several after each other: then the picture is of the last."""

    def __init__(self, text: str, *, title: str = "A build") -> None:
        arguments = Arguments({}, Platform.host())
        self.title = title
        self.stages = stages.read(dockerfile.parse(text, "Dockerfile"), arguments)
        self._draw: live.Live | None = None
        self._clear()

    def _clear(self) -> None:
        self.steps: dict[str, list[Step]] = {
            stage.label: [Step(one.text) for one in (stage.begin, *stage.steps)] for stage in self.stages
        }
        self._first: dict[str, int] = {}

    def __call__(self, event: object) -> None:
        """Hear one event, and draw."""
        if isinstance(event, events.Planned):
            self._clear()
            self._draw = live.live()
        elif isinstance(event, events.StepStarted):
            first = self._first.setdefault(event.stage, event.number)
            self._become(event.stage, event.number - first, "now", None)
        elif isinstance(event, events.StepDone):
            place = event.number - self._first.get(event.stage, event.number)
            word = "base" if not place else "hit" if event.cached else "made"
            self._become(event.stage, place, word, event.size)
        else:
            return
        if self._draw:
            self._draw(self.picture())

    def _become(self, stage: str, place: int, word: str, size: int | None) -> None:
        if place < len(self.steps.get(stage, ())):  # of another Dockerfile than ours there is nothing to draw
            self.steps[stage][place] = Step(self.steps[stage][place].text, word, size)

    def _those(self, word: str) -> list[str]:
        return [step.text for steps in self.steps.values() for step in steps if step.word == word]

    @property
    def hits(self) -> list[str]:
        """The steps that were found in the cache."""
        return self._those("hit")

    @property
    def made(self) -> list[str]:
        """The steps that were done."""
        return self._those("made")

    def __repr__(self) -> str:
        return f"<Watch: {len(self.hits)} hits, {len(self.made)} made>"

    def picture(self) -> Picture:
        """Draw it."""
        return draw(self.stages, self.steps, self.title)


def draw(found: list[Stage], steps: dict[str, list[Step]], title: str) -> Picture:
    """Draw a column for each stage. A hit has a thick frame, what was made a filled one; each says so, too."""
    across = WIDTH / max(len(found), 1)
    parts = [show.text_at(8, 18, title, bold=True)]
    rows: list[tuple[object, ...]] = [("stage", "step", "")]
    for number, stage in enumerate(found):
        left = 8 + across * number
        parts.append(show.text_at(left, 46, stage.label, bold=True))
        for row, step in enumerate(steps[stage.label]):
            parts += _box(left, TOP + ROW * row, across - 44, step)
            rows.append((stage.label if not row else "", step.text, step.says))
            if row:
                x = left + 20
                parts.append(_line(x, TOP + ROW * row - (ROW - BOX), x, TOP + ROW * row))
    for start, end, row in edges(found):
        parts += _arrow(found, start, end, row, across)
        rows.append(("", f"{found[start].label} → {found[end].label}, step {row + 1}", ""))
    tall = max((len(one) for one in steps.values()), default=0)
    text = show.said(title, rows)
    return Picture(show.svg(WIDTH, TOP + ROW * tall, title, text, parts), text)


def edges(found: list[Stage]) -> list[tuple[int, int, int]]:
    """Say which stage's files go where: (from which stage, to which, at which of its steps; 0 is its FROM)."""
    ways = []
    for stage in found:
        if isinstance(stage.base, int):
            ways.append((stage.base, stage.number, 0))
        for row, step in enumerate(stage.steps, 1):
            origin = stages.find(step.flag("from"), found[: stage.number])
            if origin is not None:
                ways.append((origin, stage.number, row))
    return ways


def _box(x: float, y: float, wide: float, step: Step) -> list[str]:
    status = {"hit": "ok", "made": "brand", "now": "warn"}.get(step.word)
    ink = COLOURS[status] if status else FAINT
    fill = f"fill:{ink};fill-opacity:0.22" if step.word == "made" else "fill:none"
    dash = ";stroke-dasharray:5 3" if step.word == "now" else ""
    style = f"{fill};stroke:{ink};stroke-width:{2.5 if step.word == 'hit' else 1.2}{dash}"
    frame = f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{BOX}" rx="4" style="{style}"/>'
    most = max(int((wide - 14) / _LETTER), 4)
    text = step.text if len(step.text) <= most else step.text[: most - 1] + "…"
    return [frame, show.text_at(x + 7, y + 15, text), show.text_at(x + 7, y + 31, step.says)]


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" style="fill:none;stroke:{TEXT};stroke-width:1.2"/>'


def _arrow(found: list[Stage], start: int, end: int, row: int, across: float) -> list[str]:
    """Draw a line from the last step of a stage to a step of another, in the gaps between columns."""
    x, y = 8 + across * start + across - 44, TOP + ROW * len(found[start].steps) + BOX / 2
    to_x, to_y = 8 + across * end, TOP + ROW * row + BOX / 2
    lane = to_x - 12 - 7 * start  # each in a lane of its own, in the gap before the column
    under = TOP + ROW * (max(len(stage.steps) for stage in found) + 1) - 5 - 4 * start
    way = f"H{lane:.1f}" if end == start + 1 else f"H{x + 8:.1f}V{under:.1f}H{lane:.1f}"
    style = f"fill:none;stroke:{COLOURS['brand']};stroke-width:1.8"
    tip = f"{to_x:.1f},{to_y:.1f} {to_x - 8:.1f},{to_y - 4:.1f} {to_x - 8:.1f},{to_y + 4:.1f}"
    return [
        f'<path d="M{x:.1f} {y:.1f}{way}V{to_y:.1f}H{to_x - 6:.1f}" style="{style}"/>',
        f'<polygon points="{tip}" style="fill:{COLOURS["brand"]}"/>',
    ]
