"""A learner's function, called where it can do no harm; and what became of it.

    tried = attempt.run(lambda: relay(["sh", "-c", "exit 3"]))
    tried.value, tried.problem

It runs in a process of its own, in PID, mount, UTS and IPC namespaces of its own: whatever it forks, mounts or renames
is gone with it, and the notebook's kernel is never touched. What it prints reaches the cell.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labrt.linux import process, syscalls

UNWRITTEN = "it is not written yet"
TWICE = "it came back twice: the child came back from it, too"
TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Attempt:
    """What became of a call: its `value`, or the `problem` in words (then value is None)."""

    value: Any = None
    problem: str = ""

    def hints(self, unwritten: tuple[str, ...]) -> tuple[str, ...]:
        """Give hints for a problem; `unwritten` are those of who has not begun yet."""
        if self.problem == UNWRITTEN:
            return unwritten
        if self.problem == TWICE:
            return (
                "after a fork there are two of your function: which of them came back?",
                "whatever the child does, it must not return: it would go on as a second copy of its caller",
                "let the child end in os.execvp(…) or os._exit(code), whatever happens: try: … finally: os._exit(127)",
            )
        if "did not come back" in self.problem:
            return (
                f"{self.problem}: for what does it wait?",
                "a wait ends when the child does; a read from a pipe when all who could write have closed it",
                "put a print() before and after each call that may wait: the last one printed is the one that waits",
            )
        return (
            self.problem,
            "call your function in a cell of its own: the traceback shows the line",
            unwritten[-1],
        )


def run(work: Callable[[], object], *, namespaces: str = "pid,mnt,uts,ipc", timeout: float = TIMEOUT) -> Attempt:
    """Call `work`, and return what it returned (it must pickle), or what went wrong in its stead."""
    answer = os.memfd_create("answer")  # not a pipe: who fills one up waits for a reader, and we wait for its end

    def first() -> int:  # is PID 1: with it, all that it has started ends
        if {"pid", "mnt"} <= set(namespaces.split(",")):
            syscalls.mount("proc", "/proc", "proc")  # or the numbers there would be those outside
        worker = process.spawn(lambda: _answer(work, answer))
        while (found := os.wait())[0] != worker.pid:  # orphans come to us, too
            continue
        return process.Exit.from_status(found[1]).code

    try:
        with process.spawn(first, namespaces=namespaces) as child:
            if (exit := child.wait(timeout)) is None:
                return Attempt(problem=f"it did not come back within {timeout:.0f} seconds")
        raw = os.pread(answer, os.fstat(answer).st_size, 0)
    finally:
        os.close(answer)
    if not raw:
        return Attempt(problem=f"it ended the process that called it, with {exit}")
    return Attempt(*pickle.loads(raw))


def _answer(work: Callable[[], object], write: int) -> None:
    caller = os.getpid()
    try:
        answer: tuple[object, str] = (work(), "")
    except NotImplementedError:
        answer = (None, UNWRITTEN)
    except Exception as error:
        answer = (None, f"it raised {type(error).__name__}: {error}")
    if os.getpid() != caller:
        answer = (None, TWICE)
    try:
        raw = pickle.dumps(answer)
    except Exception:
        raw = pickle.dumps((None, f"it returned what cannot be sent: {type(answer[0]).__name__}"))
    os.write(write, raw)
