"""Exercises: which there are, what judges each, and how a learner is helped along.

    lab.check("01", relay)          judge an attempt, keep it, and give the next hint
    lab.hint("01")                  the next hint, now
    lab.solution("01")              one way to do it, once there was an attempt
    lab.reset_exercise("01")        forget attempts, hints and what passed
    lab.predict("01", "Which exit code?", 1)        a guess, kept before the cell runs

Who fails twice in the same way is given the second hint, then the third, then the way to the solution. A function that
is still as it was handed out is no attempt. What is kept of it all, and where, says progress.py.
"""

from __future__ import annotations

import dataclasses
import glob
import importlib
import os
import re
import time
from typing import NamedTuple

from labrt.errors import Conflict, NotFound
from labrt.lab import given, progress, show
from labrt.lab.checks.attempt import UNWRITTEN
from labrt.lab.checks.verdict import Check
from labrt.lab.progress import Record
from labrt.lab.show import Picture


class Exercise(NamedTuple):
    """One exercise: the name of what is written, what it is about, and `room:function` of lab.checks that judges it."""

    name: str
    about: str
    judge: str


EXERCISES = {
    "00": Exercise("clean_up", "take down what a crash has left", "accidents:cleans_up"),
    "01": Exercise("relay", "run a program, and end as it ended", "processes:relays"),
    "02": Exercise("unpack", "unpack a stranger's archive safely", "archives:unpacks"),
    "03": Exercise("stop_leak", "let no mount out, and the host's in", "leaks:stops"),
    "04": Exercise("enter", "a root that one cannot get out of", "roots:enters"),
    "05": Exercise("hide", "another hostname, and a queue out of sight", "queues:hides"),
    "06": Exercise("init", "a process 1 that waits for strangers", "inits:reaps"),
    "07": Exercise("id_map", "who is who, inside and outside", "owners:maps"),
    "08": Exercise("hold", "limits of memory and processes for any program", "limits:holds"),
    "09": Exercise("share", "one CPU for two, 1 to 3", "shares:divides"),
    "10": Exercise("merge", "lay layers on top of each other by hand", "unions:unites"),
    "11": Exercise("Copies", "write the vfs storage driver", "drivers:drives"),
    "12": Exercise("names", "name layers and what they stand on", "digests:names_layers"),
    "13": Exercise("pull", "pull by hand, and trust nobody", "pulls:pulls_safely"),
    "14": Exercise("join", "a cable between two containers", "cables:joins"),
    "15": Exercise("publish", "publish a port, and take it back", "gates:publishes"),
    "16": Exercise("configure", "write a config that a runtime accepts", "configs:configures"),
    "17": Exercise("enter", "bring a program into a running container", "execs:enters"),
    "18": Exercise("smallest", "the smallest power with which a server works", "powers:confines"),
    "19": Exercise("listing", "answer the real docker", "listings:prints"),
    "20": Exercise("copy", "one instruction: its cache key and its layer", "copies:caches"),
    "21": Exercise("become", "go the whole way by hand", "capstone:contained"),
}


def _exercise(number: str) -> Exercise:
    if number not in EXERCISES:
        raise NotFound(f"there is no exercise {number!r}", remedy=f"there are {', '.join(sorted(EXERCISES))}")
    return EXERCISES[number]


def check(number: str, *work: object) -> Check:
    """Judge an attempt at an exercise; `work` is what its notebook says, mostly one function. Keeps what was tried."""
    exercise = _exercise(number)
    room, _, name = exercise.judge.partition(":")
    verdict: Check = getattr(importlib.import_module(f"labrt.lab.checks.{room}"), name)(*work)
    record = progress.load(number)
    begun = UNWRITTEN not in verdict.saw
    record.attempts += begun
    function = work[0] if work else None
    record.last = progress.source_of(function) or record.last
    _note(record, f"{record.last}\n{progress.source_with_needs(function)}" if begun else "")
    if verdict.passed:
        record.passed_at = time.time()
        record.source = progress.source_with_needs(function)
        record.function = getattr(function, "__name__", "")
    elif begun:
        record.told[verdict.hint(1)] = record.told.get(verdict.hint(1), 0) + 1
    progress.save(record)
    return _with_help(number, verdict, record)


