"""Notebook 08: a function that holds any program to so much memory and so many processes; how many, says given.py.

    lab.checks.limits.holds(hold)       the check; in a notebook lab.check("08", hold)

`hold(program)` is tried with three programs: a modest one, that looks up from inside what the kernel would let it have;
a hog that takes memory until it is stopped; and one that forks until it is refused. Then it is looked for what stayed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from labrt.errors import LabrtError
from labrt.lab import given
from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, not_yet, passed
from labrt.linux import cgroups, ledger

_AT_MOST = 512 << 20  # what the hog takes when nobody stops it


class Wanted(NamedTuple):
    """What the limits shall be: MiB, and processes."""

    mib: int
    pids: int

    @property
    def expected(self) -> str:
        """Say it."""
        return (f"from inside {self.mib} MiB and {self.pids} pids; the hog killed by the kernel, the bomb refused; no "
                "cgroup left")  # fmt: skip

    @property
    def unwritten(self) -> tuple[str, str, str]:
        """Hints for who has not begun."""
        return (
            "with cgroups.create(…) as group: then limits, then a child in the group",
            f'group.memory.max = "{self.mib}M", group.memory.swap_max = 0, group.pids.max = {self.pids}: before the '
            "child begins",
            "with process.spawn(program, cgroup=group) as child: exit = child.wait()",
        )


class Seen(NamedTuple):
    """What a program found around it: its limits (None: none)."""

    memory: int | None
    swap: int | None
    pids: int | None


def holds(hold: Callable[[Callable[[], object]], object]) -> Check:
    """Judge `hold`: it is given a program, a function, and returns (exit, memory.events, pids.events)."""
    before = {entry.file for entry in ledger.entries()}
    with tempfile.TemporaryDirectory(prefix="labrt-") as notes:
        try:
            return _judge(hold, notes, before, Wanted(*given.hold()))
        finally:
            _remove(before)


def _judge(hold: Callable[..., object], notes: str, before: set[str], wanted: Wanted) -> Check:
    modest = attempt.run(lambda: hold(lambda: _look(notes)))
    seen = _read(notes)
    if modest.problem:
        return not_yet("hold", modest.problem, wanted.expected, modest.hints(wanted.unwritten))
    if seen is None:
        never = ("the program that it was given never ran", wanted.unwritten[2])
        return not_yet("hold", "no word from the program", wanted.expected, never)
    if hints := _hints_for_limits(seen, wanted):
        return not_yet("hold", f"from inside: {_say(seen)}", wanted.expected, hints)
    return _judge_the_hungry(hold, seen, before, wanted)


def _judge_the_hungry(hold: Callable[..., object], seen: Seen, before: set[str], wanted: Wanted) -> Check:
    """Look what the limits do, whether `hold` tells, and whether all is gone: from inside they are right."""
    hog, bomb = attempt.run(lambda: _plain(hold(_eat))), attempt.run(lambda: _plain(hold(_fork)))
    for tried in (hog, bomb):
        if tried.problem:
            return not_yet("hold", tried.problem, wanted.expected, tried.hints(wanted.unwritten))
    if told := _hints_for_answers(hog.value, bomb.value):
        saw = f"for the hog {hog.value!r:.120}, for the bomb {bomb.value!r:.120}"
        return not_yet("hold", saw, wanted.expected, told)
    killed, refused = hog.value[1]["oom_kill"], bomb.value[2]["max"]
    saw = f"{_say(seen)}; the hog killed (oom_kill {killed}), the bomb refused ({refused} times)"
    if left := [entry.what for entry in _new(before)]:
        hints = (
            f"the cgroup {left[0]} is still there",
            "a cgroup lives until somebody removes it: its directory stays",
            "with cgroups.create(…) as group: removes it at the end of the block",
        )
        return not_yet("hold", f"{saw}; {len(left)} cgroups left", wanted.expected, hints)
    return passed("hold", f"{saw}; no cgroup left", wanted.expected)


def _hints_for_limits(seen: Seen, wanted: Wanted) -> tuple[str, ...]:
    if seen.memory is None and seen.pids is None:
        return (
            "the program ran, but the kernel held it to nothing: was it in your cgroup?",
            "a cgroup holds only who is in it, and limits only hold from when they are written",
            "first the limits, then process.spawn(program, cgroup=group)",
        )
    if seen.memory != wanted.mib << 20:
        is_what = "no limit" if seen.memory is None else f"{seen.memory} bytes"
        return (
            f"its memory has {is_what}, where {wanted.mib} MiB are {wanted.mib << 20} bytes",
            "a number is in bytes; a text may end in K, M or G, each 1024 times the one before",
            f'group.memory.max = "{wanted.mib}M"',
        )
    if seen.pids != wanted.pids:
        return (
            f"it may have {'any number of' if seen.pids is None else seen.pids} processes, not {wanted.pids}",
            "that is another controller, with a file of its own: pids.max",
            f"group.pids.max = {wanted.pids}",
        )
    if seen.swap:
        return (
            "behind the wall there is still swap: the hog would slow down there, and not be stopped",
            "memory and swap are limited by two files; no swap is a limit of 0",
            "group.memory.swap_max = 0",
        )
    return ()


def _hints_for_answers(hog: Any, bomb: Any) -> tuple[str, ...]:
    shape = "return (exit, group.memory.events, group.pids.events), read while the group is still there"
    for answer in (hog, bomb):
        if not (isinstance(answer, tuple) and len(answer) == 3 and all(isinstance(one, dict) for one in answer[1:])):
            return (
                f"it came back with {answer!r:.80}: not with the three things that were asked for",
                "how the program ended, and what two controllers counted: a number, and two dictionaries",
                shape,
            )
    if hog[0] != 128 + signal.SIGKILL or not hog[1].get("oom_kill"):
        return (
            f"the hog ended with {hog[0]}, and oom_kill is {hog[1].get('oom_kill', 'missing')}: is that its own exit?",
            "wait for the child, then read the events of the group that it was in",
            shape,
        )
    if not bomb[2].get("max"):
        return (
            "pids.events does not tell of a refused fork",
            "it is the events of the group that the program was in, read when the program has ended",
            shape,
        )
    return ()


def _plain(answer: Any) -> Any:
    """Make it something that travels: an Exit becomes its code."""
    if isinstance(answer, tuple) and answer:
        first = answer[0]
        return (getattr(first, "code", first), *answer[1:])
    return answer


# What is run ----------------------------------------------------------------------------------------------------------


def _look(notes: str) -> None:
    memory, swap, pids = None, None, None
    for name in ("memory", "pids"):
        tree = cgroups.detect().where(name)
        if tree is None or tree.own == "/":
            continue
        group = cgroups.load(tree.own)
        with contextlib.suppress(LabrtError):
            if name == "memory":
                memory, swap = group.memory.max, _swap(group)
            else:
                pids = group.pids.max
    with open(os.path.join(notes, "seen"), "w") as file:
        json.dump(Seen(memory, swap, pids), file)


def _swap(group: cgroups.Cgroup) -> int | None:
    """How much swap it may have; 0 where there is none on this machine, or where the kernel does not count it."""
    with open("/proc/swaps") as file:
        if len(file.readlines()) < 2:
            return 0
    try:
        limit = group.memory.swap_max
    except LabrtError:
        return 0
    return 1 << 62 if limit is None else limit


def _eat() -> None:
    held = []
    for _ in range(_AT_MOST >> 21):
        held.append(b"x" * (2 << 20))


def _fork() -> None:
    children = []
    try:
        for _ in range(60):
            pid = os.fork()
            if pid == 0:
                try:
                    time.sleep(30)
                finally:
                    os._exit(0)
            children.append(pid)
    except BlockingIOError:
        return
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _read(notes: str) -> Seen | None:
    with contextlib.suppress(FileNotFoundError), open(os.path.join(notes, "seen")) as file:
        return Seen(*json.load(file))
    return None


def _say(seen: Seen) -> str:
    memory = "no memory limit" if seen.memory is None else f"{seen.memory / (1 << 20):g} MiB"
    return f"{memory}, {'any number of' if seen.pids is None else seen.pids} pids"


def _new(before: set[str]) -> list[ledger.Entry]:
    return [entry for entry in ledger.entries() if entry.kind == "cgroup" and entry.file not in before]


def _remove(before: set[str]) -> None:
    for entry in _new(before):
        cgroups.remove_recorded(entry.what)
