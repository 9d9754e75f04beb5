"""`--filter KEY=VALUE`, as docker has it: of one key any of the values, of several keys each.

    wanted = filters.read(("status=exited", "label=team=a"), ("status", "label", "name"))
    filters.some(wanted, "status", "exited".__eq__)         True too where nothing is said of a status
    filters.has_labels({"team": "a"}, wanted)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from labrt.errors import InvalidInput

Filters = Mapping[str, Sequence[str]]


def read(texts: Sequence[str], known: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Sort what was typed by its keys. Raises InvalidInput for one without a value, or not among the `known`."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"--filter {text!r}: no value", remedy="write KEY=VALUE")
        if known is not None and name not in known:
            raise InvalidInput(f"--filter {text!r}: no such key", remedy=f"one of {', '.join(known)}")
        found.setdefault(name, []).append(value)
    return found


def some(wanted: Filters, name: str, test: Callable[[str], object]) -> bool:
    """Whether one of the values of this key passes, or none was given."""
    return name not in wanted or any(test(value) for value in wanted[name])


def has_labels(labels: Mapping[str, str], wanted: Filters) -> bool:
    """Whether all of these labels are there: "key" or "key=value"."""
    pairs = [text.partition("=") for text in wanted.get("label", ())]
    return all(key in labels and (not equals or labels[key] == value) for key, equals, value in pairs)
