r"""Words of a Dockerfile: quotes taken away, variables put in.

    expand('"$A"/x', {"A": "1"})             '1/x'
    split("$PORTS 443", {"PORTS": "80 81"})    ['80', '81', '443']
    cut('A="b c" D=e')                       ['A="b c"', 'D=e'], nothing taken away yet

    $A ${A}                 its value; nothing if it has none
    ${A:-w} ${A:+w} ${A:?w} w if A is unset or empty; w if it is not; an error. Without the colon: only if unset
    ${A#p} ${A##p}          without the shortest, the longest beginning that the pattern p fits; % and %%: ending
    ${A/p/w} ${A//p/w}      w in place of the first, of every part that p fits

As in sh(1), and yet none: nothing is run. In '…' nothing is special, in "…" the dollar and the escape are, which is \
unless the file's `# escape=` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from labrt.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANKS = " \t\n\r"
_DEEPEST = 50  # of ${A:-${B:-…}}: Python's own stack has an end, too
_LONGEST = 1 << 20  # characters: ENV A=$A$A, thirty times over, would be a gigabyte


def expand(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> str:
    """Return one word: `text` without its quotes, with variables in their places. Raises InvalidInput."""
    return "".join(piece for piece, _ in _Lexer(text, variables, escape).pieces())


def split(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """Return the words: cut at blanks outside of quotes, those in the values of variables included."""
    words: list[str] = []
    begun = False
    for piece, quoted in _Lexer(text, variables, escape).pieces():
        parts = [piece] if quoted else re.split(f"[{_BLANKS}]+", piece)
        for number, part in enumerate(parts):
            begun = begun and number == 0
            if begun:
                words[-1] += part
            elif part or quoted:
                words.append(part)
                begun = True
    return words


def cut(text: str, *, escape: str = "\\") -> list[str]:
    """Cut at blanks outside of quotes, and leave quotes and all else as they are."""
    words: list[str] = []
    word, quote, at = "", "", 0
    while at < len(text):
        letter = text[at]
        if letter == escape and quote != "'" and at + 1 < len(text):
            word, at = word + text[at : at + 2], at + 2
            continue
        if not quote and letter in _BLANKS:
            words += [word] if word else []
            word = ""
        else:
            word += letter
            if letter == quote:
                quote = ""
            elif not quote and letter in "'\"":
                quote = letter
        at += 1
    return [*words, *([word] if word else [])]


class _Lexer:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str) -> None:
        self.text, self.variables, self.escape = text, variables, escape
        self.at = 0
        self.depth = 0

    def pieces(self, until: str = "") -> list[tuple[str, bool]]:
        """Read to the end, or to one of the letters `until`; each piece with whether it was quoted."""
        found: list[tuple[str, bool]] = []
        size = 0
        while self.at < len(self.text) and not (until and self.text[self.at] in until):
            letter = self.text[self.at]
            if letter == "'":
                found.append((self._single(), True))
            elif letter == '"':
                found.append((self._double(), True))
            elif letter == "$":
                found.append((self._dollar(), False))
            elif letter == self.escape and self.at + 1 < len(self.text):
                found.append((self.text[self.at + 1], True))
                self.at += 2
            else:
                found.append((letter, False))
                self.at += 1
            size += len(found[-1][0])
            _check(size)
        return found

    def _single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise InvalidInput("a ' without its second", remedy="close the quotes, or escape it")
        inner, self.at = self.text[self.at + 1 : end], end + 1
        return inner

    def _double(self) -> str:
        self.at += 1
        inner = ""
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter == '"':
                self.at += 1
                return inner
            if letter == "$":
                inner += self._dollar()
                _check(len(inner))
            elif letter == self.escape and self.text[self.at + 1 : self.at + 2] in ('"', "$", self.escape):
                inner, self.at = inner + self.text[self.at + 1], self.at + 2
            else:
                inner, self.at = inner + letter, self.at + 1
        raise InvalidInput('a " without its second', remedy="close the quotes, or escape it")

    def _dollar(self) -> str:
        self.at += 1
        if self.text[self.at : self.at + 1] == "{":
            self.at += 1
            return self._braces()
        match = _NAME.match(self.text, self.at)
        if match:
            self.at = match.end()
            return self.variables.get(match[0], "")
        special = self.text[self.at : self.at + 1]
        if special and special in "@*#?-$!0123456789":  # sh's own, of which a Dockerfile has none
            self.at += 1
            return ""
        return "$"

    def _braces(self) -> str:
        match = _NAME.match(self.text, self.at)
        if not match:
            raise InvalidInput(f"${{{self.text[self.at :]:.40}: no name of a variable", remedy="${NAME}")
        self.at, value = match.end(), self.variables.get(match[0])
        for operator in ("}", ":-", ":+", ":?", "-", "+", "?", "##", "#", "%%", "%", "//", "/"):
            if self.text.startswith(operator, self.at):
                self.at += len(operator)
                return (value or "") if operator == "}" else self._operate(match[0], value, operator)
        raise InvalidInput(f"${{{match[0]}{self.text[self.at :]:.40}: not understood", remedy="${NAME:-word}, …")

    def _inner(self, until: str = "}") -> list[tuple[str, bool]]:
        """Read what stands within ${…}, up to where it ends."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise InvalidInput(f"variables nested deeper than {_DEEPEST}", remedy="do not trust who wrote it")
        pieces = self.pieces(until)
        self.depth -= 1
        if self.at >= len(self.text):
            raise InvalidInput("a ${ without its }", remedy="close it")
        return pieces

    def _word(self) -> str:
        return "".join(piece for piece, _ in self._inner())

    def _operate(self, name: str, value: str | None, operator: str) -> str:
        if operator[0] in "#%/":
            return self._edited(value or "", operator)
        word = self._word()
        self.at += 1
        missing = value is None or (operator[0] == ":" and not value)
        kind = operator[-1]
        if kind == "-":
            return word if missing else value or ""
        if kind == "+":
            return "" if missing else word
        if missing:
            raise InvalidInput(f"{name}: {word or 'it is not set'}", remedy=f"--build-arg {name}=…, or ENV")
        return value or ""

    def _edited(self, value: str, operator: str) -> str:
        parts, other = self._pattern("/}" if operator[0] == "/" else "}"), ""
        if operator[0] == "/" and self.text[self.at] == "/":
            self.at += 1
            other = self._word()
        self.at += 1
        return _edit(value, operator, parts, other)

    def _pattern(self, until: str) -> list[str]:
        """Read a pattern: "*", or else a regular expression of one letter, each. What is quoted stands for itself."""
        parts: list[str] = []
        for piece, quoted in self._inner(until):
            wild = {} if quoted else {"*": "*", "?": "."}
            parts += [wild[piece]] if piece in wild else map(re.escape, piece)
        return parts


