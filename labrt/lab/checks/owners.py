"""Notebook 07: who a container's users are outside; asked of files that they have made."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from labrt.errors import LabrtError
from labrt.lab import given
from labrt.lab.checks import attempt, verdict
from labrt.lab.checks.verdict import Check
from labrt.linux import process
from labrt.linux.userns import IdMap

COUNT = 2000
LINE = "(first id inside, first id outside, how many)"


class Wanted(NamedTuple):
    """Whose map it is: user `me` stays, all others move up by `base`."""

    me: int
    base: int

    @property
    def owners(self) -> dict[int, int]:
        """An id inside, and whose file it must be outside."""
        strangers = (0, 33, self.me - 1, self.me + 1, COUNT - 1)
        return dict(sorted([(self.me, self.me), *((inside, self.base + inside) for inside in strangers)]))

    @property
    def unwritten(self) -> tuple[str, str, str]:
        """Hints for who has not begun."""
        return (
            f"each line is {LINE}: one line for each stretch that goes on evenly",
            f"three stretches: below {self.me}, {self.me} itself, above it",
            f"[(0, {self.base}, {self.me}), ({self.me}, {self.me}, 1), ({self.me + 1}, …, …)]",
        )


class Seen(NamedTuple):
    """Who owns, outside, the files that each id has made; None where nobody can be that id inside."""

    owners: dict[int, int | None]
    refused: str


def maps(id_map: Callable[[], Sequence[Any]]) -> Check:
    """Judge `id_map()`: the lines of a uid_map. A child with these maps makes a file as each of six users."""
    wanted = Wanted(*given.id_map())
    expected = ", ".join(f"{inside} is {outside}" for inside, outside in wanted.owners.items())
    tried = attempt.run(lambda: _observe(id_map, wanted))
    if tried.problem:
        return verdict.not_yet("id_map", tried.problem, expected, tried.hints(wanted.unwritten))
    seen: Seen = tried.value
    saw = ", ".join(f"{inside} is {'nobody' if o is None else o}" for inside, o in seen.owners.items())
    saw = seen.refused or saw
    return verdict.judged("id_map", saw, expected, _hints(seen, wanted))


def _observe(id_map: Callable[[], Sequence[Any]], wanted: Wanted) -> Seen:
    lines = [IdMap(*line) for line in id_map()]
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        here = os.open(place, os.O_PATH | os.O_DIRECTORY)  # the way there may be closed to strangers
        try:
            owners = {inside: _owner(lines, here, inside, wanted.base) for inside in wanted.owners}
        except (LabrtError, OSError) as error:
            return Seen({}, f"the kernel took no such maps: {getattr(error, 'message', error)}")
        finally:
            os.close(here)
    return Seen(owners, "")


def _owner(lines: list[IdMap], here: int, inside: int, base: int) -> int | None:
    """Let user `inside` make a file in an open directory, and ask outside whose it is."""
    name = str(inside)

    def make() -> bool:
        try:
            os.setresuid(inside, inside, inside)
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
        except OSError:
            return False
        return True

    made = process.run_in_child(make, namespaces="user", maps=(lines, [IdMap(0, base, COUNT)]))
    return os.stat(name, dir_fd=here).st_uid if made else None


def _hints(seen: Seen, wanted: Wanted) -> tuple[str, ...]:
    owners, (me, base), plainest = seen.owners, wanted, wanted.unwritten[2]
    if seen.refused:
        return (
            seen.refused,
            "no id may be mapped twice, on either side: do two of your stretches overlap?",
            f"the third begins at {me + 1} inside and {base + me + 1} outside, and is {COUNT - me - 1} long",
        )
    if owners[0] == 0:
        return (
            "root inside is root outside: whoever breaks out owns the machine",
            "the middle number is who one is outside",
            plainest,
        )
    if owners[0] is None:
        return (
            "nobody can be root inside: no line maps 0. Which of the three numbers is the inside?",
            "(first inside, first outside, how many)",
            plainest,
        )
    if owners[me] != me:
        return (
            f"files of user {me} inside are {owners[me] or 'nobody'}'s outside: your own home would be a stranger's",
            f"{me} wants a line of its own, of length 1, between the two others",
            f"(0, {base}, {me}), ({me}, {me}, 1), …",
        )
    if owners != wanted.owners:
        wrong = next(inside for inside, outside in wanted.owners.items() if owners[inside] != outside)
        return (
            f"user {wrong} is {owners[wrong] or 'nobody'} outside, and should be {wanted.owners[wrong]}",
            f"the ids of the container are 0 to {COUNT - 1}; count the last stretch again",
            f"({me + 1}, {base + me + 1}, {COUNT - me - 1})",
        )
    return ()
