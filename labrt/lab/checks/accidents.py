"""Notebook 00: a function that takes down what a crashed program has left, judged by mountinfo and the ledger.

    lab.checks.cleans_up(clean_up)          the check
    lab.checks.accident()                   leaves something behind, to practise on
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from labrt import paths
from labrt.lab import ledger as book
from labrt.lab import takedown
from labrt.lab.checks.attempt import UNWRITTEN
from labrt.lab.checks.verdict import Check
from labrt.linux import ledger, mounts, process, procfs
from labrt.linux.ledger import Entry

ORDER = "what was made last must go first: the last entry is the mount on top, the first is the directory under it"


def cleans_up(clean_up: Callable[[list[Entry]], object]) -> Check:
    """Judge a function that is given ledger entries and takes down what they name.

    It is tried on an accident of its own: a process that mounts an overlay and is killed. Whatever the function does or
    fails to do, that is taken down afterwards.
    """
    with _accident() as entries:
        problem = _call(clean_up, entries)
        return _judge(entries, problem)


def accident() -> int:
    """Let a process mount an overlay, and die before it can unmount. Returns its pid, which is gone."""

    def careless() -> None:
        union = mounts.overlay(["/etc"])
        union.__enter__()  # as `with` does at its beginning
        os._exit(1)  # and no end: as after kill -9

    child = process.spawn(careless)
    child.wait()
    return child.pid


@contextlib.contextmanager
def _accident() -> Iterator[list[Entry]]:
    pid = accident()
    entries = [entry for entry in ledger.entries() if entry.made_by == pid]
    try:
        yield list(entries)
    finally:
        for kind, take_down in takedown.ORDER.items():
            for entry in reversed([entry for entry in entries if entry.kind == kind]):
                while take_down(entry, paths.default()) and kind == "mount":
                    continue
                ledger.strike(entry)


def _call(function: Callable[[list[Entry]], object], entries: list[Entry]) -> str:
    """Call a learner's function; return what it raised, in words, or nothing."""
    try:
        function(list(entries))
    except NotImplementedError:
        return UNWRITTEN
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _judge(entries: list[Entry], problem: str) -> Check:
    there = {mount.mount_point for mount in procfs.mountinfo()}
    mounted = [entry.what for entry in entries if entry.kind == "mount" and entry.what in there]
    left = [entry.what for entry in entries if entry.kind == "directory" and os.path.lexists(entry.what)]
    noted = [entry for entry in book.ledger() if entry.file in {each.file for each in entries}]
    saw = f"{len(mounted)} of its mounts in mountinfo, {len(left)} of its directories, {len(noted)} of its entries"
    expected = "none of its mounts, none of its directories, none of its entries"
    hints = _hints_for_clean_up(bool(mounted), bool(left), bool(noted), problem)
    if problem:
        saw += f"; {UNWRITTEN}" if problem == UNWRITTEN else f"; the function raised {problem}"
    return Check("clean_up", not hints, saw, expected, hints)


def _hints_for_clean_up(mounted: bool, left: bool, noted: bool, problem: str) -> tuple[str, ...]:
    """Say what is missing, by what the kernel still shows."""
    if problem == UNWRITTEN:
        return (
            "go through the entries one by one: entry.kind says what each is, entry.what where it is",
            'a "mount" goes by mounts.unmount(entry.what), a "directory" by os.rmdir(entry.what)',
            f"and when it is gone, ledger.strike(entry). Mind the order: {ORDER}",
        )
    if "EBUSY" in problem or "busy" in problem:
        return ("the kernel says busy: something is still mounted there", ORDER, "for entry in reversed(entries): …")
    if problem:
        return (
            f"it raised {problem}",
            "look at one entry: print(entries[0].kind, entries[0].what)",
            "for entry in reversed(entries): unmount or rmdir entry.what, by its kind; then ledger.strike(entry)",
        )
    if mounted:
        forgot = "the kernel still has the mounts"
        forgot = forgot if noted else "the ledger has forgotten what the kernel still has"
        return (
            forgot,
            "take down first, then strike out: the ledger is only a list",
            'where entry.kind == "mount": mounts.unmount(entry.what); ledger.strike(entry)',
        )
    if left:
        gone = "the mounts are gone, but the directories that they were mounted on are not"
        return (
            gone,
            "the mount point was made for the mount, and is an entry of its own",
            'where entry.kind == "directory": os.rmdir(entry.what), after its mount; ledger.strike(entry)',
        )
    if noted:
        return (
            "the kernel has forgotten, the ledger has not",
            "what is gone is crossed out, or the next reset looks for it",
            "ledger.strike(entry), at the end of the loop",
        )
    return ()
