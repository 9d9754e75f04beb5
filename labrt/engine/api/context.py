"""What all handlers share: where the house lies, and where work goes that would make everybody wait.

The event loop has one thread and must never wait. So the engine's calls are made by other threads (`call`). A process
with threads must not fork (launcher.py says why), but looking into a container's files takes a child: that is done by
worker processes with a single thread (`apart`; workers.py), which are started when they are first needed.

What goes at the pace of a client, a registry or a container that is to stop has threads and workers of its own
(`call_slowly`, `apart_slowly`): however many of those stand still, the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from aiohttp import web

from labrt import paths
from labrt.engine.container import Container
from labrt.engine.containers import Containers
from labrt.errors import ContainerNotFound, InvalidInput

P = ParamSpec("P")
T = TypeVar("T")
THREADS = 256  # that wait for engine calls at the same time, quick and slow ones each; more stand in line


class Context:
    """What lives as long as the daemon."""

    def __init__(self, where: paths.Paths | None = None) -> None:
        from labrt.engine.api.execs import Execs
        from labrt.engine.api.starts import Starts
        from labrt.engine.api.workers import Workers

        self.where = where or paths.default()
        self.began = time.time()
        self.counts: dict[tuple[str, int], int] = {}  # requests, by method and status
        self.debug = False
        self.reloads: list[Callable[[], None]] = []  # what SIGHUP is to read again
        self.starts = Starts(self)
        self.execs = Execs()
        self._tasks: set[asyncio.Future[None]] = set()
        self._threads, self._slow_threads = (ThreadPoolExecutor(THREADS, name) for name in ("engine", "slow"))
        self._workers = Workers()

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that goes on when its request has ended: asyncio itself forgets what nobody holds."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may block, in another thread."""
        work = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def call_slowly(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call one that goes at somebody else's pace: as `call`, in other threads."""
        work = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._slow_threads, work)

    async def apart(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may fork, in a process with a single thread. All that goes there and back is pickled."""
        return await self._workers.run(functools.partial(function, *args, **kwargs))

    async def apart_slowly(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call one that goes at a client's pace: as `apart`, in other processes."""
        return await self._workers.run(functools.partial(function, *args, **kwargs), slowly=True)

    def containers(self) -> Containers:
        """All containers."""
        return Containers(self.where)

    async def find(self, request: web.Request) -> Container:
        """Return the container that a request's path names. Raises ContainerNotFound in docker's words."""
        return await self.named(request.match_info["id"])

    async def named(self, text: str) -> Container:
        """Return a container by name, id, or the beginning of its id."""
        return await self.call(self.lookup, text)

    def lookup(self, text: str) -> Container:
        """Do what `named` does, and wait for it."""
        name = text.removeprefix("/")
        if len(name) == 64 and set(name) <= set("0123456789abcdef"):
            container = Container(name, self.where)
            with contextlib.suppress(ContainerNotFound):
                container.record()
                return container
        try:
            return self.containers().get(name)
        except (ContainerNotFound, InvalidInput) as error:
            if isinstance(error, InvalidInput):
                raise InvalidInput(f"multiple IDs found with provided prefix: {text}") from None
            raise ContainerNotFound(f"No such container: {text}") from None

    def close(self) -> None:
        """End the workers; the threads end with the process. What they are at is not waited for."""
        for threads in (self._threads, self._slow_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        self._workers.close()


CONTEXT = web.AppKey("context", Context)


def of(request: web.Request) -> Context:
    """Return what the daemon of this request shares."""
    return request.app[CONTEXT]


async def lifetime(app: web.Application) -> AsyncIterator[None]:
    """Close the context with its application."""
    yield
    app[CONTEXT].close()
