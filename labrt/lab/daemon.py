"""A labrt daemon to play with, and one to talk to by hand.

    daemon = lab.daemon()                   starts it, with a socket of its own; it traces (labrt daemon --trace)
    daemon.docker("ps", "-a")               what the real docker prints; where there is none, NotFound says so
    daemon.ask("GET", "/containers/json")   the same question in HTTP: status, and what the JSON says
    daemon.kill()                           kill -9; `daemon.start()` brings another one
    daemon.close()

It is in the ledger: `labrt.reset()` ends it as well. What it told of requests, traces.py draws. Notebook 19.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from labrt.errors import NotFound, Unreachable
from labrt.lab.workspace import workspace
from labrt.linux import ledger
from labrt.linux import process as processes

PATIENCE = 30  # seconds for a daemon to answer, and for a docker to end


def find_docker() -> str:
    """Return the path of the docker command line, "" if there is none: installed, or unpacked by setup.sh."""
    return shutil.which("docker") or shutil.which("docker", path=os.path.dirname(sys.executable)) or ""


class Daemon:
    """A daemon, as a process of its own."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.home = self._stack.enter_context(workspace("daemon"))
        self.socket = os.path.join(self.home, "d.sock")
        self._trace = os.path.join(self.home, "trace.json")
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """What `docker -H` wants to hear."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "labrt", "daemon", "--trace", "--log-format", "json", "-H", self.url]
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with open(self._trace, "ab") as trace, open(os.path.join(self.home, "log"), "ab") as log:
            # ■ is for the notebook's own process group.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=trace, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        began = processes.start_time(self.process.pid) or 0
        self._entry = ledger.record("process", str(self.process.pid), starttime=str(began))
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                self.ask("GET", "/_ping")
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.home, "log")) as file:
                    raise Unreachable(f"the daemon does not answer: {file.read()[-300:]}", remedy="labrt.reset()")
            time.sleep(0.02)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Make one request, and return the status and the answer: of JSON what it says, else text."""
        with contextlib.closing(Connection(self.socket)) as connection:
            raw = None if body is None else json.dumps(body)
            connection.request(method, path, raw, {"Content-Type": "application/json"} if raw else {})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.status, json.loads(text) if is_json and text else text

    def docker(self, *arguments: str) -> str:
        """Run the real docker with this daemon, and return what it printed, errors included."""
        return run_docker(self.url, self.home, *arguments)

    def trace(self) -> list[dict[str, Any]]:
        """Return all events that it has told of until now."""
        mark = f"/_ping?{time.monotonic_ns()}"
        self.ask("GET", mark)  # what was told before this is in the file when this is
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with open(self._trace) as file:
                events = [json.loads(line) for line in file if line.endswith("\n")]
            marked = [event["request"] for event in events if event["text"] == f"GET {mark}"]
            if any(event["kind"] == "answer" and event["request"] in marked for event in events):
                return events
            time.sleep(0.01)
        raise Unreachable("the daemon does not trace", remedy="labrt.reset()")

    def kill(self) -> None:
        """Shoot it dead, as the kernel does when memory is short."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        self.process.send_signal(number)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        ledger.strike(self._entry)

    def close(self) -> None:
        """End it, and take its directory away. Its containers go on."""
        if hasattr(self, "_entry") and self.process.poll() is None:
            self._end(signal.SIGTERM)
        with contextlib.suppress(FileNotFoundError):  # a reset was faster
            self._stack.close()

    def __repr__(self) -> str:
        return f"<Daemon {self.process.pid} at {self.url}>"


class Connection(http.client.HTTPConnection):
    """One connection to a daemon, over its unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        """Do it."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def run_docker(url: str, config: str, *arguments: str) -> str:
    """Run docker with a daemon at `url`, with a configuration of its own in `config`. NotFound where there is none."""
    program = find_docker()
    if not program:
        raise NotFound("there is no docker command line here", remedy="sudo sh labrt/setup.sh test unpacks it")
    done = subprocess.run([program, "-H", url, *arguments], text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          env={**os.environ, "DOCKER_CONFIG": config})  # fmt: skip
    return done.stdout


def daemon() -> Daemon:
    """Start one."""
    return Daemon()