def _note(record: Record, source: str) -> None:
    """Keep what was asked of this learner alone, and the literals of the attempt: roster.py compares them."""
    if record.number in given.NUMBERS:
        record.given = given.given(record.number)._asdict()
        new = [literal for literal in progress.literals_of(source) if literal not in record.literals]
        record.literals = (record.literals + new)[-progress.MOST_LITERALS :]


def _with_help(number: str, verdict: Check, record: Record) -> Check:
    """Choose the hint by how often the gentlest was no help; after the last there is the solution."""
    if verdict.passed:
        return verdict
    told = record.told.get(verdict.hint(1), 1)
    solution = f'lab.solution("{number}")' if told >= len(verdict.hints) and record.attempts else ""
    _shown[number] = dataclasses.replace(verdict, given=told, solution=solution)
    return _shown[number]


_shown: dict[str, Check] = {}


def hint(number: str) -> Check:
    """Give the next hint for the last attempt of this session, without another attempt."""
    _exercise(number)
    if number not in _shown:
        raise Conflict(f"there is nothing to give a hint on: {number} was not tried yet", remedy="run its check first")
    last = _shown[number]
    given = min(last.given + 1, len(last.hints))
    record = progress.load(number)
    record.told[last.hint(1)] = max(record.told.get(last.hint(1), 0), given)
    progress.save(record)
    return _with_help(number, last, record)


def solution(number: str) -> Picture:
    """Show one way to do it, as the notebook's source has it. Conflict as long as there was no attempt."""
    exercise = _exercise(number)
    record = progress.load(number)
    if not record.attempts:
        remedy = "try first: a wrong attempt is worth more than a right solution"
        raise Conflict(f"{exercise.name} was not attempted yet", remedy=remedy)
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = glob.glob(os.path.join(here, "notebooks", "src", f"{number[:2]}_*.py"))
    if not found:
        raise NotFound(f"the source of notebook {number} is not here", remedy="notebooks/src/ of a checkout has it")
    with open(found[0], encoding="utf-8") as file:
        text = cell_of(file.read(), exercise.name)
    record.solution_at = record.solution_at or time.time()
    progress.save(record)
    return Picture(f'<pre style="color:{show.TEXT}">{_lines(text)}</pre>', text)


def _lines(text: str) -> str:
    return "\n".join(map(show.escape, text.split("\n")))


def cell_of(text: str, name: str) -> str:
    """Take the cell with the solution of `name` out of a notebook's source, without its markers."""
    cells = [cell for cell in re.split(r"^# %%.*\n", text, flags=re.MULTILINE) if "### BEGIN SOLUTION" in cell]
    cells = [cell for cell in cells if re.search(rf"^(def|class) {name}\b|^{name} =", cell, re.MULTILINE)] or cells
    return "\n".join(line for line in "".join(cells[:1]).strip().split("\n") if not line.strip().startswith("### "))


def reset_exercise(number: str) -> str:
    """Forget all attempts at an exercise, its hints and its function. Returns what was done, in words."""
    exercise = _exercise(number)
    _shown.pop(number, None)
    if progress.forget(number):
        return f"{exercise.name} is as on the first day; the cell with your function is yours to change"
    return f"{exercise.name} was never tried: nothing to forget"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A guess. `saw(answer)` puts beside it what happened."""

    number: str
    question: str
    guess: object

    def saw(self, answer: object) -> Picture:
        """Show guess and answer together."""
        right = "ok" if self.guess == answer else "not this time: why?"
        rows = [("you said", self.guess, ""), ("it is", answer, right)]
        return show.table(["", "", ""], rows, caption=self.question)


def predict(number: str, question: str, guess: object) -> Prediction:
    """Keep a guess before its cell runs."""
    record = progress.load(number)
    record.guesses[question] = repr(guess)
    progress.save(record)
    return Prediction(number, question, guess)
