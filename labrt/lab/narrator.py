"""A narrator for programs that show what they do, step by step, in a terminal or a pipe.

    tell = Narrator("What this is about")
    with tell.step("pull", "Pull the image"):
        tell.detail("GET … → 200")
    tell.end(["what to do next"])

At most 100 columns; colours only in a terminal, and never needed to understand. Every step is timed; `end` draws them.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from labrt.lab.show import plain
from labrt.lab.steps import Steps

WIDTH = 100


class Narrator:
    """Tells of numbered steps on standard output."""

    def __init__(self, title: str) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal of another age has no arrows
        console = Console(highlight=False)
        self.console = Console(highlight=False, width=min(WIDTH, console.width) if console.is_terminal else WIDTH)
        self.steps = Steps("How long it took")
        self.console.print(Text(title, style="bold"))

    @contextlib.contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """Announce a step, do it, and say how long it took. `name` is what the picture at the end calls it."""
        number = len(self.steps) + 1
        self.console.print()
        self.console.print(Text(f"{number}  {plain(title)}", style="bold cyan"))
        with self.steps(name):
            yield
        self.console.print(Text(f"   {self.steps[name].milliseconds:.1f} ms", style="dim"))

    def say(self, text: str) -> None:
        """Say something outside of the steps."""
        self._print(Text(plain(text)))

    def detail(self, text: str) -> None:
        """Say one thing within a step, on one line: what is too long loses its middle."""
        self._indented(Text(shorten(plain(text), self.console.width - 3)))

    def lines(self, pieces: Iterable[bytes], *, until_end: bool = False) -> str:
        """Show a program's output as it comes, and return it. Without `until_end`: as far as a line that ends "host".

        A program's bytes could steer the terminal: control characters are not passed on.
        """
        text = rest = ""
        for piece in pieces:
            text += piece.decode(errors="replace")
            *whole, rest = (rest + piece.decode(errors="replace")).split("\n")
            for line in whole:
                self._indented(Text(f"│ {plain(line)}"))
            if not until_end and text.endswith("host\n"):
                break
        if rest:
            self._indented(Text(f"│ {plain(rest)}"))
        return text

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a small table."""
        table = Table(*headers, box=None, header_style="italic", padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*map(Text, map(plain, row)))
        self.show(table)

    def show(self, thing: object) -> None:
        """Show whatever rich can show."""
        self._indented(thing)

    def _indented(self, thing: object) -> None:
        self._print(Padding(thing, (0, 0, 0, 3), expand=False))  # type: ignore[arg-type]

    def _print(self, thing: object) -> None:
        with self.console.capture() as drawn:
            self.console.print(thing)
        # rich fills lines up with spaces, which in a pipe somebody would have to take off again.
        self.console.file.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))
        self.console.file.flush()

    def end(self, advice: Iterable[str]) -> None:
        """Draw how long each step took, and say what one could do next."""
        self.console.print()
        self.show(self.steps)
        self.console.print(Text("\nWhat next", style="bold"))
        for line in advice:
            self._indented(Text(line))

    def fail(self, text: str) -> int:
        """Say on standard error what went wrong; return the exit code for it."""
        console = Console(stderr=True, highlight=False, width=self.console.width)
        console.print(Text(f"labrt: {plain(text)}", style="red"))
        return 1


def shorten(text: str, width: int) -> str:
    """Take out of the middle what is too much."""
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
