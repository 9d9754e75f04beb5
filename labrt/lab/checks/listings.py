"""Notebook 19: answer /containers/json, and let the real docker print it.

    lab.checks.prints(listing)      the check; in a notebook lab.check("19", listing)

`listing(containers, every)` is given labrt's containers, and returns what a daemon answers `docker ps` with (`every`:
`docker ps -a`). Two containers are made, one that runs and one that has ended; the answers are served on a unix socket,
and `docker` is asked to print them. Where there is none, they are read as it reads them.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from labrt.errors import NotFound
from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, not_yet, passed
from labrt.lab.workspace import workspace

Listing = Callable[[Any, bool], object]
EXPECTED = "`docker ps` prints the one that runs, `docker ps -a` both, with all that labrt knows of them"
COLUMNS = {"ID": "Id", "Names": "Names", "Image": "Image", "Command": "Command", "CreatedAt": "Created",
           "Status": "Status", "State": "State"}  # fmt: skip
_ANOTHER = 'compare with daemon.ask("GET", "/containers/json")[1][0], which labrt itself answers'
_UNWRITTEN = (
    "a list, with one dict for each container; without `every` only for those whose status is running",
    "Id, Names, Image, Command, Created, State, Status, Ports: the names and types are the API's, see the table above",
    '[{"Id": c.id, "Names": ["/" + c.name], …} for c in containers if every or c.status == "running"]',
)
_HINTS = {
    "ID": ("the id is another one", "all 64 digits of it: to shorten is the client's business", '"Id": c.id'),
    "Names": (
        "the name is another one: docker takes the first letter of each name away",
        "for historical reasons names begin with a slash, and there may be several",
        '"Names": ["/" + c.name]',
    ),
    "Image": ("the image is not the one that was asked for", "by its name", '"Image": c.record()["image"]'),
    "Command": (
        "the command is another one",
        "one text, words with blanks between; docker puts the quotes",
        '"Command": " ".join(c.record()["command"])',
    ),
    "CreatedAt": (
        "it was made at another time",
        "seconds since 1970, a whole number: docker makes a date of it, and a zero is 1970",
        '"Created": int(c.record()["created"])',
    ),
    "Status": (
        "the status is not what people want to read: for how long it is up, or with which code it has ended",
        "a sentence of the daemon's; docker prints it as it comes: Up …, Exited (1) …",
        '"Status": summary.status(c), of labrt.engine; or a sentence of yours',
    ),
    "State": ("the state is another one", "one word: running, exited, …", '"State": c.status'),
}


def prints(listing: Listing) -> Check:
    """Judge `listing`, at two containers that are made for it."""
    from labrt.engine import run

    made = [run("busybox", "sleep", "600", detach=True), run("busybox", "false", detach=True)]
    try:
        made[1].wait(30)
        return _judge(listing, made)
    finally:
        for container in made:
            container.remove(force=True)


def _judge(listing: Listing, made: list[Any]) -> Check:
    answers: dict[bool, str] = {}
    for every in (False, True):
        tried = attempt.run(functools.partial(_answer, listing, made, every), namespaces="uts")
        if tried.problem:
            return not_yet("listing", tried.problem, EXPECTED, _of_problem(tried))
        answers[every] = tried.value
    for every in (False, True):
        rows, refused = _printed(answers, every)
        command = "docker ps -a" if every else "docker ps"
        if refused:
            return not_yet("listing", f"{command} says: {refused}", EXPECTED, _of_refusal(refused))
        hints, saw = _compared(rows, made if every else made[:1], every)
        if hints:
            return not_yet("listing", f"{command} prints {saw}", EXPECTED, hints)
    return passed("listing", f"docker ps prints 1 container, docker ps -a {len(made)}, as they are", EXPECTED)


def _answer(listing: Listing, made: list[Any], every: bool) -> str:
    return json.dumps(listing(made, every))


def _of_problem(tried: attempt.Attempt) -> tuple[str, ...]:
    if "not JSON serializable" in tried.problem:
        return (
            f"{tried.problem}: it cannot go over the wire",
            "HTTP carries text: JSON knows texts, numbers, lists and objects, and nothing of Python's",
            _ANOTHER,
        )
    return tried.hints(_UNWRITTEN)


def _of_refusal(refused: str) -> tuple[str, ...]:
    return (
        f"docker does not understand the answer: {refused}"[:300],
        "docker is written in Go: each field has one type, and another one is an error",
        _ANOTHER,
    )


def _compared(rows: list[dict[str, str]], wanted: list[Any], every: bool) -> tuple[tuple[str, ...], str]:
    saw = ", ".join(f"{row.get('Names')} ({row.get('Status')})" for row in rows) or "nothing"
    if len(rows) > len(wanted):
        return (
            "it tells of one that has ended, and nobody asked for that",
            "`docker ps` sends /containers/json, `docker ps -a` /containers/json?all=1: that is your `every`",
            'if every or c.status == "running"',
        ), saw
    if len(rows) < len(wanted):
        return (
            f"{len(wanted) - len(rows)} missing of {len(wanted)}",
            "with `every` all containers are wanted, whatever became of them" if every else "one of them runs",
            "[… for c in containers if every or …]",
        ), saw
    for container in wanted:
        row = next((row for row in rows if row.get("ID") == container.id), rows[0])
        for column, expected in _facts(container).items():
            if not re.fullmatch(expected, row.get(column, "")):
                return _HINTS[column], f"{column} {row.get(column)!r}"
    return (), saw


def _facts(container: Any) -> dict[str, str]:
    """Return for each column of docker's a pattern of what it must be."""
    record, running = container.record(), container.status == "running"
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(record["created"])))
    command = '"' + " ".join(record["command"]) + '"'
    return {
        "ID": container.id, "Names": re.escape(record["name"]), "Image": "(docker.io/library/)?busybox(:latest)?",
        "Command": re.escape(command), "CreatedAt": f"{made}.*", "Status": "Up .+" if running else r"Exited \(1\).*",
        "State": container.status,
    }  # fmt: skip


