"""What an exercise asks of this learner, and of no other: a hostname, a limit, a range of ids.

    lab.given("05")                     Hide(hostname='vault-heron-27'): the numbers of this learner's exercise 05
    lab.given.learner("Ada Lovelace")   say who this is: the same name gives the same numbers, on every machine
    lab.given.learner()                 who it is; nobody so far has numbers of chance, which stay, too

An answer that was handed on has the numbers of who wrote it: the check sees it, and roster.py shows whose they are. Who
it is, is kept beside the progress; the seed is made of the name: who loses a machine does not lose the numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import secrets
from collections.abc import Callable, Mapping
from typing import NamedTuple

from labrt import paths
from labrt.errors import InvalidInput, NotFound
from labrt.image import files

BIRDS = ("crane", "dove", "eagle", "egret", "finch", "heron", "ibis", "kite", "lark", "owl", "raven", "robin", "stork",
         "swan", "swift", "tern", "wren")  # fmt: skip
LONGEST = 80  # characters of a name


class Learner(NamedTuple):
    """Who it is: a name, empty when nobody said one, and what all numbers are made of."""

    name: str
    seed: str

    @property
    def id(self) -> str:
        """Tell learners apart who have no name, or the same, without giving the seed away."""
        return hashlib.sha256(f"id {self.seed}".encode()).hexdigest()[:8]


class Hide(NamedTuple):
    """Notebook 05."""

    hostname: str


class IdMap(NamedTuple):
    """Notebook 07: who stays the same, and how far all others move up."""

    home: int
    base: int


class Hold(NamedTuple):
    """Notebook 08: MiB of memory, and processes."""

    mib: int
    pids: int


Given = Hide | IdMap | Hold
_MADE: Mapping[str, Callable[[random.Random], Given]] = {
    "05": lambda dice: Hide(f"vault-{dice.choice(BIRDS)}-{dice.randrange(10, 100)}"),
    "07": lambda dice: IdMap(dice.randrange(1001, 1900), 1000 * dice.randrange(200, 600)),
    # Not the 64 MiB and 20 processes of the lesson; and every pair is told from its neighbour.
    "08": lambda dice: Hold(dice.choice([mib for mib in range(48, 97) if mib != 64]), dice.randrange(21, 40)),
}
NUMBERS = tuple(_MADE)


def given(number: str) -> Given:
    """Give this learner's numbers for an exercise. NotFound where it asks the same of all."""
    return of(learner().seed, number)


def of(seed: str, number: str) -> Given:
    """Give the numbers that a seed makes for an exercise: always the same."""
    if number not in _MADE:
        raise NotFound(f"exercise {number!r} asks the same of everybody", remedy=f"there are {', '.join(_MADE)}")
    return _MADE[number](random.Random(f"{seed} {number}"))


def hide() -> Hide:
    """Give what notebook 05 asks for."""
    wanted = given("05")
    assert isinstance(wanted, Hide)
    return wanted


def id_map() -> IdMap:
    """Give what notebook 07 asks for."""
    wanted = given("07")
    assert isinstance(wanted, IdMap)
    return wanted


def hold() -> Hold:
    """Give what notebook 08 asks for."""
    wanted = given("08")
    assert isinstance(wanted, Hold)
    return wanted


def learner(name: str | None = None) -> Learner:
    """Return who this is; with a name, that is who it is from now on. InvalidInput for one that is none."""
    if name is None:
        return _load() or _keep(Learner("", secrets.token_hex(8)))
    plain = " ".join(name.split())
    if not plain or len(plain) > LONGEST or not plain.isprintable():
        raise InvalidInput(f"{name[:LONGEST]!r} is no name", remedy=f"1 to {LONGEST} characters, on one line")
    return _keep(Learner(plain, hashlib.sha256(plain.casefold().encode()).hexdigest()[:16]))


def _file() -> str:
    return os.path.join(paths.progress(), "learner")


def _load() -> Learner | None:
    with contextlib.suppress(OSError, ValueError, TypeError), open(_file(), encoding="utf-8") as stream:
        found = Learner(**json.load(stream))
        return found if isinstance(found.name, str) and isinstance(found.seed, str) else None
    return None


def _keep(who: Learner) -> Learner:
    os.makedirs(paths.progress(), 0o700, exist_ok=True)
    files.replace(_file(), json.dumps(who._asdict()).encode())
    return who