def _check(size: int) -> None:
    """Raise InvalidInput for a word that grows too long: before it is made, or it would take all memory."""
    if size > _LONGEST:
        raise InvalidInput(f"a word of more than {_LONGEST} characters", remedy="do not trust who wrote it")


def _edit(value: str, operator: str, parts: Sequence[str], other: str) -> str:
    """Carry out #, ##, %, %%, / and //. An ending is the beginning of what is read from behind."""
    if operator[0] == "/":
        whole = _expression(parts, longest=True)
        _check(sum(len(other) for _ in whole.finditer(value)) if operator == "//" else 0)
        return whole.sub(lambda _: other, value, count=0 if operator == "//" else 1)
    way = 1 if operator[0] == "#" else -1
    match = _expression(parts[::way], longest=len(operator) == 2).match(value[::way])
    return value[::way][match.end() :][::way] if match else value


def _expression(parts: Sequence[str], *, longest: bool) -> re.Pattern[str]:
    """Make one expression of a pattern's parts, for the longest or the shortest text that it fits.

    What comes after a star is taken where it first fits, (?>…), for good: nothing is tried twice, whoever wrote it.
    Only the last star decides about the length.
    """
    chunks = [""]
    for part in parts:
        if part == "*":
            chunks.append("")
        else:
            chunks[-1] += part
    first, *others = chunks
    after = [f"(?>.*?{chunk})" for chunk in others]
    if after and longest:
        after[-1] = f".*{others[-1]}"
    return re.compile(first + "".join(after), re.DOTALL)
