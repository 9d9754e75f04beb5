"""Options as runc's callers type them: by the rules of Go's flag package, which are not getopt's.

    parse([("--bundle", "-b"), …], ["-b", "/x", "id"])     → ({"bundle": "/x"}, ["id"])

One dash or two, `--name value` or `--name=value`; a yes-or-no option takes its value only with `=`; letters cannot be
joined (`-td`); options end at the first word that is none, so that `exec ID ls -l` hands `-l` to ls; and at `--`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Usage(Exception):
    """What was typed cannot be."""


class Option:
    """One option: its names, how its value is read (flag, text, number, list), and its line of help."""

    def __init__(self, names: str, kind: str, help: str, default: Any = None) -> None:
        self.names = names.split(", ")
        self.kind = kind
        self.help = help
        self.default: Any = {"flag": False, "text": "", "list": []}.get(kind) if default is None else default

    @property
    def key(self) -> str:
        """Return its name in the result: of --pid-file, pid_file."""
        return self.names[0].lstrip("-").replace("-", "_")

    def read(self, value: str) -> Any:
        """Turn what was typed into a value."""
        if self.kind == "flag":
            known = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
            if value.lower() not in known:
                raise Usage(f"{self.names[0]}: {value!r} is neither true nor false")
            return known[value.lower()]
        if self.kind == "number":
            try:
                return int(value, 0)
            except ValueError:
                raise Usage(f"{self.names[0]}: {value!r} is no number") from None
        return value


def parse(options: Sequence[Option], words: list[str], *, mixed: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Read options; return their values by name, and the words that are left.

    `mixed`: options may also follow a word. runc has that nowhere; people type it.
    """
    known = {name.lstrip("-"): option for option in options for name in option.names}
    found: dict[str, Any] = {}
    for option in options:
        found[option.key] = list(option.default) if option.kind == "list" else option.default
    left: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            return found, left + queue
        if not word.startswith("-") or word == "-":
            left.append(word)
            if not mixed:
                return found, left + queue
            continue
        name, assigned, value = word.lstrip("-").partition("=")
        if name not in known:
            raise Usage(f"flag provided but not defined: -{name}")
        option = known[name]
        if not assigned:
            if option.kind == "flag":
                value = "true"
            elif not queue:
                raise Usage(f"flag needs an argument: -{name}")
            else:
                value = queue.pop(0)
        if option.kind == "list":
            found[option.key].append(value)
        else:
            found[option.key] = option.read(value)
    return found, left
