"""Waiting for a container's start, and for its end.

`docker run` attaches first and starts then. What it is attached to does not exist yet: so it waits here, and whoever
starts the container lets those who wait attach when all is built and only *start* is missing. They lose no byte.

    container, attached = await starts.awaited(container)     … attach …; attached.set_result(None)
    await starts.start(container)
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from labrt.engine.api.pipes import Pipe
from labrt.engine.container import Container
from labrt.errors import Conflict, ContainerNotFound, LabrtError
from labrt.runtime import state as states
from labrt.runtime import wire
from labrt.runtime.attachment import Attachment

if TYPE_CHECKING:
    from labrt.engine.api.context import Context

Waiter = asyncio.Future["asyncio.Future[None]"]
_LOOK = 0.25  # seconds between two looks whether somebody else has started it: `labrt start` does not ask us
_PATIENCE = 5  # seconds that a start waits for those who are about to attach


class Starts:
    """Who waits for which container."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._waiters: dict[str, set[Waiter]] = {}

    async def start(self, container: Container) -> None:
        """Start a container; who waits for that is attached before its program begins."""
        try:
            await self.context.call(container.prepare)
        except BaseException as error:
            self._tell(container.id, error)
            raise
        attached = self._tell(container.id, None)
        if attached:
            await asyncio.wait(attached, timeout=_PATIENCE)
        await self.context.call(container.runtime.start)

    def _tell(self, id: str, error: BaseException | None) -> list[asyncio.Future[None]]:
        attached: list[asyncio.Future[None]] = []
        for waiter in self._waiters.pop(id, ()):
            if waiter.done():
                continue
            if error is not None:
                waiter.set_exception(error if isinstance(error, Exception) else Conflict("it was not started"))
                waiter.exception()  # nobody may be listening any more
            else:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                waiter.set_result(done)
                attached.append(done)
        return attached

    async def awaited(self, container: Container) -> asyncio.Future[None]:
        """Return when it can be attached to; the caller then sets the result. Raises what kept it from starting."""
        loop = asyncio.get_running_loop()
        while not _is_up(container):
            waiter: Waiter = loop.create_future()
            self._waiters.setdefault(container.id, set()).add(waiter)
            try:
                await asyncio.wait([waiter], timeout=_LOOK)
                if waiter.done():
                    return waiter.result()
            finally:
                self._forget(container.id, waiter)
        return loop.create_future()

    def _forget(self, id: str, waiter: Waiter) -> None:
        waiting = self._waiters.get(id, set())
        waiting.discard(waiter)
        if not waiting:
            self._waiters.pop(id, None)

    # Ends -------------------------------------------------------------------------------------------------------------

    async def exit_code(self, container: Container, condition: str) -> int:
        """Wait as the API's /wait does, and return the exit code."""
        code = container.state.exit_code or 0
        if condition == "not-running" and not container.up:
            return code
        if condition != "removed" or container.up or container.status == "created":
            code = await self._next_exit(container)
        if condition == "removed":
            await self._removed(container)
        return code

    async def _next_exit(self, container: Container) -> int:
        try:
            attached = await self.awaited(container)
        except ContainerNotFound:
            raise
        except LabrtError:  # it could not even be built
            return 127
        try:
            pipe = await self.context.call(connect, container, stdin=False, output=False)
        except Conflict:  # it ended, or was restarted, in this moment
            pipe = None
        finally:
            if not attached.done():
                attached.set_result(None)
        if pipe is not None:
            with contextlib.closing(pipe):
                code = await _hear_exit(pipe)
            if code is not None:
                return code
        return await self.context.call(_settled, container)

    async def _removed(self, container: Container) -> None:
        with contextlib.suppress(LabrtError):
            if container.record_or_none("remove"):
                await self.context.call(container.remove, force=True)
        while True:
            try:
                container.record()
            except ContainerNotFound:
                return
            await asyncio.sleep(0.1)


def connect(container: Container, *, stdin: bool, output: bool = True) -> Pipe:
    """Attach to a container's monitor. Raises Conflict when it has none."""
    with Attachment.connect(container.runtime.sockets, stdin=stdin, output=output) as attached:
        return Pipe.duplicate(attached.fileno())


async def _hear_exit(pipe: Pipe) -> int | None:
    """Read what a monitor says until it says how the container ended; None when it just hangs up."""
    import json

    frames = wire.Unpacker()
    while data := await pipe.read():
        for stream, payload in frames.feed(data):
            if stream == wire.CONTROL and "exit" in (message := json.loads(payload)):
                return int(message["exit"])
    return None


def _is_up(container: Container) -> bool:
    """Whether its program runs, or has run since we looked last. Raises ContainerNotFound."""
    state = container.state
    return bool(state.pid and state.kept and state.status != states.CREATED)


def _settled(container: Container) -> int:
    """Return its exit code when its monitor has gone."""
    try:
        return container.wait(10) or 0
    except ContainerNotFound:
        return 0
