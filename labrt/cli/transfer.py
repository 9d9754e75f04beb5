"""What pulls and pushes print alike: docker's lines, and in a terminal bars between them, with one for each layer.

pulling.py and pushing.py are made of this: each says which event is which line.
"""

from __future__ import annotations

import contextlib
import sys

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, Self, TextIO


class Transfer:
    """A listener for events, and a context manager: after the block come the last lines, unless it was broken off."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self.out, self.quiet = out, quiet
        self._stack = contextlib.ExitStack()
        self._draw: Any = None  # what draws the bars, where there are any
        self._last: list[str] = []
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()  # the bars, before what comes below them
        if kind is None:
            self._print(*self._last)

    def _draw_bars(self) -> None:
        if sys.stderr.isatty() and not self.quiet and not self._draw:
            from labrt.engine.progress import bars

            self._draw = self._stack.enter_context(bars())

    def _layer(self, descriptor: Any, became: str) -> None:
        """Print what became of a layer, where no bar says it."""
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
