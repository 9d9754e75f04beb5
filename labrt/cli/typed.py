"""Options as one types them: each declared once, and read in two ways.

    one("-m", "--memory", value="BYTES", say="…")        an Option: a row of a table, nothing is imported for it
    read(options, ("image",), arguments)                 what was typed, by field; None: not plain, ask click
    parameters.declare(options)                          the same for click

click reads everything, helps, completes, and says what is wrong. But it takes 25 ms to come up, a quarter of a `labrt
run` as typed, and what most people type most of the time is plain. So that is read here, by the rules of docker and
getopt_long(3), and all else, mistakes above all, is left to click. A test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Option(Record):
    """One option. `value` is what the help calls its value, "" for a flag, which has none.

    `many`: may be given several times, and is a tuple. `kind` makes of the text what is wanted; `choices` are the only
    values there are. `complete` names the function of parameters.py that completes it.
    """

    flags: tuple[str, ...]
    say: str
    value: str = ""
    many: bool = False
    kind: type = str
    choices: tuple[str, ...] = ()
    any_case: bool = False  # of the choices
    default: Any = None
    show_default: bool = False
    name: str = ""  # of the field, where it is not that of the long flag
    complete: str = ""

    @property
    def field(self) -> str:
        """The name under which a command gets it."""
        return self.name or self.flags[-1].lstrip("-").replace("-", "_")

    @property
    def is_flag(self) -> bool:
        """Whether it has no value."""
        return not self.value and not self.choices

    @property
    def absent(self) -> Any:
        """What it is when it is not given."""
        return () if self.many else False if self.is_flag else self.default


def one(*flags: str, value: str = "", say: str, **how: Any) -> Option:
    """Declare an option with a value."""
    return Option(flags, say, value, **how)


def flag(*flags: str, say: str, **how: Any) -> Option:
    """Declare one without."""
    return Option(flags, say, **how)


def many(*flags: str, value: str = "", say: str, **how: Any) -> Option:
    """Declare one that may be given several times."""
    return Option(flags, say, value, many=True, **how)


_BOOLS = {word: True for word in ("1", "t", "T", "TRUE", "true", "True")}
_BOOLS |= {word: False for word in ("0", "f", "F", "FALSE", "false", "False")}  # as docker takes them: `--rm=false`

DETACH_KEYS = one("--detach-keys", value="KEYS", default="",
                  say="The keys that leave it, and it goes on (not given: ctrl-p,ctrl-q)")  # fmt: skip
INTERACTIVE = (
    flag("-i", "--interactive", say="Let it have input, attached or not"),
    flag("-t", "--tty", say="Give it a terminal"),
)
PROCESS = (
    many("-e", "--env", value="NAME[=VALUE]", say="Set a variable, or hand on ours"),
    many("--env-file", value="FILE", say="Read variables, one on each line"),
    one("-w", "--workdir", value="DIR", say="The directory that it starts in"),
    one("-u", "--user", value="USER", say="Whom to run it as: a name or a number, then perhaps :GROUP"),
)


def read(options: Sequence[Option], places: Sequence[str], arguments: Sequence[str]) -> dict[str, Any] | None:
    """Read options, then the arguments `places` and, as `words`, the rest, whatever that looks like.

    None when anything is not plain: an unknown option, a value that is missing or that cannot be, too few arguments.
    """
    by_flag = {flag: option for option in options for flag in option.flags}
    given: dict[str, Any] = {option.field: option.absent for option in options}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        typed = rest.pop(0)
        if typed == "--":
            break
        if not (_long if typed.startswith("--") else _short)(typed, rest, by_flag, given):
            return None
    if len(rest) < len(places):
        return None
    named = dict(zip(places, rest, strict=False))
    return {**given, **named, "words": tuple(rest[len(places) :])}


def _long(typed: str, rest: list[str], by_flag: Mapping[str, Option], given: dict[str, Any]) -> bool:
    name, equals, value = typed.partition("=")
    option = by_flag.get(name)
    if option is not None and option.is_flag and equals and value in _BOOLS:
        given[option.field] = _BOOLS[value]
        return True
    if option is None or (option.is_flag and equals):
        return False
    return _take(option, [value] if equals else rest, given)


def _short(typed: str, rest: list[str], by_flag: Mapping[str, Option], given: dict[str, Any]) -> bool:
    """Read one or more flags, as in -it; the last may be an option with its value in the same word, as in -m64m."""
    for place, letter in enumerate(typed[1:], 2):
        option = by_flag.get(f"-{letter}")
        if option is None:
            return False
        if not option.is_flag:
            return _take(option, [typed[place:]] if typed[place:] else rest, given)
        _take(option, rest, given)
    return True


def _take(option: Option, rest: list[str], given: dict[str, Any]) -> bool:
    """Note the option, with the first of `rest` if it has a value. False when that is missing or cannot be."""
    if option.is_flag:
        given[option.field] = True
        return True
    if not rest or (option.choices and rest[0] not in option.choices):
        return False
    try:
        value = _BOOLS[rest.pop(0)] if option.kind is bool else option.kind(rest.pop(0))
    except (ValueError, KeyError):
        return False
    given[option.field] = (*given[option.field], value) if option.many else value
    return True
