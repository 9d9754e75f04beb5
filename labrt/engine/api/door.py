"""Who comes in: as many connections as there are descriptors for; the others wait in the kernel's line. See listen(2).

    door = Door(descriptors())
    await door.stand_open(sock, welcome)           for ever; `welcome(client, done)` is called for each connection

A daemon without a descriptor left could not even read a file for those who are in. So it raises its limit as far as it
may, and counts: a connection has EACH, for its own socket and for the files and pipes of its request. What the daemon
starts, containers above all, gets the limit that was before: select(2) knows no more than 1024. See getrlimit(2).
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable

from labrt.engine.api import errors
from labrt.linux import sealed

Welcome = Callable[[socket.socket, Callable[[], None]], None]
EACH, OURS = 4, 128
MOST = 1 << 20  # descriptors: more would only cost the kernel's tables


def descriptors() -> int:
    """Raise the limit of open files as far as it goes, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        sealed.files = (soft, hard)
    return max(soft, most)


class Door:
    """Lets in as many as there is room for."""

    def __init__(self, files: int) -> None:
        self._room = asyncio.Semaphore(max((files - OURS) // EACH, 8))

    async def stand_open(self, sock: socket.socket, welcome: Welcome) -> None:
        """Accept connections until cancelled. Who is welcomed calls `done` when the connection is closed."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        while True:
            await self._room.acquire()
            try:
                client, _ = await loop.sock_accept(sock)
            except OSError as error:  # EMFILE, ENFILE: others on this machine have them all
                self._room.release()
                errors.log.error("no connection accepted: %s", error)
                await asyncio.sleep(1)
                continue
            client.setblocking(False)
            welcome(client, self._room.release)
