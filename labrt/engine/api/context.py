"""What all handlers share: where the house lies, and where work goes that would make everybody wait.

The event loop has one thread and must never wait. So the engine's calls are made by other threads (`call`). A process
with threads must not fork (launcher.py says why), but looking into a container's files takes a child: that is done by
worker processes with a single thread (`apart`), which are started when they are first needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from aiohttp import web

from labrt import paths
from labrt.engine.container import Container
from labrt.engine.containers import Containers
from labrt.errors import ContainerNotFound, InvalidInput

P = ParamSpec("P")
T = TypeVar("T")
THREADS = 256  # that wait for engine calls, such as a stop of ten seconds, at the same time; more stand in line
WORKERS = 4


class Context:
    """What lives as long as the daemon."""

    def __init__(self, where: paths.Paths | None = None) -> None:
        from labrt.engine.api.execs import Execs
        from labrt.engine.api.starts import Starts

        self.where = where or paths.default()
        self.began = time.time()
        self.counts: dict[tuple[str, int], int] = {}  # requests, by method and status
        self.debug = False
        self.reloads: list[Callable[[], None]] = []  # what SIGHUP is to read again
        self.starts = Starts(self)
        self.execs = Execs()
        self._tasks: set[asyncio.Future[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, "engine")
        self._workers: ProcessPoolExecutor | None = None

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that goes on when its request has ended: asyncio itself forgets what nobody holds."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may block, in another thread."""
        work = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def apart(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may fork, in a process with a single thread. All that goes there and back is pickled."""
        from concurrent.futures.process import BrokenProcessPool

        work = functools.partial(function, *args, **kwargs)
        for attempt in (1, 2):
            pool = self._pool()
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, work)
            except BrokenProcessPool:  # somebody has killed a worker; the next ones are new
                self._workers = None if self._workers is pool else self._workers
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _pool(self) -> ProcessPoolExecutor:
        if self._workers is None:
            import multiprocessing

            spawn = multiprocessing.get_context("spawn")  # a fresh interpreter: nothing of ours is in it
            self._workers = ProcessPoolExecutor(WORKERS, spawn, _be_worker, (os.getpid(),))
        return self._workers

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
        import multiprocessing

        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._workers is not None:
            for worker in multiprocessing.active_children():
                worker.terminate()
            self._workers.shutdown(wait=True, cancel_futures=True)
            self._workers = None


CONTEXT = web.AppKey("context", Context)


def of(request: web.Request) -> Context:
    """Return what the daemon of this request shares."""
    return request.app[CONTEXT]


async def lifetime(app: web.Application) -> AsyncIterator[None]:
    """Close the context with its application."""
    yield
    app[CONTEXT].close()


def _be_worker(parent: int) -> None:
    """End with the daemon, however that ends; and leave Ctrl-C to it. See PR_SET_PDEATHSIG in prctl(2)."""
    from labrt.linux import syscalls

    syscalls.prctl(1, signal.SIGKILL)
    if "LABRT_TRACE" in os.environ:
        from labrt.runtime import traced

        traced.join("worker")
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
