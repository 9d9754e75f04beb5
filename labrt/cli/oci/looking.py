"""state, list, ps, events, features, and the spec to begin with: those that print."""

from __future__ import annotations

import json
import os

from labrt.cli.oci.arguments import Usage
from labrt.errors import InvalidInput

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.cli.oci.log import Log

    Values = dict[str, Any]


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def state(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Print the state of one."""
    from labrt.runtime.oci import record

    _print_json(record.to_json(options["root"], record.read(options["root"], words[0])))
    return 0


def list_(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Print a table of all."""
    from labrt.runtime.oci import record

    _check_format(values["format"])
    records = record.listing(options["root"])
    if values["quiet"]:
        for one in records:
            print(one.id)
        return 0
    states = [record.to_json(options["root"], one) for one in records]
    if values["format"] == "json":
        print(json.dumps(states))
    else:
        names = ("id", "pid", "status", "bundle", "created", "owner")
        _print_table([[name.upper() for name in names], *([str(state[name]) for name in names] for state in states)])
    return 0


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _check_format(format: str) -> None:
    if format not in ("table", "json"):
        raise Usage(f"--format: {format!r} is neither table nor json")


def ps(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Print its processes."""
    from labrt.runtime.oci import lifecycle, record

    _check_format(values["format"])
    one = record.read(options["root"], words[0])
    cgroup = lifecycle.cgroup_of(one)
    pids = cgroup.procs if cgroup else []
    if values["format"] == "json":
        print(json.dumps(pids))
        return 0
    from labrt.engine import top

    head, lines = top.ps(words[1:] or ["-ef"], pids)
    print(head, *lines, sep="\n")
    return 0


def spec(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Write a config.json."""
    from labrt.runtime.oci import template

    path = os.path.join(values["bundle"], "config.json")
    try:
        with open(path, "x") as file:
            json.dump(template.config(rootless=values["rootless"]), file, indent="\t")
    except FileExistsError:
        raise InvalidInput(f"{path} exists already", remedy="move it away first") from None
    return 0


def features(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Print what we recognize."""
    from labrt.runtime.oci import features

    _print_json(features.features())
    return 0


def events(options: Values, values: Values, words: list[str], log: Log) -> int:
    """Print its statistics."""
    from labrt.runtime.oci import statistics

    every = statistics.seconds(values["interval"])
    for event in statistics.events(options["root"], words[0], every=None if values["stats"] else every):
        print(json.dumps(event), flush=True)
    return 0
