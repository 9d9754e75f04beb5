"""A daemon for a test: begun, asked, killed, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labrt.engine.api import workers
from labrt.lab.daemon import Connection


def ask(path: Path, method: str, url: str, body: Any = None) -> tuple[int, Any]:
    with contextlib.closing(Connection(str(path))) as connection:
        raw = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        connection.request(method, url, raw, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    is_json = answer.headers["Content-Type"] == "application/json" and text
    return answer.status, json.loads(text) if is_json else text


class Daemon:
    def __init__(self, path: Path, *options: str, prefix: tuple[str, ...] = ()) -> None:
        self.path, self.options, self.prefix = path, options, prefix
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "labrt", "daemon", "-H", f"unix://{self.path}", *self.options],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for _ in range(400):
            with contextlib.suppress(OSError):
                if self.ask("GET", "/_ping")[0] == 200:
                    return
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.05)
        raise AssertionError("it does not answer")

    def ask(self, method: str, url: str, body: Any = None) -> tuple[int, Any]:
        return ask(self.path, method, url, body)

    def open(self, method: str, url: str, body: bytes = b"", **headers: object) -> socket.socket:
        """Send a request, or its beginning: where Content-Length promises more than `body`. Nothing is read."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(str(self.path))
        lines = [f"{method} {url} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return sock

    def held(self) -> dict[str, int]:
        """Count what it holds: descriptors, tasks of its event loop, processes of its own."""
        tasks = self.ask("GET", "/info")[1]["NGoroutines"]
        threads = Path(f"/proc/{self.process.pid}/task")
        children = [pid for thread in threads.iterdir() for pid in (thread / "children").read_text().split()]
        fds = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return {"fds": fds, "tasks": tasks, "processes": len(children)}

    def held_at_most(self) -> dict[str, int]:
        """As `held`, when as many workers stay warm as ever do."""
        held = self.held()
        warm = 1 + workers.KEPT  # the launcher is one, too
        return held | {"processes": warm, "fds": held["fds"] + warm - held["processes"]}

    def settles(self, before: dict[str, int]) -> bool:
        """Whether it holds no more than before, sooner or later: it hears of a connection's end when it looks."""
        return until(lambda: all(count <= before[name] for name, count in self.held().items()))

    def memory(self) -> int:
        """Return its memory that is no file's, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) << 10

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=30)

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=30)[1]
        assert self.process.returncode == 0, said
        return said


def until(is_so: Callable[[], object]) -> bool:
    """Whether it becomes so, within a minute."""
    for _ in range(600):
        if is_so():
            return True
        time.sleep(0.1)
    return False


def container(daemon: Daemon, *command: str, **more: Any) -> str:
    status, made = daemon.ask("POST", "/v1.50/containers/create", {"Image": "busybox", "Cmd": [*command], **more})
    assert status == 201, made
    return str(made["Id"])
