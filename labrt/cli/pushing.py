"""What a push prints: docker's lines, and in a terminal a bar for each blob between them.

with Pushing(sys.stdout) as heard:
    push.push("localhost:5000/busybox", on_event=heard)
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, TextIO


class Pushing:
    """A listener for the events of a push."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self.out, self.quiet = out, quiet
        self._stack = contextlib.ExitStack()
        self._draw: Any = None
        self._last: list[str] = []

    def __enter__(self) -> Pushing:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()  # the bars, before what comes below them
        if kind is None:
            self._print(*self._last)

    def __call__(self, event: object) -> None:
        """Hear one event."""
        from labrt.registry import events

        if isinstance(event, events.Pushing):
            self._print(f"The push refers to repository [{event.reference.name}]")
            self._begin()
        elif isinstance(event, events.AlreadyThere):
            self._layer(event.descriptor, "Layer already exists")
        elif isinstance(event, events.Mounted):
            self._layer(event.descriptor, f"Mounted from {event.source}")
        elif isinstance(event, events.UploadDone):
            self._layer(event.descriptor, "Pushed")
        elif isinstance(event, events.Pushed):
            name = event.reference.tag or event.reference.digest
            self._last = [f"{name}: digest: {event.digest} size: {event.size}"]
        elif isinstance(event, events.Waiting | events.HelperFailed | events.OnePlatform) and not self._draw:
            print(event, file=sys.stderr, flush=True)
        if self._draw:
            self._draw(event)

    def _begin(self) -> None:
        if sys.stderr.isatty() and not self.quiet:
            from labrt.engine.progress import bars

            self._draw = self._stack.enter_context(bars())

    def _layer(self, descriptor: Any, became: str) -> None:
        if descriptor.is_layer and not self._draw:
            self._print(f"{descriptor.digest.short}: {became}")

    def _print(self, *lines: str) -> None:
        if not self.quiet:
            for line in lines:
                print(line, file=self.out, flush=True)
