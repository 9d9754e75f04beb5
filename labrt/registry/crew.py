"""A few threads that move blobs: several at a time, the first error ends them all, and Ctrl-C is heard at once.

    Crew(transport, "labrt-push").run(tasks)
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from labrt.registry.transport import Transport

WORKERS = 3  # blobs at a time: what Docker does, and what registries expect of one client
_LAST_WORDS = 5.0  # seconds for the threads to end after a Ctrl-C, before we leave without them


class Crew:
    """Threads that share a transport. Used once."""

    def __init__(self, transport: Transport, name: str) -> None:
        self._transport = transport
        self._name = name
        self._errors: list[BaseException] = []
        self.stopped = threading.Event()

    def __repr__(self) -> str:
        return f"<Crew {self._name} of {WORKERS}>"

    def run(self, tasks: Iterable[Callable[[], object]]) -> None:
        """Do all tasks, in their order. Raises the first error, when nobody works any more."""
        todo = deque(tasks)
        # Threads of our own, as daemons: a pool's are waited for when Python ends, also those that hang in a lookup.
        threads = [
            threading.Thread(target=self._work, args=(todo,), name=f"{self._name}-{number}", daemon=True)
            for number in range(min(WORKERS, len(todo)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # KeyboardInterrupt, which only this thread hears
            self._stop()
            deadline = time.monotonic() + _LAST_WORDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            raise
        finally:
            self._transport.resume()
        if self._errors:
            raise self._errors[0]

    def _work(self, todo: deque[Callable[[], object]]) -> None:
        """What each thread does: task after task, until there is none or somebody has failed."""
        while not self.stopped.is_set():
            try:
                task = todo.popleft()
            except IndexError:
                return
            try:
                task()
            except BaseException as error:
                self._errors.append(error)
                self._stop()

    def _stop(self) -> None:
        self.stopped.set()
        self._transport.stop()
