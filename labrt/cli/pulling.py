"""What a pull prints: docker's lines, and in a terminal a bar for each layer between them.

    with Pulling(sys.stderr, announce=True) as heard: images.pull("busybox", on_event=heard)

Everything is imported at the first event: most runs find their image here and pull nothing.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, TextIO


class Pulling:
    """A listener for the events of a pull. `announce`: say first that the image was not here, as `run` does."""

    def __init__(self, out: TextIO, *, announce: bool = False, quiet: bool = False) -> None:
        self.out, self.announce, self.quiet = out, announce, quiet
        self._stack = contextlib.ExitStack()
        self._draw: Any = None
        self._fetched = False
        self._last: list[str] = []
        self._said: set[str] = set()

    def __enter__(self) -> Pulling:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()  # the bars, before what comes below them
        if kind is None:
            self._print(*self._last)

    def __call__(self, event: object) -> None:
        """Hear one event."""
        from labrt.engine.images import EmbeddedUsed
        from labrt.registry import events

        if isinstance(event, events.Resolving):
            self._begin(event.reference)
        elif isinstance(event, events.Exists):
            self._layer(event.descriptor, "Already exists")
        elif isinstance(event, events.LayerDone):
            self._fetched = True
            self._layer(event.descriptor, "Pull complete")
        elif isinstance(event, events.Pulled):
            status = "Downloaded newer image" if self._fetched else "Image is up to date"
            self._last = [f"Digest: {event.digest}", f"Status: {status} for {event.reference.familiar}"]
        elif isinstance(event, events.Waiting | events.MirrorFailed | events.HelperFailed | EmbeddedUsed):
            self._trouble(event)
        if self._draw:
            self._draw(event)

    def _begin(self, reference: Any) -> None:
        if self.announce:
            self._print(f"Unable to find image '{reference.familiar}' locally")
            self.announce = False
        self._once(f"{reference.tag or reference.digest}: Pulling from {reference.repository}")
        if sys.stderr.isatty() and not self.quiet and not self._draw:
            from labrt.engine.progress import bars

            self._draw = self._stack.enter_context(bars())

    def _layer(self, descriptor: Any, became: str) -> None:
        if descriptor.is_layer and not self._draw:
            self._once(f"{descriptor.digest.short}: {became}")

    def _trouble(self, event: object) -> None:
        """Say what is not as it should be, on stderr whatever `out` is; the bars show it themselves."""
        if not self._draw:
            print(event, file=sys.stderr, flush=True)

    def _once(self, line: str) -> None:
        """Print a line, unless it has been said: a layer may be there twice, and another registry may be asked."""
        if line not in self._said:
            self._said.add(line)
            self._print(line)

    def _print(self, *lines: str) -> None:
        if not self.quiet:
            for line in lines:
                print(line, file=self.out, flush=True)
