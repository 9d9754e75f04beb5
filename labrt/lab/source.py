"""The live source of anything in labrt, with where it is and which manual page it is about.

    lab.source(mounts.overlay)              the source itself, coloured in a notebook
    lab.source(mounts, rootfs.plan)         several: a table of what they are, file and line, man page

It is read from the file that was imported, so it is the very code that ran.
"""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import labrt
from labrt.errors import NotFound
from labrt.lab import show
from labrt.lab.show import Picture

_MAN_PAGE = re.compile(r"\b([a-z][a-z0-9_.-]*)\(([1-8])\)")


@dataclass(frozen=True, repr=False)
class Source:
    """One piece of source: `name`, `file` (from the checkout), its first `line`, its `text` and its `man` pages."""

    name: str
    file: str
    line: int
    text: str
    about: str
    man: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """`labrt/linux/mounts.py:228`, as editors and grep write it."""
        return f"{self.file}:{self.line}"

    def __repr__(self) -> str:
        return f"<Source {self.name} in {self.place}>"

    def __str__(self) -> str:
        numbers = enumerate(self.text.splitlines(), self.line)
        return "\n".join([self._head(), *(f"{number:4}  {line}".rstrip() for number, line in numbers)])

    def _head(self) -> str:
        return "  ".join([self.name, self.place, *(["see " + ", ".join(self.man)] if self.man else [])])

    def __rich__(self) -> object:
        from rich.console import Group
        from rich.syntax import Syntax
        from rich.text import Text

        return Group(Text(self._head()), Syntax(self.text, "python", line_numbers=True, start_line=self.line))

    def _repr_markdown_(self) -> str:
        # As Markdown, JupyterLab colours it itself, in its own theme: readable on light and on dark.
        head = " · ".join([f"**{self.name}**", f"`{self.place}`", *(f"`{page}`" for page in self.man)])
        return f"{head}\n\n````python\n{self.text}````\n"


def source(thing: object, *more: object) -> Source | Picture:
    """Show where something is made: a function, class, method or module of labrt. Of several: a table.

    Raises NotFound for what has no Python source.
    """
    if not more:
        return find(thing)
    rows = []
    for one in map(find, (thing, *more)):
        rows.append((one.name, one.place, one.about, ", ".join(one.man[:3])))
    return show.table(["what", "where", "what it is", "manual"], rows)


def find(thing: object) -> Source:
    """Find the source of one thing."""
    real: Any = inspect.unwrap(thing) if callable(thing) and not isinstance(thing, ModuleType) else thing
    if isinstance(real, property):
        real = real.fget
    try:
        file = inspect.getsourcefile(real)
        lines, line = inspect.getsourcelines(real)
    except (TypeError, OSError):
        file, lines, line = None, [], 0
    if file is None:
        remedy = "give a function, a class or a module: lab.source(mounts.overlay)"
        raise NotFound(f"{show.plain(repr(thing))[:80]} has no Python source", remedy=remedy)
    top = os.path.dirname(os.path.dirname(os.path.abspath(labrt.__file__)))
    doc = inspect.getdoc(real) or ""
    name = getattr(real, "__qualname__", getattr(real, "__name__", "?")).removeprefix("labrt.")
    if not isinstance(real, ModuleType):
        name = f"{real.__module__.rpartition('.')[2]}.{name}"
    man = tuple(dict.fromkeys(f"{page}({number})" for page, number in _MAN_PAGE.findall(doc)))
    shown = os.path.relpath(file, top) if file.startswith(top + os.sep) else file
    return Source(name, shown, max(line, 1), textwrap.dedent("".join(lines)), doc.partition("\n")[0], man)
