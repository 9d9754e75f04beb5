"""What happens while an image is built, one class per kind, for whoever listens. Each is a line to read, too.

    build(…, on_event=print)

Events of pulling (registry/events.py) come in between, as they are. Where stages are built at the same time, `stage`
tells theirs apart; `in_order` makes one story of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

Listener = Callable[[object], None]


class Planned(NamedTuple):
    """Which stages will be built, by name, and how many steps these are."""

    stages: tuple[str, ...]
    total: int

    def __str__(self) -> str:
        return f"{self.total} steps in {len(self.stages)} stages"


class StepStarted(NamedTuple):
    """A step begins. `number` of `total` counts from 1 through all stages, in the file's order."""

    stage: str
    number: int
    total: int
    text: str
    line: int

    def __str__(self) -> str:
        return f"Step {self.number}/{self.total} : {self.text}"


class Output(NamedTuple):
    """A RUN has written something: to `stream` 1 or 2."""

    stage: str
    number: int
    stream: int
    data: bytes

    def __str__(self) -> str:
        return self.data.decode(errors="replace").rstrip("\n")


class Warned(NamedTuple):
    """Something is not as one would expect, and it goes on."""

    stage: str
    text: str

    def __str__(self) -> str:
        return f"[Warning] {self.text}"


class StepDone(NamedTuple):
    """A step has ended. `id` is the image's as it is now; `cached`: nothing was to be done; `size` of its layer, bytes.

    `size` None: it made no layer.
    """

    stage: str
    number: int
    id: str
    cached: bool
    size: int | None

    def __str__(self) -> str:
        return f" ---> {self.id.removeprefix('sha256:')[:12]}"


class StageDone(NamedTuple):
    """All steps of a stage are done."""

    stage: str

    def __str__(self) -> str:
        return f"stage {self.stage} is done"


class Built(NamedTuple):
    """The image is there, with its names."""

    id: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"Successfully built {self.id.removeprefix('sha256:')[:12]}"


class InOrder:
    """A listener that tells another one everything, but stage after stage: what a later one does waits for its turn."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.stages: Sequence[str] = ()
        self._waiting: dict[str, list[object]] = {}
        self._lock = threading.Lock()

    def __call__(self, event: object) -> None:
        """Hear one."""
        with self._lock:
            if isinstance(event, Planned):
                self.stages = event.stages
            stage = getattr(event, "stage", "")
            if stage and self.stages and stage != self.stages[0] and stage in self.stages:
                self._waiting.setdefault(stage, []).append(event)
                return
            self.listener(event)
            if isinstance(event, StageDone):
                self._next()

    def _next(self) -> None:
        self.stages = self.stages[1:]
        while self.stages:
            done = False
            for event in self._waiting.pop(self.stages[0], []):
                self.listener(event)
                done = done or isinstance(event, StageDone)
            if not done:
                return
            self.stages = self.stages[1:]
