"""Notebook 01: run a program as a child, pass on what happens to either of the two, leave no zombie."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from labrt.lab.checks import attempt, verdict
from labrt.lab.checks.verdict import Check
from labrt.linux import process, procfs

EXPECTED = "3 for `exit 3`, 137 for `kill -9 $$`, 127 for no such program, no zombies, a SIGTERM passed on"
UNWRITTEN = (
    "two processes come out of os.fork(): 0 is what the child is told, its pid what the parent is told",
    "the child becomes the program by os.execvp(argv[0], argv); the parent waits: os.waitpid(pid, 0)",
    "child: try: os.execvp(…) finally: os._exit(127); parent: signal.signal(signal.SIGTERM, …), waitpid, a code",
)
# Programs, and what a shell says of their end.
CASES = {"exit 0": 0, "exit 3": 3, "kill -9 $$": 137}
NONE_SUCH = "no-such-program-anywhere"
# It makes the file that it is given when it is ready, and ends with 42 on a SIGTERM.
WAITS = "trap 'exit 42' TERM; : > \"$1\"; sleep 600 & wait"


class Seen(NamedTuple):
    """What the kernel showed: the codes for CASES, for a program that is not there, zombies, the end by SIGTERM."""

    codes: list[object]
    missing: object
    zombies: int
    term: str


def relays(relay: Callable[[list[str]], object]) -> Check:
    """Judge `relay(argv)`: it returns the code that a shell would, and hands a SIGTERM on to its child."""
    tried = attempt.run(lambda: _observe(relay))
    if tried.problem:
        return verdict.not_yet("relay", tried.problem, EXPECTED, tried.hints(UNWRITTEN))
    seen: Seen = tried.value
    codes = ", ".join(f"{code!r} for `{script}`" for script, code in zip(CASES, seen.codes, strict=True))
    saw = f"{codes}, {seen.missing!r} for no such program, {seen.zombies} zombies, {seen.term}"
    return verdict.judged("relay", saw, EXPECTED, _hints(seen))


def _observe(relay: Callable[[list[str]], object]) -> Seen:
    codes = [_plain(relay(["sh", "-c", script])) for script in CASES]
    missing = _plain(relay([NONE_SUCH]))
    zombies = sum(procfs.stat(pid).state == "Z" for pid in procfs.children())
    return Seen(codes, missing, zombies, _terminate(relay))


def _plain(code: object) -> object:
    return code if isinstance(code, int | None) else repr(code)


def _terminate(relay: Callable[[list[str]], object]) -> str:
    """Send SIGTERM to a relay whose program ends with 42 on one. Returns what became of it, in words."""
    with tempfile.TemporaryDirectory() as place:
        ready = os.path.join(place, "ready")

        def relaying() -> int:
            code = relay(["sh", "-c", WAITS, "sh", ready])
            return code if isinstance(code, int) else 1

        with process.spawn(relaying) as child:
            exit = terminated(child, ready)
    if exit is None:
        return "SIGTERM came to nothing"
    return "SIGTERM passed on" if exit == (42, 0) else f"on SIGTERM: {exit}"


def terminated(child: process.Child, ready: str) -> process.Exit | None:
    """Send SIGTERM to a child over the program WAITS, when that is ready. Returns its end; None: it does not end."""
    deadline = time.monotonic() + 5
    while not os.path.exists(ready) and child.wait(0.01) is None and time.monotonic() < deadline:
        continue
    child.kill(signal.SIGTERM)
    return child.wait(3.0)


def _hints(seen: Seen) -> tuple[str, ...]:
    """Answer the first thing that is wrong."""
    if None in seen.codes:
        return (
            "it returned nothing: None. Whose turn is it to return the code, the child's or the parent's?",
            "the parent: the child is the other program by then",
            "end with: return code",
        )
    if seen.codes[0] == 0 and seen.codes[1] == 3 << 8:
        return (
            f"{3 << 8} is no exit code but a wait status: two numbers in one",
            "the code is in the upper byte, the signal in the lower one; see wait(2)",
            "code = os.waitstatus_to_exitcode(status)",
        )
    if seen.codes[2] in (-9, 9, 0):
        return (
            f"`kill -9 $$` gave {seen.codes[2]}: what does a shell say of a program that a signal has killed?",
            "128 and the signal's number, so that it cannot be taken for an exit code of the program's own",
            "code = os.waitstatus_to_exitcode(status) is -9 then; return 128 - code where it is negative",
        )
    if seen.codes != [*CASES.values()]:
        return (
            f"the codes were {seen.codes}, for programs that end with {[*CASES.values()]}",
            "look at the status that os.waitpid gives, program by program: print(hex(status))",
            "code = os.waitstatus_to_exitcode(status), and 128 - code where that is negative",
        )
    if seen.missing != 127:
        return (
            f"a program that is not there gave {seen.missing}; a shell says 127",
            "os.execvp comes back only when it fails, by an exception, and that in the child",
            "try: os.execvp(…) finally: os._exit(127)",
        )
    if seen.zombies:
        return (
            f"it left {seen.zombies} zombies: children that have ended, and for whom nobody waited",
            "each child wants its own wait, also the one that could not become the program",
            "os.waitpid(pid, 0) after each fork",
        )
    if seen.term != "SIGTERM passed on":
        return (
            f"somebody sent SIGTERM to the parent, and the child never heard of it ({seen.term})",
            "a handler in the parent: signal.signal(signal.SIGTERM, handler), set after the fork",
            "signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))",
        )
    return ()
