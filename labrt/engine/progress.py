"""Progress of a pull, drawn: one bar per layer, as `docker pull` has them, in a terminal or a notebook.

with bars() as listener:
images.pull("redis", on_event=listener)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from labrt.registry import events

COLOURED = ("progress.download", "progress.data.speed", "bar.complete", "bar.finished", "bar.pulse")


@contextlib.contextmanager
def bars() -> Iterator[Callable[[object], None]]:
    """Yield a listener that draws what it hears. Nothing is drawn until something is fetched."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
    from rich.theme import Theme

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    if console.is_jupyter:  # rich's green and red are too faint there, on white or on black: WCAG 2.2, 1.4.3
        console.push_theme(Theme(dict.fromkeys(COLOURED, "none")))
    progress = Progress(*columns, console=console, transient=False)
    drawing = _Drawing(progress)
    try:
        yield drawing.hear
    finally:
        progress.stop()


class _Drawing:
    def __init__(self, progress: Any) -> None:
        self.progress = progress
        self.tasks: dict[str, Any] = {}

    def hear(self, event: object) -> None:
        """Draw one event; those that a bar cannot show become a line above the bars."""
        from labrt.engine.images import EmbeddedUsed

        if isinstance(event, events.LayerProgress):
            self._bar(event.descriptor.digest.short, event.offset, event.total)
        elif isinstance(event, events.LayerDone):
            self._bar(event.descriptor.digest.short, event.descriptor.size, event.descriptor.size)
        elif isinstance(event, events.Waiting | events.MirrorFailed | events.HelperFailed | EmbeddedUsed):
            self.progress.console.print(str(event), style="bold", highlight=False)

    def _bar(self, name: str, done: int, total: int) -> None:
        self.progress.start()
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.tasks[name], completed=done)
