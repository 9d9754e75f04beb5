"""What happened, and what happens: the log of events, read again and followed.

    for event in read(where, since=moments.parse("1h"), filters={"type": ["container"]}, follow=True): …

Who changes something writes it (runtime/events.py says how); there is no daemon that would have to be there. Filters as
Docker's: several values of one key are alternatives, several keys must all fit.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from labrt import paths
from labrt.errors import InvalidInput
from labrt.runtime import events

Event = dict[str, Any]
Filters = Mapping[str, Sequence[str]]
FILTERS = ("type", "event", "container", "image", "volume", "network", "label", "scope")
_PAUSE = 0.1  # seconds between two looks


def read(
    where: paths.Paths | None = None,
    *,
    since: float | None = None,
    until: float | None = None,
    filters: Filters | None = None,
    follow: bool = False,
) -> Iterator[Event]:
    """Yield events, oldest first; times are seconds since the epoch. With `follow` those to come, until `until`.

    Without `since`, one who follows gets only what comes. Raises InvalidInput for a filter that there is not.
    """
    filters = filters or {}
    for name in filters:
        if name not in FILTERS:
            raise InvalidInput(f"no filter is called {name!r}", remedy=f"one of {', '.join(FILTERS)}")
    first = since if since is not None or not follow else time.time()
    for event in _every((where or paths.default()).events, follow, until):
        moment = event["timeNano"] / 1e9
        if until is not None and moment > until:
            return
        if (first is None or moment >= first) and matches(event, filters):
            yield event


def matches(event: Event, filters: Filters) -> bool:
    """Whether every filter has a value that fits."""
    return all(any(_fits(event, name, value) for value in values) for name, values in filters.items())


def _fits(event: Event, name: str, value: str) -> bool:
    actor, about = event["Actor"]["ID"], event["Actor"]["Attributes"]
    if name == "type":
        return bool(event["Type"] == value)
    if name == "event":  # "health_status" is all of "health_status: healthy" and its like
        return value in (event["Action"], event["Action"].partition(":")[0])
    if name == "scope":
        return bool(event["scope"] == value)
    if name == "label":
        key, equals, wanted = value.partition("=")
        return key in about and (not equals or about[key] == wanted)
    if name == "image" and event["Type"] == "container":
        return bool(about.get("image") == value)
    return bool(event["Type"] == name and value and (value == about.get("name") or actor.startswith(value)))


def _every(path: str, follow: bool, until: float | None) -> Iterator[Event]:
    """Yield all that is written and, with `follow`, what comes."""
    with contextlib.closing(Follower(path, past=True)) as follower:
        while True:
            yield from follower.read()
            if not follow or (until is not None and time.time() > until):
                return
            time.sleep(_PAUSE)


class Follower:
    """Reads what is written to the log of events, over the change from one file to the next: nothing twice.

    From now on, or with `past` all that is there first.
    """

    def __init__(self, path: str, *, past: bool = False) -> None:
        self._path = path
        self._file = self._open(path)
        self._older = self._open(events.older(path)) if past else None
        if self._file and self._older and os.path.sameopenfile(self._file.fileno(), self._older.fileno()):
            self._older.close()  # it was moved just now
            self._older = None
        if self._file and not past:
            self._file.seek(0, os.SEEK_END)

    def _open(self, path: str) -> BinaryIO | None:
        with contextlib.suppress(FileNotFoundError):
            return open(path, "rb")
        return None

    def read(self) -> Iterator[Event]:
        """Yield what has come."""
        if self._older:
            yield from _parse(self._older)
            self._older.close()
            self._older = None
        moved = True
        while moved:
            self._file = self._file or self._open(self._path)
            if self._file is None:
                return
            moved = _is_elsewhere(self._file, self._path)  # asked before reading: complete then
            yield from _parse(self._file)
            if moved:
                self._file.close()
                self._file = None

    def close(self) -> None:
        """Let go of the files."""
        for file in (self._older, self._file):
            if file:
                file.close()


def _is_elsewhere(file: BinaryIO, path: str) -> bool:
    """Whether the file at `path` is another one than this by now."""
    with contextlib.suppress(FileNotFoundError):
        return not os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False


def _parse(file: BinaryIO) -> Iterator[Event]:
    """Read on from where we were; a line that has no end yet is left for the next time."""
    while (begin := file.tell(), line := file.readline())[1]:
        if not line.endswith(b"\n"):
            file.seek(begin)
            return
        with contextlib.suppress(ValueError):  # half a line: its writer was killed
            event = json.loads(line)
            if isinstance(event, dict) and "timeNano" in event:
                yield event
