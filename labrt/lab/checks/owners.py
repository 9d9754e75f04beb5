"""Notebook 07: who a container's users are outside; asked of files that they have made."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from labrt.errors import LabrtError
from labrt.lab.checks import attempt, verdict
from labrt.lab.checks.verdict import Check
from labrt.linux import process
from labrt.linux.userns import IdMap

BASE, ME, COUNT = 200000, 1000, 2000
# An id inside, and whose file it must be outside.
WANTED = {0: BASE, 33: BASE + 33, ME - 1: BASE + ME - 1, ME: ME, ME + 1: BASE + ME + 1, COUNT - 1: BASE + COUNT - 1}
EXPECTED = ", ".join(f"{inside} is {outside}" for inside, outside in WANTED.items())
UNWRITTEN = (
    "each line is (first id inside, first id outside, how many): one line for each stretch that goes on evenly",
    "three stretches: below 1000, 1000 itself, above it",
    "[(0, 200000, 1000), (1000, 1000, 1), (1001, …, …)]",
)


class Seen(NamedTuple):
    """Who owns, outside, the files that each id has made; None where nobody can be that id inside."""

    owners: dict[int, int | None]
    refused: str


def maps(id_map: Callable[[], Sequence[Any]]) -> Check:
    """Judge `id_map()`: the lines of a uid_map. A child with these maps makes a file as each of six users."""
    tried = attempt.run(lambda: _observe(id_map))
    if tried.problem:
        return verdict.not_yet("id_map", tried.problem, EXPECTED, tried.hints(UNWRITTEN))
    seen: Seen = tried.value
    saw = ", ".join(f"{inside} is {'nobody' if o is None else o}" for inside, o in seen.owners.items())
    saw = seen.refused or saw
    return verdict.judged("id_map", saw, EXPECTED, _hints(seen))


def _observe(id_map: Callable[[], Sequence[Any]]) -> Seen:
    lines = [IdMap(*line) for line in id_map()]
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        here = os.open(place, os.O_PATH | os.O_DIRECTORY)  # the way there may be closed to strangers
        try:
            owners = {inside: _owner(lines, here, inside) for inside in WANTED}
        except (LabrtError, OSError) as error:
            return Seen({}, f"the kernel took no such maps: {getattr(error, 'message', error)}")
        finally:
            os.close(here)
    return Seen(owners, "")


def _owner(lines: list[IdMap], here: int, inside: int) -> int | None:
    """Let user `inside` make a file in an open directory, and ask outside whose it is."""
    name = str(inside)

    def make() -> bool:
        try:
            os.setresuid(inside, inside, inside)
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
        except OSError:
            return False
        return True

    made = process.run_in_child(make, namespaces="user", maps=(lines, [IdMap(0, BASE, COUNT)]))
    return os.stat(name, dir_fd=here).st_uid if made else None


def _hints(seen: Seen) -> tuple[str, ...]:
    owners = seen.owners
    if seen.refused:
        return (
            seen.refused,
            "no id may be mapped twice, on either side: do two of your stretches overlap?",
            "the third begins at 1001 inside and 201001 outside, and is 999 long",
        )
    if owners[0] == 0:
        return (
            "root inside is root outside: whoever breaks out owns the machine",
            "the middle number is who one is outside",
            UNWRITTEN[2],
        )
    if owners[0] is None:
        return (
            "nobody can be root inside: no line maps 0. Which of the three numbers is the inside?",
            "(first inside, first outside, how many)",
            UNWRITTEN[2],
        )
    if owners[ME] != ME:
        return (
            f"files of user {ME} inside are {owners[ME] or 'nobody'}'s outside: your own home would be a stranger's",
            f"{ME} wants a line of its own, of length 1, between the two others",
            f"(0, {BASE}, {ME}), ({ME}, {ME}, 1), …",
        )
    if owners != WANTED:
        wrong = next(inside for inside in WANTED if owners[inside] != WANTED[inside])
        return (
            f"user {wrong} is {owners[wrong] or 'nobody'} outside, and should be {WANTED[wrong]}",
            f"the ids of the container are 0 to {COUNT - 1}; count the last stretch again",
            f"({ME + 1}, {BASE + ME + 1}, {COUNT - ME - 1})",
        )
    return ()
