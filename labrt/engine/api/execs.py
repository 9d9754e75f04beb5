"""Exec: one more program in a container. Created first, then started over a taken connection, then asked how it ended.

An exec is this daemon's and nobody else's: after kill -9 its program goes on, but nobody knows of it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

from aiohttp import web

from labrt.engine.api import attach, context, errors, router, streams
from labrt.engine.api.pipes import Pipe
from labrt.engine.container import Container
from labrt.engine.keys import Keys
from labrt.errors import CommandNotFound, Conflict, InvalidInput, LabrtError, NotFound
from labrt.linux import pty
from labrt.runtime import wire
from labrt.runtime.container import Execution

_KEPT = 300  # seconds that one is remembered after its end
_FIELDS = {
    "AttachStdin", "AttachStdout", "AttachStderr", "Cmd", "ConsoleSize", "Detach", "DetachKeys", "Env", "Privileged",
    "Tty", "User", "WorkingDir", "Container", "ExecIDs",
}  # fmt: skip


class Exec:
    """One program, from its creation on."""

    def __init__(self, container: Container, wanted: dict[str, Any]) -> None:
        self.id = os.urandom(32).hex()
        self.container, self.wanted = container, wanted
        self.tty = bool(wanted.get("Tty"))
        self.running, self.started = False, False
        self.exit_code: int | None = None
        self.ended = 0.0
        self.pid = 0
        self.master: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As the API's ExecInspect."""
        program, *arguments = self.wanted["Cmd"]
        streams = {f"Open{name}": bool(self.wanted.get(f"Attach{name}")) for name in ("Stdin", "Stdout", "Stderr")}
        process = {
            "tty": self.tty, "entrypoint": program, "arguments": arguments,
            "privileged": bool(self.wanted.get("Privileged")), "user": self.wanted.get("User") or "",
        }  # fmt: skip
        return {
            "ID": self.id, "Running": self.running, "ExitCode": self.exit_code, "ProcessConfig": process, **streams,
            "CanRemove": False, "ContainerID": self.container.id, "Pid": self.pid,
            "DetachKeys": self.wanted.get("DetachKeys") or "",
        }  # fmt: skip


class Execs:
    """All of them."""

    def __init__(self) -> None:
        self._all: dict[str, Exec] = {}

    def add(self, one: Exec) -> None:
        """Remember one; forget those that have long ended."""
        now = time.monotonic()
        for old in [old for old in self._all.values() if old.ended and now - old.ended > _KEPT]:
            del self._all[old.id]
        self._all[one.id] = one

    def get(self, id: str) -> Exec:
        """Find one. Raises NotFound."""
        try:
            return self._all[id]
        except KeyError:
            raise NotFound(f"No such exec instance: {id}") from None

    def of(self, container_id: str) -> list[str]:
        """Name those of a container that run."""
        return [one.id for one in self._all.values() if one.container.id == container_id and one.running]


async def create(request: web.Request) -> web.Response:
    """POST /containers/{id}/exec."""
    shared, container = context.of(request), await context.of(request).find(request)
    wanted = await router.body(request, needed=True)
    unknown = sorted(set(wanted) - _FIELDS)
    if unknown:
        raise InvalidInput(f"labrt does not know the field {unknown[0]!r:.60}")
    words = wanted.get("Cmd")
    if not words or not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidInput("no exec command specified")
    status = container.status
    if status == "paused":
        raise Conflict(f"container {container.id} is paused, unpause the container before exec")
    if status != "running":
        raise Conflict(f"container {container.id} is not running")
    attach.parse_keys(wanted.get("DetachKeys") or "")
    one = Exec(container, wanted)
    shared.execs.add(one)
    container.note(f"exec_create: {' '.join(words)}", execID=one.id)
    return errors.as_json({"Id": one.id}, 201)


async def start(request: web.Request) -> web.StreamResponse:
    """POST /exec/{id}/start."""
    shared = context.of(request)
    one, how = shared.execs.get(request.match_info["id"]), await router.body(request)
    if one.started:
        raise Conflict(f"exec instance {one.id} has already started")
    one.tty = bool(how.get("Tty", one.tty))
    if how.get("ConsoleSize"):
        one.wanted["ConsoleSize"] = how["ConsoleSize"]
    one.started = True
    if how.get("Detach"):
        execution, ends = await _begin(shared, one, attached=False)
        shared.keep(_until_end(one, execution, ends))
        return web.Response()
    try:
        # The head goes out first: output that comes in one piece with it is lost in docker-py's HTTP library.
        async with streams.hijack(request, tty=one.tty) as client:
            with contextlib.suppress(ConnectionError):
                try:
                    execution, ends = await _begin(shared, one, attached=True)
                except LabrtError as error:  # `docker` learns the exit code from the exec, the reason from its output
                    said = f"OCI runtime exec failed: exec failed: {errors.start_failed(error)}\r\n".encode()
                    await client.write(said if one.tty else wire.frame(wire.STDOUT, said))
                else:
                    await _converse(one, execution, ends, client)
    finally:
        if one.running:  # the client has left; the program goes on, and somebody must hear how it ends
            shared.keep(_until_end(one, execution, ends))
    return streams.Taken()


