r"""A Dockerfile, read: its lines put together, its instructions told apart. Nothing is expanded or done here.

    for instruction in parse(text, "Dockerfile"): instruction.keyword, instruction.flags, instruction.rest
    RUN --mount=type=cache,target=/c make \      keyword "RUN", flags (("mount", "type=cache,target=/c"),),
        all                                      rest "make     all", line 1
    CMD ["sh", "-c", "id"]                       json ("sh", "-c", "id"); None where it is no such list
    COPY <<END /motd                             heredocs (Heredoc("END", "hello\n", …),)

Above all else may stand `# syntax=…` and `# check=…`, which are for other builders, and `# escape=` and then \ or `.
A comment between two halves of a line is no part of it. Reference: docs.docker.com, "Dockerfile reference".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from labrt.builder import words
from labrt.errors import InvalidInput

KEYWORDS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
FLAGS = {
    "ADD": ("chown", "chmod", "checksum", "exclude", "link", "keep-git-dir", "unpack"),
    "COPY": ("chown", "chmod", "from", "exclude", "link", "parents"),
    "FROM": ("platform",),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
    "RUN": ("mount", "network", "security"),
}
SWITCHES = ("link", "parents", "keep-git-dir", "unpack")  # true, where nothing is said
_REPEATED = ("mount", "exclude")
_MAY_BE_EMPTY = ("CMD", "ENTRYPOINT")
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.*?)\s*")
HEREDOC = re.compile(r"(\d*)<<(-?)(['\"]?)([^\s<>|&;()'\"]+)\3")
LARGEST = 4 << 20  # characters of a Dockerfile


class Heredoc(NamedTuple):
    """Text that follows an instruction. `literal`: its name was quoted, and no variable means anything in it."""

    name: str
    text: str
    literal: bool
    strip: bool

    @property
    def content(self) -> str:
        """The text, without the tabs at its lines' beginnings if <<- took them away."""
        return "".join(line.lstrip("\t") for line in self.text.splitlines(True)) if self.strip else self.text


class Instruction(NamedTuple):
    """One instruction. `line` counts from 1; `text` is all of it on one line, for people and for caches."""

    keyword: str
    flags: tuple[tuple[str, str], ...]
    rest: str
    json: tuple[str, ...] | None
    heredocs: tuple[Heredoc, ...]
    line: int
    text: str
    file: str = "Dockerfile"
    escape: str = "\\"

    def flag(self, name: str, default: str = "") -> str:
        """Return what a flag says, the last time that it is given."""
        return next((value for key, value in reversed(self.flags) if key == name), default)

    def flag_list(self, name: str) -> list[str]:
        """Return what a flag says, each time that it is given."""
        return [value for key, value in self.flags if key == name]

    def switch(self, name: str) -> bool | None:
        """Return whether a flag that is on or off is on; None if it is not there. Raises InvalidInput."""
        value = self.flag(name, "absent").lower()
        if value not in ("true", "false", "1", "0", "absent"):
            self.fail(f"--{name}={value} is neither true nor false")
        return None if value == "absent" else value in ("true", "1")

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    def fail(self, why: str, remedy: str = "") -> NoReturn:
        """Raise InvalidInput, which says where and shows the line."""
        raise InvalidInput(f"{self.where}: {why}: `{self.text:.200}`", remedy=remedy)


def parse(text: str, file: str = "Dockerfile") -> list[Instruction]:
    """Read a whole file. Raises InvalidInput, which names file and line."""
    if len(text) > LARGEST or "\0" in text:
        raise InvalidInput(f"{file} is no text of at most {LARGEST} characters", remedy="-f names another file")
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    escape = _directives(lines, file).get("escape", "\\")
    if escape not in ("\\", "`"):
        raise InvalidInput(f"{file}: # escape={escape}", remedy="\\ or `")
    return [*_instructions(lines, escape, file)]


def parse_one(text: str, file: str = "--change") -> Instruction:
    """Read one instruction by itself, as `commit -c` and ONBUILD have it."""
    found = parse(text, file)
    if len(found) != 1:
        raise InvalidInput(f"{text!r:.200} is {len(found)} instructions", remedy="one at a time")
    return found[0]


