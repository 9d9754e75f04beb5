"""Steps: name what is done, and time it; the result shows itself as a timeline.

    steps = lab.steps("By hand")
    with steps("manifest"):
        manifest = client.manifest("busybox")
    steps                                   # one bar per step, also of one that was broken off

The clock runs only inside of a block: between two notebook cells a learner may think for an hour.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from labrt.lab import show
from labrt.lab.show import Picture, Shown, Step


@dataclass(repr=False)
class Steps(Shown):
    """What was done, in order, and how long each step took. `with steps("name"):` adds one."""

    title: str = "Timeline"
    done: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block as one step. A step of the same name is replaced: a notebook cell may be run again."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            step = Step(name, (time.perf_counter() - begin) * 1000)
            if name in self:
                self.done = [step if one.name == name else one for one in self.done]
            else:
                self.done.append(step)

    def __contains__(self, name: str) -> bool:
        return any(step.name == name for step in self.done)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.done)

    def __len__(self) -> int:
        return len(self.done)

    def __getitem__(self, name: str) -> Step:
        return next(step for step in self.done if step.name == name)

    @property
    def milliseconds(self) -> float:
        """How long all steps took together."""
        return sum(step.milliseconds for step in self.done)

    def __repr__(self) -> str:
        return f"<Steps {self.title}: {len(self.done)} in {self.milliseconds:.1f} ms>"

    def picture(self) -> Picture:
        """Draw it."""
        return show.timeline(self.done, title=self.title)


def steps(title: str = "Timeline") -> Steps:
    """Begin a list of steps. `title` stands above its picture."""
    return Steps(title)
