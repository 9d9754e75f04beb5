"""What a build shows: docker's lines, or in a terminal each step as it is done, with the last lines of what it says.

    with shown("auto") as listener: builds.build(".", on_event=listener)       auto, plain, tty or quiet

Stages that are built at the same time are told one after the other in plain text, and side by side in a terminal.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from labrt.builder import events

KINDS = ("auto", "plain", "tty", "quiet")
Listener = Callable[[object], None]
_LINES = 6  # of a step's output, while it runs


@contextlib.contextmanager
def shown(kind: str = "auto", out: TextIO | None = None) -> Iterator[Listener]:
    """Yield a listener that shows what it hears; `out` is for plain text, None: standard output."""
    if kind == "auto":
        kind = "tty" if sys.stderr.isatty() else "plain"
    if kind == "quiet":
        yield lambda _: None
    elif kind == "plain":
        yield events.InOrder(Plain(out or sys.stdout))
    else:
        with contextlib.closing(Live()) as live:
            yield live


class Plain:
    """Docker's lines."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def __call__(self, event: object) -> None:
        """Print what there is to say of one event."""
        if isinstance(event, events.Output):
            self._write(event.data.decode(errors="replace"))
        elif isinstance(event, events.StepDone):
            self._write(f"{' ---> Using cache' + chr(10) if event.cached else ''}{event}\n")
        elif isinstance(event, events.Built):
            self._write("".join([f"{event}\n", *(f"Successfully tagged {name}\n" for name in event.names)]))
        elif isinstance(event, events.StepStarted | events.Warned):
            self._write(f"{event}\n")
        else:
            self._pulled(event)

    def _pulled(self, event: object) -> None:
        from labrt.engine.images import EmbeddedUsed
        from labrt.registry import events as pulls

        if isinstance(event, EmbeddedUsed | pulls.Waiting | pulls.MirrorFailed | pulls.HelperFailed):
            print(event, file=sys.stderr, flush=True)
        elif isinstance(event, pulls.Pulled):
            self._write(f"Digest: {event.digest}\n")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


class Live:
    """A terminal: a line for each step that is done, and below them those that are under way."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as Drawing

        self.console = Console(stderr=True, highlight=False)
        self.active: dict[str, _Step] = {}
        self._drawing = Drawing(console=self.console, refresh_per_second=8, transient=True, get_renderable=self._draw)
        self._drawing.start()

    def __call__(self, event: object) -> None:
        """Draw one event."""
        if isinstance(event, events.StepStarted):
            self.active[event.stage] = _Step(event)
        elif isinstance(event, events.Output) and event.stage in self.active:
            self.active[event.stage].hear(event.data)
        elif isinstance(event, events.StepDone) and (step := self.active.pop(event.stage, None)):
            self._print(step.title("cached" if event.cached else step.age, "green"))
        elif isinstance(event, events.Warned):
            self._print(str(event), "yellow")
        elif isinstance(event, events.Built):
            named = ", ".join(event.names) or "without a name"
            self._print(f"built {event.id.removeprefix('sha256:')[:12]}: {named}", "bold")
        else:
            self._pulled(event)

    def _pulled(self, event: object) -> None:
        from labrt.engine.images import EmbeddedUsed

        if isinstance(event, EmbeddedUsed):
            self._print(str(event), "yellow")

    def _print(self, what: Any, style: str = "") -> None:
        self.console.print(what, style=style or None, soft_wrap=True, markup=False)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        parts: list[Any] = []
        for step in [*self.active.values()]:
            parts.append(step.title(step.age, "cyan"))
            parts += [Text(f"    {line}", "dim", no_wrap=True, overflow="ellipsis") for line in step.lines()]
        return Group(*parts)

    def close(self) -> None:
        """Leave what is there to read: of a step that failed, all that it said."""
        self._drawing.stop()
        for step in self.active.values():
            self._print(step.title("not done", "red"))
            for line in step.output.decode(errors="replace").splitlines():
                self._print(f"    {line}")


class _Step:
    """One step under way. Of a long output the last 64 KiB are kept."""

    def __init__(self, started: events.StepStarted) -> None:
        self.started, self.begun = started, time.monotonic()
        self.output = b""

    def hear(self, data: bytes) -> None:
        self.output = (self.output + data)[-(1 << 16) :]

    @property
    def age(self) -> str:
        return f"{time.monotonic() - self.begun:.1f}s"

    def lines(self) -> list[str]:
        return [*deque(self.output.decode(errors="replace").splitlines(), _LINES)]

    def title(self, said: str, style: str) -> Any:
        from rich.text import Text

        where = f"[{self.started.stage} {self.started.number}/{self.started.total}]"
        return Text.assemble((f"{where} ", style), f"{self.started.text:.100} ", (said, "dim"))
