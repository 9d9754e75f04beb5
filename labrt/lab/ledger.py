"""The ledger, read: what labrt has made and not yet taken down, and `reset`, which takes it down.

    >>> labrt.lab.ledger.ledger()        # shows itself: kind, what, since when, whose
    <Ledger: 1 mount>
    >>> labrt.reset()
    <Reset: 1 taken down>

reset touches what the ledger names, and nothing else, in this order: processes, cgroups (with what is left in them),
mounts, containers, directories; of one kind the newest first. It may be called at any time, also twice, and after a
kill -9 of anything. What cannot be taken down stays in the ledger, is shown with a remedy, and does not stop the rest.

The ledger is only a directory of files, so nothing in it is believed: a pid must still be the process that was noted, a
mount must be in mountinfo under its own name, a directory must lie in labrt's own places. See labrt/linux/ledger.py for
how it is written; notebook 00 leaves a mount behind and cleans it up.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import json
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from labrt import paths
from labrt.errors import InvalidInput, LabrtError
from labrt.lab import show, takedown
from labrt.linux import cgroups, procfs
from labrt.linux.ledger import Entry, strike
from labrt.paths import Paths

LARGEST = 65536  # bytes of one entry: a path of at most 4096, and a few words


class Failure(NamedTuple):
    """Something in the ledger that stays there: what it is, why, and what to type."""

    what: str
    why: str
    remedy: str


@dataclass(frozen=True, repr=False)
class Ledger:
    """What is in the ledger, oldest first; `unreadable` are files in it that are no entries."""

    entries: tuple[Entry, ...]
    unreadable: tuple[Failure, ...] = ()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        counts = collections.Counter(entry.kind for entry in self.entries)
        words = [f"{n} {kind}" for kind, n in counts.items()]
        words += [f"{len(self.unreadable)} unreadable"] if self.unreadable else []
        return f"<Ledger: {show.plain(', '.join(words)) or 'empty'}>"

    def __str__(self) -> str:
        return self._picture().text if self._rows() else "the ledger is empty"

    def __rich__(self) -> object:
        return show.rich_table("The ledger", HEADERS, self._rows()) if self._rows() else str(self)

    def _repr_html_(self) -> str:
        return self._picture().html if self._rows() else show.escape(str(self))

    def _picture(self) -> show.Picture:
        return show.table(HEADERS, self._rows(), caption="The ledger")

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [(e.kind, e.what, time.strftime("%H:%M:%S", time.localtime(e.since)), owner(e)) for e in self.entries]
        return [*rows, *(("?", failure.what, "", failure.why) for failure in self.unreadable)]


HEADERS = ("kind", "what", "since", "made by")


@dataclass(frozen=True, repr=False)
class Reset:
    """What a reset did. `taken_down` were there and are gone; `stayed` could not be taken down."""

    taken_down: tuple[Entry, ...]
    stayed: tuple[Failure, ...]
    quiet: bool = False

    @property
    def ok(self) -> bool:
        """Whether the ledger is empty now."""
        return not self.stayed

    def __repr__(self) -> str:
        stayed = f", {len(self.stayed)} stayed" if self.stayed else ""
        return f"<Reset: {len(self.taken_down) or 'nothing'} taken down{stayed}>"

    def __str__(self) -> str:
        return self._picture().text if self._rows() else "nothing was left to take down"

    def __rich__(self) -> object:
        return show.rich_table(repr(self), RESET_HEADERS, self._rows()) if self._rows() else str(self)

    def _repr_html_(self) -> str:
        if self.quiet and self.ok:
            return " "  # IPython would take an empty string for none, and show the repr
        return self._picture().html if self._rows() else show.escape(str(self))

    def _picture(self) -> show.Picture:
        return show.table(RESET_HEADERS, self._rows())

    def _rows(self) -> list[tuple[str, ...]]:
        done = [("ok", f"{entry.kind} {entry.what}", "taken down", "") for entry in self.taken_down]
        return [*done, *(("fail", *failure) for failure in self.stayed)]


RESET_HEADERS = ("", "what", "became of it", "what to type")


def ledger(where: Paths | None = None) -> Ledger:
    """Read the ledger. `where` None means this user's places."""
    directory = (where or paths.default()).ledger
    entries, unreadable = [], []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            if name.startswith("."):  # being written just now
                continue
            file = os.path.join(directory, name)
            try:
                entries.append(read_entry(file))
            except FileNotFoundError:
                continue  # struck out just now
            except (OSError, ValueError, RecursionError) as error:
                unreadable.append(Failure(file, f"no entry: {error}", f"rm {shlex.quote(file)}"))
    return Ledger(tuple(entries), tuple(unreadable))


