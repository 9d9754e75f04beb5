r"""Patterns for paths: those of .dockerignore, and the wildcards of COPY.

    patterns = Patterns.parse("*.log\n!keep.log\n")
    patterns.excludes("a.log")              True; "keep.log": False, for the last line that fits has the word
    fits("*.c", "a.c")                      one wildcard, as COPY has it

    *  any letters but /        ?  one of them        [a-c] [^a]  one of these, none of them        \x  x itself
    ** any number of directories, none included

A path is excluded, too, when a directory above it is. Paths are relative to the context, without a slash in front.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterable
from typing import NamedTuple

from labrt.errors import InvalidInput

WILD = re.compile(r"[*?\[\\]")


class _Pattern(NamedTuple):
    expression: _Glob
    again: bool  # "!": what fits is not excluded after all


class Patterns:
    """Lines of a .dockerignore, in order."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.lines = tuple(lines)
        self._patterns = [*map(_pattern, self.lines)]

    @classmethod
    def parse(cls, text: str) -> Patterns:
        """Read a file: empty lines and those that begin with # say nothing."""
        lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
        cleaned = (_clean(line) for line in lines if line and not line.startswith("#"))
        return cls(line for line in cleaned if line)

    def excludes(self, path: str) -> bool:
        """Whether this path is left out."""
        parts, excluded = path.split("/"), False
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        for pattern in self._patterns:
            if pattern.again == excluded and any(map(pattern.expression.fullmatch, above)):
                excluded = not pattern.again
        return excluded

    @property
    def has_exceptions(self) -> bool:
        """Whether something in an excluded directory may be wanted after all."""
        return any(pattern.again for pattern in self._patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def __repr__(self) -> str:
        return f"<Patterns {' '.join(self.lines)}>"


def _clean(line: str) -> str:
    mark = "!" if line.startswith("!") else ""
    path = posixpath.normpath(line[len(mark) :].strip()).lstrip("/")
    return f"{mark}{path}" if path not in ("", ".") else ""


def _pattern(line: str) -> _Pattern:
    again = line.startswith("!")
    return _Pattern(_compile(line[again:]), again)


def fits(pattern: str, name: str) -> bool:
    """Whether a wildcard fits a name. Raises InvalidInput for one that is none."""
    return _compile(pattern).fullmatch(name)


@functools.lru_cache(maxsize=1024)
def _compile(pattern: str) -> _Glob:
    return _Glob(pattern)


class _Glob:
    """A pattern, part by part. Whatever it is, to ask takes at most (its parts) x (the path's parts) steps."""

    def __init__(self, pattern: str) -> None:
        # Beside other letters ** goes over a slash, too: a**b is a*b, or a*, any directories, and *b.
        parts: list[str] = []
        for part in re.sub(r"\*{3,}", "**", pattern).split("/"):
            first, *others = part.split("**") if part != "**" else [part]
            parts.append(first + "*" if others else first)
            for number, other in enumerate(others, 1):
                parts += ["**", f"*{other}{'*' if number < len(others) else ''}"]
        self.forms = [self._parts(parts)]
        if "**" in pattern and len(parts) > pattern.count("/") + 1:
            self.forms.append(self._parts(pattern.replace("**", "*").split("/")))

    @staticmethod
    def _parts(parts: Iterable[str]) -> list[re.Pattern[str] | None]:
        return [None if part == "**" else re.compile(_part(part), re.DOTALL) for part in parts]

    def fullmatch(self, path: str) -> bool:
        """Whether it fits the whole path."""
        names = path.split("/")
        return any(self._fits(form, names) for form in self.forms)

    @staticmethod
    def _fits(form: list[re.Pattern[str] | None], names: list[str]) -> bool:
        reached = {0}  # how many names the parts so far can have taken
        for number, part in enumerate(form):
            if part is None:
                last = number == len(form) - 1
                reached = set(range(min(reached, default=len(names) + 1) + (last and number > 0), len(names) + 1))
            else:
                reached = {at + 1 for at in reached if at < len(names) and part.fullmatch(names[at])}
        return len(names) in reached


def _part(part: str) -> str:
    """Translate one part: what comes after a star is taken where it first fits (?>…), so nothing is tried twice."""
    chunks, at = [""], 0
    while at < len(part):
        rest = part[at:]
        if rest[0] == "*":
            chunks, at = [*chunks, ""], at + 1
        elif rest[0] == "?":
            chunks[-1], at = chunks[-1] + ".", at + 1
        elif match := re.match(r"\[(\^?)((?:\\.|[^\]\\])+)\]", rest, re.DOTALL):
            inner = re.sub(r"\\(.)", r"\1", match[2]).replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
            chunks[-1], at = chunks[-1] + f"[{match[1]}{inner}]", at + match.end()
        elif rest[0] == "\\" and len(rest) > 1:
            chunks[-1], at = chunks[-1] + re.escape(rest[1]), at + 2
        else:
            chunks[-1], at = chunks[-1] + re.escape(rest[0]), at + 1
    first, *others = chunks
    middle = "".join(f"(?>.*?{chunk})" for chunk in others[:-1] if chunk)
    expression = first + middle + (f".*{others[-1]}" if others else "")
    try:
        re.compile(expression)
    except re.error as error:
        raise InvalidInput(f"{part!r:.200} is no pattern: {error}", remedy="it is made of * ? [a-c] **") from None
    return expression
