"""Who of a class has come how far: a learner's progress as one file, and the files of a class as one table.

    labrt lab export ada.json                  on the learner's machine
    labrt lab export --class DIR class.csv     on the instructor's: all *.json of a directory; or class.json

A table has a row for each learner and exercise that was tried. `numbers of`: another learner's numbers (given.py) that
stood in an attempt, which is how an answer that was handed on looks. `same as`: who passed with the same program,
comments and layout apart; of short ones that says little, and is not said. The files come from elsewhere: they are read
as data, and what a spreadsheet would take for a formula is written so that it does not.
"""

from __future__ import annotations

import ast
import csv
import glob
import io
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import labrt
from labrt.errors import InvalidInput, NotFound, file_error
from labrt.image import files
from labrt.lab import given, progress
from labrt.lab.progress import Record

FORMAT = "labrt progress 1"
LARGEST = 16 << 20  # bytes of a learner's file
LONG = 60  # nodes of a syntax tree: below, two people come upon the same program by themselves
COLUMNS = ("learner", "id", "exercise", "name", "attempts", "passed", "hints", "solution", "given", "numbers of",
           "same as")  # fmt: skip


class Entry(NamedTuple):
    """One learner, as the file says: who, and the record of each exercise that was tried."""

    name: str
    id: str
    records: Mapping[str, Record]

    def __str__(self) -> str:
        return self.name or self.id


class Class(NamedTuple):
    """What was gathered: the table's rows, and of each file that could not be read, why."""

    learners: Sequence[Entry]
    rows: Sequence[Mapping[str, Any]]
    unreadable: Mapping[str, str]


# One learner ----------------------------------------------------------------------------------------------------------


def export(path: str) -> int:
    """Write this learner's progress into a JSON file. Returns how many exercises are in it."""
    about = document()
    _write(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return len(about["exercises"])


def document() -> dict[str, Any]:
    """Return all that is known of this learner: who, and each exercise that was tried, with the functions' source."""
    from labrt.lab.exercise import EXERCISES

    who = given.learner()
    records = [record for number in sorted(EXERCISES) if (record := progress.load(number)) != Record(number)]
    return {
        "format": FORMAT,
        "labrt": labrt.__version__,
        "written": _when(time.time()),
        "learner": {"name": who.name, "id": who.id},
        "exercises": [{**asdict(record), "name": EXERCISES[record.number].name} for record in records],
    }


def _write(path: str, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        files.swap(path, text.encode())
    except OSError as error:
        raise file_error(path, error.errno or 0) from None


def _when(epoch: float | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)) if epoch else ""


# A class --------------------------------------------------------------------------------------------------------------


def gather(directory: str) -> Class:
    """Read all that a class has handed in. Of two files of one learner the newer counts. NotFound if there is none."""
    learners: dict[str, Entry] = {}
    unreadable: dict[str, str] = {}
    files = glob.glob(os.path.join(glob.escape(directory), "*.json"))
    for path in sorted(files, key=os.path.getmtime):
        try:
            entry = read(path)
        except InvalidInput as error:
            unreadable[path] = error.message
        else:
            learners[entry.id] = entry
    if not learners and not unreadable:
        raise NotFound(f"no *.json in {directory}", remedy="each learner makes one: labrt lab export NAME.json")
    every = sorted(learners.values(), key=lambda one: (str(one).casefold(), one.id))
    rows = [_row(entry, number, every) for entry in every for number in sorted(entry.records)]
    return Class(every, rows, unreadable)


def read(path: str) -> Entry:
    """Read one learner's file. InvalidInput when it is none, or not whole."""
    try:
        if os.path.getsize(path) > LARGEST:
            raise InvalidInput(f"{path} is no labrt progress: {os.path.getsize(path)} bytes")
        with open(path, encoding="utf-8") as stream:
            about = json.load(stream)
        if about["format"] != FORMAT:
            raise InvalidInput(f"{path} is of another format: {about['format']!r:.60}")
        records = [_record(one) for one in about["exercises"]]
        who = about["learner"]
        if not (isinstance(who["name"], str) and isinstance(who["id"], str)):
            raise TypeError("a name that is no text")
        return Entry(who["name"][: given.LONGEST], who["id"][:16], {record.number: record for record in records})
    except InvalidInput:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{path} is no labrt progress: {type(error).__name__}: {error}") from None


def _record(about: Mapping[str, Any]) -> Record:
    """Make a record of what a stranger's file says; each part must be of its kind."""
    known = asdict(Record(""))
    record = Record(**{key: value for key, value in about.items() if key in known})
    for key, value in known.items():
        wanted = float | int | None if key.endswith("_at") else type(value)
        if not isinstance(getattr(record, key), wanted):
            raise TypeError(f"{key} is a {type(getattr(record, key)).__name__}")
    if not all(isinstance(times, int) for times in record.told.values()):
        raise TypeError("told counts no hints")
    return record


def _row(entry: Entry, number: str, every: Iterable[Entry]) -> dict[str, Any]:
    from labrt.lab.exercise import EXERCISES

    record = entry.records[number]
    others = [(other, other.records[number]) for other in every if other.id != entry.id and number in other.records]
    return dict(zip(COLUMNS, (
        entry.name, entry.id, number, EXERCISES[number].name if number in EXERCISES else "", record.attempts,
        _when(record.passed_at), record.hints, _when(record.solution_at),
        " ".join(f"{key}={value}" for key, value in record.given.items()),
        ", ".join(str(other) for other, theirs in others if _borrowed(record, theirs)),
        ", ".join(str(other) for other, theirs in others if _same(record, theirs)),
    ), strict=True))  # fmt: skip


def _borrowed(record: Record, theirs: Record) -> bool:
    """Whether all that was asked of the other alone, and not of this one, stands in attempts of this one."""
    foreign = {str(value) for key, value in theirs.given.items() if value != record.given.get(key)}
    words = {word for literal in record.literals for word in (str(literal), *re.findall(r"[0-9]+", str(literal)))}
    return bool(foreign) and foreign <= words


def _same(record: Record, theirs: Record) -> bool:
    """Whether both passed with one program, that is too long for chance."""
    mine = _shape(record.source)
    return mine.count("(") >= LONG and mine == _shape(theirs.source)


def _shape(source: str) -> str:
    """Say what a program does, without its comments, its docstrings and its layout."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def write_class(gathered: Class, path: str) -> None:
    """Write a class's table: as CSV, or as JSON with the functions' source where the name ends in .json."""
    if path.endswith(".json"):
        learners = [{"name": one.name, "id": one.id, "exercises": [asdict(record) for record in one.records.values()]}
                    for one in gathered.learners]  # fmt: skip
        about = {"rows": gathered.rows, "learners": learners, "unreadable": gathered.unreadable}
        return _write(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows({key: _plain(value) for key, value in row.items()} for row in gathered.rows)
    return _write(path, text.getvalue())


def _plain(cell: Any) -> Any:
    """A spreadsheet calculates what begins like a formula: such a text gets an apostrophe before it."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
