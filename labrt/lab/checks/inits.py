"""Notebook 06: process 1 of a PID namespace that waits for strangers, and ends as its program ended."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from labrt.lab.checks import attempt, processes, verdict
from labrt.lab.checks.verdict import Check
from labrt.linux import process, syscalls

EXPECTED = "exit code 7, no zombies under process 1, not kept by a daemon, and exit code 42 after a SIGTERM"
UNWRITTEN = (
    "a parent that does not only wait for its own child: who ends next, whoever it is?",
    "os.wait() returns (pid, status) of any child that has ended; go on until it is your program's",
    "fork and exec as in notebook 01, then: while True: pid, status = os.wait(); if pid == program: return …",
)
# It leaves two orphans that end soon, and one that stays; it looks for zombies itself, and ends with 7.
PROGRAM = r"""
( sleep 0.1 & ) ; ( sleep 0.1 & ) ; ( sleep 600 & )
sleep 0.4
grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l > "$1"
exit 7
"""
NO_CODE = 251


class Seen(NamedTuple):
    """How process 1 ended (in words), its code (-1: never), the zombies that its program saw, what came of SIGTERM."""

    ended: str
    code: int
    zombies: int
    term: str


def reaps(init: Callable[[list[str]], object]) -> Check:
    """Judge `init(argv)`: it is called as process 1 of a new PID namespace, and returns its program's exit code."""
    tried = attempt.run(lambda: _observe(init), timeout=20.0)
    if tried.problem:
        return verdict.not_yet("init", tried.problem, EXPECTED, tried.hints(UNWRITTEN))
    seen: Seen = tried.value
    saw = f"{seen.ended}, {seen.zombies} zombies under process 1, {seen.term}"
    return verdict.judged("init", saw, EXPECTED, _hints(seen))


def _observe(init: Callable[[list[str]], object]) -> Seen:
    with tempfile.TemporaryDirectory() as place:
        report, ready = os.path.join(place, "zombies"), os.path.join(place, "ready")
        exit = _as_first(init, ["sh", "-c", PROGRAM, "sh", report], lambda child: child.wait(4.0))
        zombies = int(_text(report) or 0)
        program = ["sh", "-c", processes.WAITS, "sh", ready]
        term = _as_first(init, program, lambda child: processes.terminated(child, ready))
    how = "it never ended: a daemon kept it" if exit is None else str(exit)
    came = "a SIGTERM came to nothing" if term is None else f"{term} after a SIGTERM"
    return Seen(how, -1 if exit is None else exit.code, zombies, came)


def _as_first(
    init: Callable[[list[str]], object], argv: list[str], then: Callable[[process.Child], process.Exit | None]
) -> process.Exit | None:
    """Call init as process 1, and do `then` meanwhile. Returns how it ended; raises what it raised, in words."""
    read, write = os.pipe2(os.O_CLOEXEC)

    def first() -> int:
        syscalls.mount("proc", "/proc", "proc")
        try:
            code = init(argv)
        except NotImplementedError:
            os.write(write, b"unwritten")
            return 1
        except Exception as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
            return 1
        return code if isinstance(code, int) else NO_CODE

    with process.spawn(first, namespaces="pid,mnt") as child:
        os.close(write)
        exit = then(child)
    with open(read, encoding="utf-8", errors="replace") as pipe:
        problem = pipe.read()
    if problem == "unwritten":
        raise NotImplementedError
    if problem:
        raise RuntimeError(problem)
    return exit


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _hints(seen: Seen) -> tuple[str, ...]:
    if seen.code == NO_CODE:
        return (
            "it returned no number, so nobody learns how the program ended",
            "os.waitstatus_to_exitcode(status) is the number",
            "return os.waitstatus_to_exitcode(status), when the pid is your program's",
        )
    if seen.code == -1:
        return (
            "the program has ended, and process 1 has not: it waits for a daemon that nobody will end",
            "only your program's end counts; when process 1 ends, the kernel kills all the others",
            "if pid == program: return …, without a further wait",
        )
    if seen.zombies:
        return (
            f"{seen.zombies} zombies hang on process 1: orphans that it did not make, and that it got",
            "os.waitpid(program, 0) waits for one child only; who else ends, is not asked for",
            "os.wait(), in a loop, until it returns your program's pid",
        )
    if seen.code != 7:
        return (
            f"it ended with {seen.ended}, the program with 7: was that the end of somebody else?",
            "os.wait returns who it was, as well: look at the pid before you believe the status",
            "pid, status = os.wait(); if pid == program: return os.waitstatus_to_exitcode(status)",
        )
    if "exit code 42" not in seen.term:
        return (
            f"docker stop would wait in vain: {seen.term}; the program never heard of it",
            "for process 1 there are no default actions: a signal without a handler is ignored",
            "signal.signal(signal.SIGTERM, lambda number, frame: os.kill(program, number)), after the fork",
        )
    return ()
