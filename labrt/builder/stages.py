"""The stages of a Dockerfile: which FROM begins which, and which of them are needed for what is wanted.

    stages = read(instructions, arguments)
    needed(stages, "test")       the stages to build for --target test (None: the last), in their order

A stage needs the one that it is FROM, and those that its COPY --from and RUN --mount=from name. The others are left
out; those that do not need each other are built at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from labrt.builder import instructions as change
from labrt.builder.dockerfile import Instruction
from labrt.builder.scopes import Arguments
from labrt.errors import InvalidInput, NotFound

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*")
SCRATCH = "scratch"


class Stage(NamedTuple):
    """One FROM and what follows it. `base` is "scratch", an image, or another stage's number."""

    number: int
    name: str  # "" if it has none
    base: str | int
    platform: str
    begin: Instruction
    steps: tuple[Instruction, ...]
    needs: frozenset[int]

    @property
    def label(self) -> str:
        """What to call it."""
        return self.name or f"stage-{self.number}"


def read(found: Sequence[Instruction], arguments: Arguments) -> list[Stage]:
    """Divide instructions into stages. Raises InvalidInput."""
    stages: list[Stage] = []
    begin: Instruction | None = None
    steps: list[Instruction] = []
    for instruction in found:
        if instruction.keyword == "FROM":
            if begin is not None:
                stages.append(_stage(begin, steps, stages, arguments))
            begin, steps = instruction, []
        elif begin is not None:
            steps.append(instruction)
        elif instruction.keyword == "ARG":
            arguments.declare_above(instruction)
        else:
            instruction.fail(f"{instruction.keyword} before the first FROM", "only ARG may stand there")
    if begin is None:
        raise InvalidInput("the Dockerfile has no FROM", remedy="begin with FROM IMAGE, or FROM scratch")
    return [*stages, _stage(begin, steps, stages, arguments)]


def _stage(
    begin: Instruction, steps: Sequence[Instruction], before: Sequence[Stage], arguments: Arguments
) -> Stage:
    variables = arguments.for_from()
    found = begin.rest.split()
    if len(found) not in (1, 3) or (len(found) == 3 and found[1].upper() != "AS"):
        begin.fail("FROM wants an image, and perhaps AS and a name")
    name = found[2].lower() if len(found) == 3 else ""
    if name and (not _NAME.fullmatch(found[2]) or name == SCRATCH):
        begin.fail(f"{found[2]:.40} is no name for a stage", "letters, digits, _ . -; a letter first")
    if name and any(stage.name == name for stage in before):
        begin.fail(f"two stages are called {name}")
    image = change.expand(begin, found[0], variables)
    if not image:
        begin.fail(f"{found[0]:.80} is nothing", "give it a value: ARG before FROM, or --build-arg")
    base: str | int = next((stage.number for stage in before if stage.name == image.lower()), image)
    platform = change.expand(begin, begin.flag("platform"), variables)
    needs = {number for step in steps for number in _needed_by(step, before)}
    needs |= {base} if isinstance(base, int) else set()
    return Stage(len(before), name, base, platform, begin, tuple(steps), frozenset(needs))


def _needed_by(step: Instruction, before: Sequence[Stage]) -> list[int]:
    named = [step.flag("from"), *(_from_of(mount) for mount in step.flag_list("mount"))]
    return [number for text in named if (number := find(text, before)) is not None]


def _from_of(mount: str) -> str:
    return next((part.partition("=")[2] for part in mount.split(",") if part.startswith("from=")), "")


def find(text: str, before: Sequence[Stage]) -> int | None:
    """Return the number of the stage that --from names, by name or number; None if it names an image."""
    if text.isdecimal() and int(text) < len(before):
        return int(text)
    return next((stage.number for stage in before if stage.name and stage.name == text.lower()), None)


def target(stages: Sequence[Stage], name: str | None) -> Stage:
    """Return the stage that is wanted: by name or number, None: the last. Raises NotFound."""
    if not name:
        return stages[-1]
    number = find(name, stages)
    if number is None:
        known = ", ".join(stage.name for stage in stages if stage.name) or "none has a name"
        raise NotFound(f"no stage is called {name:.80}", remedy=f"--target is one of: {known}")
    return stages[number]


def needed(stages: Sequence[Stage], wanted: Stage) -> list[Stage]:
    """Return what is to be built for a stage, itself included, in the file's order."""
    todo, found = [wanted.number], set()
    while todo:
        number = todo.pop()
        if number not in found:
            found.add(number)
            todo += stages[number].needs
    return [stage for stage in stages if stage.number in found]
