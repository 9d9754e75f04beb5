"""The daemon's main function: its signals, its log, its end. Its sockets are sockets.py's.

    serve(Settings(hosts=["unix:///run/labrt/labrt.sock"]))

SIGTERM ends the daemon and no container; SIGHUP reads the certificates again and sees to containers whose monitor was
killed. systemd is told when we are ready: sd_notify(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiohttp import web
from aiohttp.web_server import Server

from labrt import paths
from labrt.engine.api import context, errors, router, sockets
from labrt.engine.api.door import Door, Welcome, descriptors
from labrt.engine.api.protocol import Protocol
from labrt.engine.api.sockets import Settings
from labrt.errors import Conflict, LabrtError


def serve(settings: Settings, where: paths.Paths | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises LabrtError for what keeps it from beginning."""
    begin_logging(settings)
    with _pidfile(settings.pidfile), contextlib.ExitStack() as stack:
        shared = context.Context(where)
        shared.debug = settings.debug
        for directory in (shared.where.state, shared.where.run):
            os.makedirs(directory, 0o711, exist_ok=True)
        listeners = [*sockets.listening(settings, shared.where, stack)]
        attach = None
        if settings.trace:
            from labrt.engine.api import tracing

            attach = stack.enter_context(tracing.following(shared, settings.log_format == "json"))
        asyncio.run(_serve(settings, shared, listeners, attach))
    # Threads that wait for a container's end would hold us up: what they do is for clients who are gone.
    logging.shutdown()
    os._exit(0)


async def _serve(
    settings: Settings, shared: context.Context, listeners: Sequence[tuple[socket.socket, bool]],
    attach: Callable[[web.Application], None] | None = None,
) -> None:  # fmt: skip
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    app = router.application(shared)
    if attach:
        attach(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    assert runner.server is not None
    door = Door(descriptors())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: shared.keep(_reload(shared)))
    await shared.call(_restore, shared)
    doors = []
    for sock, is_tcp in listeners:
        if is_tcp:
            from labrt.engine.api import tls

            welcome = tls.welcoming(settings, runner.server, shared)
        else:
            welcome = _welcoming(runner.server, shared)
        doors.append(asyncio.ensure_future(door.stand_open(sock, welcome)))
        errors.log.info("listening on %s", sockets.shown(sock))
    _notify("READY=1")
    await ended.wait()
    errors.log.info("ending; the containers go on")
    _notify("STOPPING=1")
    for standing_open in doors:
        standing_open.cancel()
    await runner.cleanup()


def _welcoming(server: Server, shared: context.Context) -> Welcome:
    """Return what serves one client over a unix socket."""
    loop = asyncio.get_running_loop()

    async def serve_one(client: socket.socket, done: Callable[[], None]) -> None:
        try:
            await loop.connect_accepted_socket(lambda: Protocol(server, done), client)
        except OSError:
            client.close()
            done()

    return lambda client, done: shared.keep(serve_one(client, done))


def _restore(shared: context.Context) -> None:
    """Start what a restart policy promised, after a reboot."""
    from labrt.engine.restore import restore
    from labrt.runtime import launcher

    launcher.default()
    for container in restore(shared.where):
        errors.log.info("started %s again, by its restart policy", container)


async def _reload(shared: context.Context) -> None:
    errors.log.info("reloading")
    _notify("RELOADING=1")
    with contextlib.suppress(LabrtError):
        await shared.call(shared.containers().mend)
    for again in shared.reloads:
        try:
            again()
        except LabrtError as error:
            errors.log.error("the certificates stay as they were: %s", error)
    _notify("READY=1")


@contextlib.contextmanager
def _pidfile(path: str) -> Iterator[None]:
    if not path:
        yield
        return
    with contextlib.suppress(FileNotFoundError, ValueError), open(path) as file:
        pid = int(file.read())
        if pid != os.getpid() and os.path.exists(f"/proc/{pid}"):
            raise Conflict(f"{path} names process {pid}, which runs", remedy="end that one, or name another --pidfile")
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _notify(text: str) -> None:
    """Tell systemd how we are. Where nobody wants to know, nothing."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    if text.startswith("RELOADING"):
        text += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), f"\0{place[1:]}" if place.startswith("@") else place)


def begin_logging(settings: Settings) -> None:
    """Write the log to standard error: text, or one JSON object a line."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    handler.setFormatter(_JSON() if settings.log_format == "json" else text)
    for name in ("labrt.daemon", "aiohttp.server", "asyncio", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.DEBUG if settings.debug and name == "labrt.daemon" else logging.INFO)
    logging.captureWarnings(True)


class _JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        about: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "msg": record.getMessage(),
        }  # fmt: skip
        if record.exc_info:
            about["error"] = self.formatException(record.exc_info)
        return json.dumps(about, ensure_ascii=False)
