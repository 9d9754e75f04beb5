"""An iterator that works ahead of its reader, in a thread: a pipe with two ends in one process.

    with ahead(pieces) as pieces:         the same things, some of them made already
        for piece in pieces: ...

It pays where both sides leave Python's lock (inflating on one, writing files on the other). At most `DEPTH` things wait
in between, so memory stays bounded; what the iterator raises is raised to the reader, in its place. When the block
ends, also by an error, the thread is told to stop and waited for: nobody reads from the source any more.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

DEPTH = 16


class _End:
    """What comes last: how the iterator ended, with an error or without."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@contextlib.contextmanager
def ahead(things: Iterator[T], depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """Run `things` in a thread, up to `depth` of them ahead."""
    made: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    room = threading.Semaphore(depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_make, args=(things, made, room, stopped), name="labrt-ahead", daemon=True)
    thread.start()
    try:
        yield _take(made, room)
    finally:
        stopped.set()
        room.release()  # it may be waiting for that
        thread.join()


def _make(
    things: Iterator[T], made: queue.SimpleQueue[T | _End], room: threading.Semaphore, stopped: threading.Event
) -> None:
    try:
        for thing in things:
            made.put(thing)
            del thing
            room.acquire()
            if stopped.is_set():
                return
    except BaseException as error:  # noqa: BLE001 - it is the reader's
        made.put(_End(error))
    else:
        made.put(_End(None))


def _take(made: queue.SimpleQueue[T | _End], room: threading.Semaphore) -> Iterator[T]:
    while not isinstance(thing := made.get(), _End):
        room.release()
        yield thing
    if thing.error is not None:
        raise thing.error