def _directives(lines: Sequence[str], file: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.fullmatch(line.strip())
        if not match or match[1].lower() not in ("syntax", "escape", "check"):
            break
        if match[1].lower() in found:
            raise InvalidInput(f"{file}:{number}: a second # {match[1].lower()}=", remedy="leave one of them out")
        found[match[1].lower()] = match[2]
    return found


def _instructions(lines: Sequence[str], escape: str, file: str) -> Iterator[Instruction]:
    at, goes_on = 0, re.compile(f"{re.escape(escape)}[ \t]*$")
    while at < len(lines):
        first, whole, more = at, "", True
        while more and at < len(lines):
            line, at = lines[at], at + 1
            if line.lstrip().startswith("#") or (whole and not line.strip()):
                first = first if whole.strip() else at
                continue  # between the two halves of a line these mean nothing
            more = goes_on.search(line) is not None
            whole += goes_on.sub("", line) if more else line
            first = first if whole.strip() else at
        if whole.strip():
            instruction = _instruction(whole.strip(), first + 1, escape, file)
            heredocs, at = _heredocs(instruction, lines, at)
            yield instruction._replace(heredocs=heredocs)


def _instruction(whole: str, line: int, escape: str, file: str) -> Instruction:
    keyword = re.split("[ \t]", whole, maxsplit=1)[0]
    bare = Instruction(keyword.upper(), (), whole[len(keyword) :].strip(), None, (), line, whole, file, escape)
    if bare.keyword not in KEYWORDS:
        import difflib

        close = difflib.get_close_matches(bare.keyword, KEYWORDS, 1)
        bare.fail(f"no instruction is called {keyword[:40]}", f"did you mean {close[0]}?" if close else "")
    flags, rest = _flags(bare)
    if not rest and bare.keyword not in _MAY_BE_EMPTY:
        bare.fail(f"{bare.keyword} of nothing")
    return bare._replace(flags=flags, rest=rest, json=_json(rest))


def _flags(bare: Instruction) -> tuple[tuple[tuple[str, str], ...], str]:
    allowed, rest = FLAGS.get(bare.keyword, ()), bare.rest
    found: list[tuple[str, str]] = []
    if not allowed:
        return (), rest
    while rest.startswith("--"):
        word = words.cut(rest, escape=bare.escape)[0]
        rest = rest[len(word) :].lstrip()
        if word == "--":
            break
        name, equals, value = word[2:].partition("=")
        if name not in allowed:
            bare.fail(f"{bare.keyword} has no flag --{name}", f"it has {', '.join(f'--{one}' for one in allowed)}")
        if not equals and name not in SWITCHES:
            bare.fail(f"--{name} without a value", f"--{name}=…")
        if name not in _REPEATED and name in dict(found):
            bare.fail(f"--{name} twice")
        found.append((name, value if equals else "true"))
    return tuple(found), rest


def _json(rest: str) -> tuple[str, ...] | None:
    """Read ["a", "b"]; None for what is no such list, and so is words for a shell."""
    if rest.startswith("["):
        try:
            value = json.loads(rest)
        except ValueError:
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
    return None


def _heredocs(instruction: Instruction, lines: Sequence[str], at: int) -> tuple[tuple[Heredoc, ...], int]:
    """Read the texts that an instruction announces from the lines that follow it; return them and where one stands."""
    if instruction.keyword not in _WITH_HEREDOCS or instruction.json is not None or "<<" not in instruction.rest:
        return (), at
    found = []
    for word in words.cut(instruction.rest, escape=instruction.escape):
        match = HEREDOC.fullmatch(word)
        if match:
            text, at = _heredoc(instruction, lines, at, match)
            found.append(Heredoc(match[4], text, bool(match[3]), bool(match[2])))
    return tuple(found), at


def _heredoc(instruction: Instruction, lines: Sequence[str], at: int, match: re.Match[str]) -> tuple[str, int]:
    text = ""
    while at < len(lines):
        line, at = lines[at], at + 1
        if (line.lstrip("\t") if match[2] else line) == match[4]:
            return text, at
        text += f"{line}\n"
    instruction.fail(f"the text of <<{match[4]} has no end", f"a line with {match[4]} alone")