# docker, and who stands in for it -------------------------------------------------------------------------------------


def _printed(answers: dict[bool, str], every: bool) -> tuple[list[dict[str, str]], str]:
    """Let docker print an answer; return its rows, or what it complains of."""
    from labrt.lab import daemon

    form = "{{json .}}"
    with workspace("listing") as home, serving(os.path.join(home, "l.sock"), answers) as url:
        try:
            said = daemon.run_docker(url, home, "ps", "--no-trunc", "--format", form, *(["-a"] if every else []))
        except NotFound:
            return as_docker_reads(answers[every])
    try:
        return [json.loads(line) for line in said.splitlines()], ""
    except ValueError:
        return [], said.strip()


@contextlib.contextmanager
def serving(path: str, answers: dict[bool, str]) -> Iterator[str]:
    """Serve on a unix socket as much of the API as `docker ps` asks for; yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "OK" if self.path.endswith("_ping") else answers["all=1" in self.path]
            self.send_response(200)
            self.send_header("Api-Version", "1.50")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_HEAD = do_GET  # noqa: N815  # the name is http.server's

        def log_message(self, *_: object) -> None:
            """Say nothing: this is not the learner's output."""

        def address_string(self) -> str:
            return "unix"

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


_TYPES: dict[str, tuple[type, str]] = {
    "Id": (str, "string"), "Image": (str, "string"), "Command": (str, "string"), "Created": (int, "int64"),
    "State": (str, "string"), "Status": (str, "string"), "Names": (list, "[]string"), "Ports": (list, "[]Port"),
}  # fmt: skip


def as_docker_reads(answer: str) -> tuple[list[dict[str, str]], str]:
    """Read an answer as docker does, where there is no docker: the types of Go, the columns of `docker ps`."""
    value = json.loads(answer)
    if not isinstance(value, list):
        return [], f"json: cannot unmarshal {type(value).__name__} into Go value of type []container.Summary"
    rows = []
    for one in value:
        if not isinstance(one, dict):
            return [], f"json: cannot unmarshal {type(one).__name__} into Go value of type container.Summary"
        for name, (kind, called) in _TYPES.items():
            if one.get(name) is not None and (not isinstance(one[name], kind) or isinstance(one[name], bool)):
                what = type(one[name]).__name__
                return [], f"json: cannot unmarshal {what} into Go struct field Summary.{name} of type {called}"
        row = {column: str(one.get(name) or "") for column, name in COLUMNS.items()}
        row["Names"] = ",".join(str(name)[1:] for name in one.get("Names") or [])
        row["Command"] = json.dumps(row["Command"], ensure_ascii=False)
        row["CreatedAt"] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.get("Created") or 0))
        rows.append(row)
    return rows, ""
