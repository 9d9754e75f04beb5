"""What a container wrote: the last lines, those of a time, and what comes.

    for entry in entries(container, tail=10, follow=True, since=moments.parse("10m")): …
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labrt.errors import ContainerNotFound
from labrt.runtime.log import Entry
from labrt.runtime.log_reader import Reader

if TYPE_CHECKING:
    from labrt.engine.container import Container


def limits_of(options: Mapping[str, str]) -> dict[str, Any]:
    """Turn Docker's options of json-file, max-size ("10m") and max-file ("3"), into those of log.Writer."""
    from labrt.linux.cgroups import units

    size = options.get("max-size", "-1")
    return {
        "max_size": None if size == "-1" else units.parse_size(size),
        "max_files": int(options.get("max-file", "1")),
    }


def entries(
    container: Container,
    *,
    tail: int | None = None,
    follow: bool = False,
    since: float | None = None,
    until: float | None = None,
) -> Iterator[Entry]:
    """Yield log entries, oldest first. See Container.logs.

    With `tail` it is of what is there that the last lines are taken, and of those the ones of the time. A container's
    times are those of one clock, so what comes after `until` ends it.
    """
    container.record()
    # Entries tell nanoseconds, a float of today's seconds is right to a quarter of a microsecond: so one each way.
    first = None if since is None else stamp(since - 1e-6)
    last = None if until is None else stamp(until + 1e-6)
    with contextlib.closing(Reader(container.runtime.log)) as reader:
        if tail is not None:
            reader.skip_to(tail)
        for entry in _follow(container, reader, until) if follow else _all(reader):
            if last is not None and entry.time > last:
                return
            if first is None or entry.time >= first:
                yield entry


def stamp(moment: float) -> str:
    """Write a time as the entries do, so that the two compare as text."""
    seconds, nanoseconds = divmod(round(moment * 1e9), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def _all(reader: Reader) -> Iterator[Entry]:
    while entries := reader.read():
        yield from entries


def _follow(container: Container, reader: Reader, until: float | None) -> Iterator[Entry]:
    pause = 0.02
    while True:
        ended = not goes_on(container)  # asked before reading: nothing comes after what is read then
        came = False
        for entry in _all(reader):
            came = True
            yield entry
        if ended or (until is not None and time.time() > until):
            return
        pause = 0.02 if came else min(pause * 1.5, 0.25)
        time.sleep(pause)


def goes_on(container: Container) -> bool:
    """Whether something may still come: it runs, or its monitor is about to start it again."""
    try:
        state = container.state
    except ContainerNotFound:  # removed at its end; its log is held open
        return False
    return bool(state.pid and state.kept)
