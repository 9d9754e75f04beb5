"""Processes that work for the daemon, each with a single thread: what may fork is done there.

    workers = Workers()
    await workers.run(function, slowly=False)      called in a process apart; what it returns or raises comes back

A worker does one thing at a time. Who finds none idle gets a new one, up to QUICK; more stand in line. What goes at a
client's pace, an archive that comes in or goes out, has places of its own (SLOW): a client that stalls keeps its own
worker, and nobody else's. KEPT of them stay warm, the others end when they are done.

Task and answer go over a socket, pickled, each with its length before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from labrt.errors import LabrtError
from labrt.linux import sealed

T = TypeVar("T")
QUICK = KEPT = 4
SLOW = 64
_HEAD = struct.Struct("!Q")
_CODE = "import sys; sys.path[:] = {path!r}; from labrt.engine.api import workers; workers.work({fd}, {parent})"


class Workers:
    """All of them."""

    def __init__(self) -> None:
        self._rooms = {False: asyncio.Semaphore(QUICK), True: asyncio.Semaphore(SLOW)}
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()

    async def run(self, function: Callable[[], T], *, slowly: bool = False) -> T:
        """Call a function that can be pickled. It is not broken off when nobody waits for it any more."""
        task = asyncio.ensure_future(self._run(pickle.dumps(function), self._rooms[slowly]))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _run(self, work: bytes, room: asyncio.Semaphore) -> Any:
        async with room:
            worker = self._free()
            try:
                value, error = await worker.ask(work)
            except (EOFError, ConnectionError):
                self._end(worker)
                raise LabrtError("a worker process of the daemon was killed", remedy="try again") from None
            if len(self._idle) < KEPT:
                self._idle.append(worker)
            else:
                self._end(worker)
        if error is not None:
            raise error
        return value

    def _free(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.poll() is None:
                return worker
            self._end(worker)  # somebody has killed it
        worker = _Worker()
        self._all.add(worker)
        return worker

    def _end(self, worker: _Worker) -> None:
        self._all.discard(worker)
        worker.end()

    def close(self) -> None:
        """End them. What they are at is not waited for."""
        for worker in self._all:
            worker.end()
        self._all.clear()
        self._idle.clear()


class _Worker:
    """One process, as the daemon has it."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        with theirs:
            code = _CODE.format(path=sys.path, fd=theirs.fileno(), parent=os.getpid())
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", code], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        sealed.limit_files(self.process.pid)

    async def ask(self, work: bytes) -> tuple[Any, BaseException | None]:
        """Have it do something. Raises EOFError or ConnectionError when it is no more."""
        await asyncio.get_running_loop().sock_sendall(self.socket, _HEAD.pack(len(work)) + work)
        (size,) = _HEAD.unpack(await self._read(_HEAD.size))
        return pickle.loads(await self._read(size))  # type: ignore[no-any-return]  # our own process wrote it

    async def _read(self, size: int) -> bytes:
        loop, data = asyncio.get_running_loop(), bytearray()
        while len(data) < size:
            piece = await loop.sock_recv(self.socket, min(size - len(data), 1 << 20))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def end(self) -> None:
        """Be rid of it."""
        self.process.terminate()
        self.socket.close()
        self.process.wait()


# In the worker --------------------------------------------------------------------------------------------------------


def work(fd: int, parent: int) -> None:
    """Do what is asked, until the daemon hangs up."""
    _obey(parent)
    os.set_inheritable(fd, False)
    with socket.socket(fileno=fd) as sock, sock.makefile("rwb") as stream, contextlib.suppress(BrokenPipeError):
        while head := stream.read(_HEAD.size):
            (size,) = _HEAD.unpack(head)
            answer = _answer(stream.read(size))
            stream.write(_HEAD.pack(len(answer)) + answer)
            stream.flush()


def _obey(parent: int) -> None:
    """End with the daemon, however that ends; and leave Ctrl-C to it. See PR_SET_PDEATHSIG in prctl(2)."""
    from labrt.linux import syscalls

    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    if "LABRT_TRACE" in os.environ:
        from labrt.runtime import traced

        traced.join("worker")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _answer(task: bytes) -> bytes:
    try:
        return pickle.dumps((pickle.loads(task)(), None))
    except Exception as error:
        if not isinstance(error, LabrtError):
            error.add_note(traceback.format_exc())
        try:
            return pickle.dumps((None, error))
        except Exception:  # one that holds what cannot be pickled
            return pickle.dumps((None, RuntimeError("".join(traceback.format_exception(error)))))
