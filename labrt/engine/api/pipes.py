"""A descriptor of the kernel's (pipe, socket, terminal) that the event loop reads and writes without ever waiting.

    pipe = Pipe(fd); data = await pipe.read(); await pipe.write(data); pipe.close()

asyncio has streams of its own, but not for a terminal's master side, which both reads and writes and whose end is EIO.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any

CHUNK = 1 << 16


class Pipe:
    """Owns a descriptor. One may read while another one writes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)

    @classmethod
    def duplicate(cls, fd: int) -> Pipe:
        """Make one of a descriptor that somebody else will close."""
        import fcntl

        return cls(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))

    async def read(self, size: int = CHUNK) -> bytes:
        """Return what has come, at least one byte; b"" is the end."""
        loop = asyncio.get_running_loop()
        while self.fd >= 0:
            try:
                return os.read(self.fd, size)
            except BlockingIOError:
                await self._ready(loop.add_reader, loop.remove_reader)
            except OSError as error:
                if error.errno in (errno.EIO, errno.ECONNRESET):  # a terminal that its last program has closed
                    return b""
                raise
        return b""

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises BrokenPipeError when nobody reads any more."""
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view[:CHUNK]) :]
            except BlockingIOError:
                await self._ready(loop.add_writer, loop.remove_writer)
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EBADF):
                    raise
                raise BrokenPipeError from None

    async def _ready(self, watch: Callable[..., Any], forget: Callable[[int], Any]) -> None:
        fd, ready = self.fd, asyncio.get_running_loop().create_future()
        watch(fd, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            if self.fd == fd:
                forget(fd)

    def close(self) -> None:
        """Let go of it. Who is reading just now is not told: cancel that first."""
        if self.fd >= 0:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(ValueError, OSError):
                loop.remove_reader(self.fd)
                loop.remove_writer(self.fd)
            os.close(self.fd)
            self.fd = -1