def read_entry(file: str) -> Entry:
    """Read one file of the ledger. InvalidInput unless it is an entry, of this user's own writing or root's."""
    # NOFOLLOW and NONBLOCK: a link elsewhere and a FIFO that nobody writes to are no entries.
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as stream:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise InvalidInput("not a small regular file")
        if status.st_uid not in (0, os.geteuid()):
            raise InvalidInput(f"written by user {status.st_uid}, who may not have things taken down in our name")
        value = json.loads(stream.read())
    return _entry(file, value)


def _entry(file: str, value: object) -> Entry:
    if not isinstance(value, dict):
        raise InvalidInput("not a JSON object")
    detail = value.get("detail", {})
    texts = [value.get("kind"), value.get("what"), *(detail.values() if isinstance(detail, dict) else [None])]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInput("a text is missing, or of another type")
    if not all(_is_count(value.get(name)) for name in ("made_by", "since")):
        raise InvalidInput("a number is missing, or of another type")
    return Entry(value["kind"], value["what"], file, int(value["made_by"]), float(value["since"]), detail)


def _is_count(value: object) -> bool:
    # No calendar and no kernel reaches 2**40; infinity and NaN, which json.loads lets in, are no counts either.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**40


def owner_alive(entry: Entry) -> bool:
    """Whether the process that wrote the entry still runs, and not another that was given its number."""
    try:
        maker = procfs.stat(entry.made_by)
        with open("/proc/stat") as stream:
            booted = next(float(line.split()[1]) for line in stream if line.startswith("btime "))
    except (LabrtError, OSError):
        return False
    # Whoever began after the entry was written did not write it. Two seconds: the kernel tells its boot in whole ones.
    return maker.state not in "ZX" and booted + maker.starttime / os.sysconf("SC_CLK_TCK") <= entry.since + 2


def owner(entry: Entry) -> str:
    """Say who made an entry: `python3 (pid 123)`, or that it is gone."""
    with contextlib.suppress(LabrtError):
        if owner_alive(entry):
            return f"{procfs.stat(entry.made_by).comm} (pid {entry.made_by})"
    return f"pid {entry.made_by}, which is gone"


def reset(*, quiet: bool = False, where: Paths | None = None) -> Reset:
    """Take down everything that labrt made and that is still there; harmless when nothing is, and when called twice.

    Returns what became of each thing: with `quiet`, as in a notebook's first cell, it shows only what stayed.
    """
    where = where or paths.default()
    with _one_at_a_time(where.ledger):
        return _reset(where, quiet)


def _reset(where: Paths, quiet: bool) -> Reset:
    book = ledger(where)
    taken: list[Entry] = []
    stayed = list(book.unreadable)
    for kind, take_down in takedown.ORDER.items():
        for entry in reversed([entry for entry in book.entries if entry.kind == kind]):
            _undo(entry, lambda entry: take_down(entry, where), taken, stayed)  # noqa: B023 - called in this turn
    for entry in book.entries:
        if entry.kind not in takedown.ORDER:
            remedy = f"rm {shlex.quote(entry.file)}"
            stayed.append(Failure(f"{entry.kind} {entry.what}", "of a kind that labrt does not make", remedy))
    takedown.sweep(where.ledger)
    cgroups.prune()  # /labrt itself, which is nobody's entry: it goes when nothing is in it any more
    return Reset(tuple(taken), tuple(stayed), quiet)


@contextlib.contextmanager
def _one_at_a_time(directory: str) -> Iterator[None]:
    """Hold a lock on the ledger's directory, so that two resets do not trip over each other. See flock(2)."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # nothing was ever recorded
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _undo(entry: Entry, take_down: Callable[[Entry], bool], taken: list[Entry], stayed: list[Failure]) -> None:
    try:
        if take_down(entry):
            taken.append(entry)
        strike(entry)
    except LabrtError as error:
        stayed.append(Failure(f"{entry.kind} {entry.what}", error.message, error.remedy or "labrt.reset()"))
    except (OSError, ValueError) as error:
        stayed.append(Failure(f"{entry.kind} {entry.what}", str(error), "labrt.reset()"))

