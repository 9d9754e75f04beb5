"""`labrt daemon --trace`: what it shows of a request is what happened, from the client to the system calls."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import pytest

from labrt.lab.daemon import Connection
from labrt.linux import procfs, syscalls, tracing

pytestmark = pytest.mark.root


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture
def traced(house: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a daemon with --trace and more options, make requests, end it; return their answers and what it wrote."""
    path, running = tmp_path / "d.sock", []

    def trace(requests: list[tuple[str, str, Any]], *options: str) -> tuple[list[Any], str]:
        command = [sys.executable, "-m", "labrt", "daemon", "-H", f"unix://{path}", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        while not listens(path):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        answers = []
        for method, url, body in requests:
            connection = Connection(str(path))
            raw = None if body is None else json.dumps(body)
            connection.request(method, url, raw, {"Content-Type": "application/json", "X-Registry-Auth": "hush-hush"})
            answers.append(connection.getresponse().read())
            connection.close()
        process.send_signal(signal.SIGTERM)
        said, log = process.communicate(timeout=30)
        assert process.returncode == 0, log
        assert "hush-hush" not in log
        return answers, said

    yield trace
    for process in running:
        process.kill()
        process.communicate()


LIFE = [
    ("POST", "/v1.50/containers/create?name=box", {"Image": "busybox", "Cmd": ["sh", "-c", "exit 3"],
                                                   "Hostname": "inn"}),
    ("POST", "/containers/box/start", None),
    ("POST", "/containers/box/wait", None),
    ("DELETE", "/containers/box", None),
]  # fmt: skip


def test_a_request_is_followed_to_the_system_calls(traced: Callable[..., Any], house: Path) -> None:
    answers, said = traced(LIFE, "--trace", "--log-format", "json")
    assert json.loads(answers[2]) == {"StatusCode": 3}
    events = [json.loads(line) for line in said.splitlines()]
    of_start = [event for event in events if event["request"] == 2]
    assert [event["text"] for event in of_start if event["kind"] == "request"] == ["POST /containers/box/start"]
    assert of_start[0]["client"] == f"{procfs.stat(os.getpid()).comm}[{os.getpid()}]"
    assert {event["role"] for event in of_start} >= {"daemon", "monitor", "init"}

    def place(kind: str, role: str, begin: str) -> int:
        found = [number for number, event in enumerate(of_start)
                 if (event["kind"], event["role"]) == (kind, role) and event["text"].startswith(begin)]  # fmt: skip
        assert found, (kind, role, begin)
        return found[0]

    order = [
        place("handler", "daemon", "engine.api.containers.start"), place("order", "daemon", "to the launcher: create"),
        place("call", "monitor", "clone3(CLONE_NEWNS"), place("call", "init", "sethostname('inn')"),
        place("call", "init", "pivot_root("), place("state", "monitor", "created"),
        place("state", "monitor", "running"),
    ]  # fmt: skip
    assert order == sorted(order)
    assert {event["pid"] for event in of_start if event["role"] == "init"} == {1}
    # init is silent after it has closed what is not the container's: its number may be another file's by then.
    last = [event for event in of_start if event["role"] == "init"][-1]
    assert last["last"] and last["text"].startswith("close_range(")
    assert any(event["kind"] == "state" and event["text"].endswith("exit code 3") for event in of_start)
    assert not os.path.exists(house / "run" / "trace.fifo")


def test_as_text_and_without_secrets(traced: Callable[..., Any]) -> None:
    arguments, changes = quote('{"KEY": "hush-hush", "FROM_HERE": null}'), quote("ENV KEY=hush-hush")
    wanted = {"Image": "nobody", "Cmd": ["true"], "Env": ["KEY=hush-hush", "HOME"],
              "HostConfig": {"Mounts": [{"Type": "bind", "Password": "hush-hush"}]}}  # fmt: skip
    _, said = traced([("POST", "/auth", {"username": "me", "password": "hush-hush", "serveraddress": "127.0.0.1:9"}),
                      ("POST", "/containers/create", wanted),
                      ("POST", f"/build?t=a&buildargs={arguments}", None),
                      ("POST", "/build?buildargs=hush-hush", None),
                      ("POST", f"/commit?container=nobody&changes={changes}", None),
                      ("GET", "/containers/%1b%5b31m/json", None)], "--trace", "--debug")  # fmt: skip
    assert '"Env":["KEY=*****","HOME"]' in said
    assert '{"KEY": "*****", "FROM_HERE": null}' in unquote_plus(said)
    assert "──► POST /auth   from " in said and '"username":"me"' in said
    assert "◄── 404" in said
    assert "hush-hush" not in said
    assert "\x1b" not in said


def test_without_trace_nothing_is_said_or_replaced(traced: Callable[..., Any], house: Path) -> None:
    _, said = traced(LIFE)
    assert said == ""
    done = subprocess.run([sys.executable, "-c", "import labrt.engine.api.serve, labrt.runtime.forkserver, sys;"
                           "print([name for name in sys.modules if name.startswith('labrt') and '.trac' in name])"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "[]\n"


def test_a_full_fifo_is_not_waited_for_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    """In a process of its own: whoever joins, stays joined."""
    path = str(tmp_path / "fifo")
    with tracing.channel(path) as fd:
        code = (
            "import sys\nfrom labrt.linux import tracing, syscalls\n"
            f"assert tracing.join({path!r}, 'test')\n"
            "for number in range(5000): tracing.tell('call', 'x' * 1000)\n"
            "print('full', flush=True); sys.stdin.readline()\n"
            "syscalls.sethostname.__wrapped__; tracing.tell('call', 'y' * 9000)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin and child.stdout
            assert child.stdout.readline() == b"full\n"
            before = _drain(fd).splitlines()
            child.stdin.write(b"\n")
            child.stdin.close()
            assert child.wait() == 0
        after = _drain(fd)
    event = json.loads(after)
    assert event["lost"] == 5000 - len(before) > 0
    assert len(after) <= tracing.WHOLE and event["text"].endswith("…")
    assert not tracing.join(path, "nobody reads") and not hasattr(syscalls.sethostname, "__wrapped__")


def _drain(fd: int) -> bytes:
    data = b""
    while True:
        try:
            data += os.read(fd, 1 << 20)
        except BlockingIOError:
            return data
