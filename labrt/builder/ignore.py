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
    expression: re.Pattern[str]
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
    return _compile(pattern).fullmatch(name) is not None


@functools.lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    expression, at = "", 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest.startswith("**/"):
            expression, at = expression + "(?:.*/)?", at + 3
        elif rest.startswith("**"):
            expression, at = expression + ".*", at + 2
        elif rest[0] in "*?":
            expression, at = expression + ("[^/]*" if rest[0] == "*" else "[^/]"), at + 1
        elif rest[0] == "[" and (match := re.match(r"\[(\^?)((?:\\.|[^\]\\])+)\]", rest, re.DOTALL)):
            inner = re.sub(r"\\(.)", r"\1", match[2]).replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
            expression, at = expression + f"[{match[1]}{inner}]", at + match.end()
        elif rest[0] == "\\" and len(rest) > 1:
            expression, at = expression + re.escape(rest[1]), at + 2
        else:
            expression, at = expression + re.escape(rest[0]), at + 1
    try:
        return re.compile(expression.replace("(?:.*/)?(?:.*/)?", "(?:.*/)?"), re.DOTALL)
    except re.error as error:
        raise InvalidInput(f"{pattern!r:.200} is no pattern: {error}", remedy="it is made of * ? [a-c] **") from None