async def _begin(shared: context.Context, one: Exec, *, attached: bool) -> tuple[Execution, dict[int, Pipe]]:
    """Start the program; return our ends of its stdio."""
    wanted = one.wanted
    how: dict[str, Any] = {
        "env": [entry for entry in wanted.get("Env") or () if "=" in entry], "cwd": wanted.get("WorkingDir") or None,
        "user": wanted.get("User") or "", "privileged": bool(wanted.get("Privileged")),
    }  # fmt: skip
    size = wanted.get("ConsoleSize")
    if one.tty and size and any(size):
        how["console_size"] = tuple(size)
    inner, ours = ((), {}) if one.tty else _pipes(wanted, attached)
    try:
        execution = await shared.call(
            one.container.runtime.exec, wanted["Cmd"], stdio=tuple(inner) or None, **how  # type: ignore[arg-type]
        )
    except LabrtError as error:
        for fd in ours.values():
            os.close(fd)
        one.ended, one.exit_code = time.monotonic(), _code_of(error)
        raise
    finally:
        for fd in inner:
            os.close(fd)
    one.running, one.pid = True, execution.pid
    one.container.note(f"exec_start: {' '.join(wanted['Cmd'])}", execID=one.id)
    if execution.master is not None:
        one.master = execution.master
        return execution, {wire.STDOUT: Pipe(execution.master)}
    return execution, {stream: Pipe(fd) for stream, fd in ours.items()}


def _code_of(error: LabrtError) -> int:
    return 127 if isinstance(error, CommandNotFound) else 126


def _pipes(wanted: dict[str, Any], attached: bool) -> tuple[list[int], dict[int, int]]:
    """Make its standard input and outputs: pipes where somebody is attached, /dev/null else."""
    inner, ours = [], {}
    for stream, name in ((wire.STDIN, "AttachStdin"), (wire.STDOUT, "AttachStdout"), (wire.STDERR, "AttachStderr")):
        if attached and wanted.get(name):
            read, write = os.pipe2(os.O_CLOEXEC)
            mine, theirs = (write, read) if stream == wire.STDIN else (read, write)
            ours[stream] = mine
            inner.append(theirs)
        else:
            inner.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
    return inner, ours


async def _converse(one: Exec, execution: Execution, ends: dict[int, Pipe], client: streams.Hijacked) -> None:
    """Move bytes until both outputs have ended, or the client leaves."""
    outputs = [asyncio.ensure_future(_output(one, stream, pipe, client))
               for stream, pipe in ends.items() if stream != wire.STDIN]  # fmt: skip
    input = asyncio.ensure_future(_input(one, ends.get(wire.STDOUT if one.tty else wire.STDIN), client))
    ended = asyncio.ensure_future(_all(outputs, one, execution))
    try:
        await asyncio.wait([ended, input], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            _close(ends, one)
            ended.result()
    finally:
        for task in (*outputs, input, ended):
            task.cancel()
        await asyncio.gather(*outputs, input, ended, return_exceptions=True)


async def _all(outputs: list[asyncio.Task[None]], one: Exec, execution: Execution) -> None:
    if outputs:
        await asyncio.gather(*outputs)
    await _ended(one, execution)


async def _output(one: Exec, stream: int, pipe: Pipe, client: streams.Hijacked) -> None:
    while data := await pipe.read():
        await client.write(data if one.tty else wire.frame(stream, data))


async def _input(one: Exec, pipe: Pipe | None, client: streams.Hijacked) -> None:
    """Return when the client has left, by keys or altogether."""
    leaving = Keys(attach.parse_keys(one.wanted.get("DetachKeys") or "")) if one.tty else None
    wants = pipe is not None and bool(one.wanted.get("AttachStdin"))
    while data := await client.read():
        left = False
        if leaving is not None:
            data, left = leaving.feed(data)
        if wants and data and pipe is not None:
            try:
                await pipe.write(data)
            except BrokenPipeError:
                wants = False
        if left:
            return
    if pipe is not None and not one.tty:
        pipe.close()
    await client.wait_gone()


async def _ended(one: Exec, execution: Execution) -> None:
    """Hear how the program has ended."""
    pipe = Pipe.duplicate(execution.fileno())
    with contextlib.closing(pipe):
        os.set_blocking(execution.fileno(), True)
        loop, ready = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        loop.add_reader(pipe.fd, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(pipe.fd)
    try:
        one.exit_code = execution.wait()
    except LabrtError:  # who was to tell us was killed
        one.exit_code = 137
    one.running, one.pid, one.ended = False, 0, time.monotonic()
    one.container.note("exec_die", execID=one.id, exitCode=str(one.exit_code))


async def _until_end(one: Exec, execution: Execution, ends: dict[int, Pipe]) -> None:
    """Read what nobody wants, so that the program is not held up, and hear of its end."""
    async def drain(pipe: Pipe) -> None:
        while await pipe.read():
            continue

    if wire.STDIN in ends:
        ends.pop(wire.STDIN).close()
    await asyncio.gather(*(drain(pipe) for pipe in ends.values()))
    _close(ends, one)
    await _ended(one, execution)


def _close(ends: dict[int, Pipe], one: Exec) -> None:
    one.master = None
    for pipe in ends.values():
        pipe.close()


async def resize(request: web.Request) -> web.Response:
    """POST /exec/{id}/resize."""
    one = context.of(request).execs.get(request.match_info["id"])
    rows, columns = router.number(request, "h", 0) or 0, router.number(request, "w", 0) or 0
    if one.master is None:
        raise Conflict(f"exec instance {one.id} has no terminal, or does not run")
    pty.set_size(one.master, rows, columns)
    return web.Response()


async def inspect(request: web.Request) -> web.Response:
    """GET /exec/{id}/json."""
    return errors.as_json(context.of(request).execs.get(request.match_info["id"]).to_json())


ROUTES: list[router.Route] = [
    ("POST", "/containers/{id}/exec", create),
    ("POST", "/exec/{id}/start", start),
    ("POST", "/exec/{id}/resize", resize),
    ("GET", "/exec/{id}/json", inspect),
]
