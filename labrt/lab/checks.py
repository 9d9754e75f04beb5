"""Checks: they judge an exercise by what the kernel shows, never by what was printed, and give hints.

    lab.checks.cleans_up(clean_up)              notebook 00: a function that takes down what the ledger names
    lab.checks.contained(by_hand, by_labrt)     notebook 21: two probes of two containers, compared

Each returns a Check: what it saw, what it expected, and, where these differ, hints; `check.hint(2)` is the next one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from labrt import paths
from labrt.lab import ledger as book
from labrt.lab import show, takedown
from labrt.linux import ledger, mounts, process, procfs
from labrt.linux.ledger import Entry


@dataclass(frozen=True, repr=False)
class Check:
    """The verdict on one exercise. `hints` become plainer from the first to the last; a passed check has none."""

    name: str
    passed: bool
    saw: str
    expected: str
    hints: tuple[str, ...] = ()

    def hint(self, number: int = 1) -> str:
        """Return one hint: 1 is the gentlest; more than there are gives the plainest."""
        return self.hints[min(max(number, 1), len(self.hints)) - 1] if self.hints else "no hint needed: it passed"

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"<Check {self.name}: {'passed' if self.passed else 'not yet'}>"

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("ok" if self.passed else "fail", f"{self.name}: {'passed' if self.passed else 'not yet'}")]
        rows += [("saw", self.saw), ("expected", self.expected)]
        if self.hints:
            more = f"  (check.hint(2) says more; there are {len(self.hints)})" if len(self.hints) > 1 else ""
            rows.append(("hint", self.hints[0] + more))
        return rows

    def __str__(self) -> str:
        return show.columns(self._rows())

    def __rich__(self) -> object:
        return show.rich_table(self.name, ["", ""], self._rows())

    def _repr_html_(self) -> str:
        return show.table(["", ""], self._rows()).html


# Notebook 00 ----------------------------------------------------------------------------------------------------------

UNWRITTEN = "not written yet"
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
        saw += "; the function is not written yet" if problem == UNWRITTEN else f"; the function raised {problem}"
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
        return (f"it raised {problem}", "look at one entry: print(entries[0].kind, entries[0].what)")
    if mounted:
        forgot = "the kernel still has the mounts"
        forgot = forgot if noted else "the ledger has forgotten what the kernel still has"
        return (forgot, "take down first, then strike out: mounts.unmount(entry.what); ledger.strike(entry)")
    if left:
        gone = "the mounts are gone, but the directories that they were mounted on are not"
        return (gone, 'a "directory" goes by os.rmdir(entry.what)')
    if noted:
        return ("the kernel has forgotten, the ledger has not", "ledger.strike(entry) crosses an entry out")
    return ()


# Notebook 21 ----------------------------------------------------------------------------------------------------------

# What a container is made of, in the order of making; what is missing when the two differ; where to look.
ISOLATION = {
    "root": ("its root is not the image's", "rootfs.execute(plan) makes the root, and pivots into it"),
    "pid": ("it is not process 1 of a PID namespace", 'spawn it with namespaces="…,pid,…"'),
    "hostname": ("it has another hostname", 'syscalls.sethostname("…"), in the child, before the exec'),
    "network": ("it sees other network interfaces", 'spawn it with namespaces="…,net"'),
    "cgroup": ("it does not take its own cgroup for the root", "begin become() with syscalls.unshare(CLONE.NEWCGROUP)"),
    "mounts": ("it sees other mounts", "the plan comes after unshare: cgroups are mounted as the namespace shows them"),
    "limit": ("it has another memory limit", "group.memory.max = …, and spawn(…, cgroup=group)"),
    "uid": ("it is another user", "nothing should have changed the user: the image says root"),
}


def contained(by_hand: Mapping[str, str], by_labrt: Mapping[str, str]) -> Check:
    """Judge a container made by hand: what it says of itself must be what one of labrt's says, in all that isolates."""
    if not by_hand:
        hints = (
            "the program said nothing: it never ran. Is become() written? It must end in os.execve",
            "three steps: a cgroup namespace and a hostname; rootfs.execute(plan); os.execve",
            'os.execve("/bin/sh", ["sh", "-c", PROBE], {"PATH": "/bin:/sbin:/usr/bin"})',
        )
        return Check("become", False, "no answer from inside", "what labrt's container says of itself", hints)
    differ = [field for field in ISOLATION if by_hand.get(field) != by_labrt.get(field)]
    saw = ", ".join(f"{field} {by_hand.get(field, 'missing')!r}" for field in differ) or "the same"
    expected = ", ".join(f"{field} {by_labrt.get(field, 'missing')!r}" for field in differ)
    expected = expected or f"what labrt's container says of {', '.join(ISOLATION)}"
    return Check("become", not differ, saw, expected, ISOLATION[differ[0]] if differ else ())


def parse_probe(text: str) -> dict[str, str]:
    """Turn `name=value` lines into a dict."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip() for name, _, value in pairs}
