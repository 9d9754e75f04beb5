r"""A container's log: one JSON object a line, in Docker's json-file format, so that whatever reads Docker's reads ours.

    {"log": "hello\n", "stream": "stdout", "time": "2026-11-24T05:22:13.123456789Z"}

`Writer` cuts what a container writes into lines; `Reader` gives them back, the last ones first found from the end, and
then those that came since.
See Docker's "JSON File logging driver".
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

LONGEST = 16 * 1024  # of a line, as Docker: what is longer becomes several entries, of which only the last ends in \n


class Entry(NamedTuple):
    """A line, or a part of a long one. `time` is RFC 3339 with nanoseconds, in UTC."""

    text: str
    stream: str
    time: str


class Writer:
    """Appends to a log file. Each stream's unfinished line is held back until it ends, is too long, or `close`."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        self._rest = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        """Take what has arrived on a stream. Raises OSError when the disk is full."""
        whole, newline, self._rest[stream] = (self._rest[stream] + data).rpartition(b"\n")
        lines = [line + b"\n" for line in whole.split(b"\n")] if newline else []
        while len(self._rest[stream]) > LONGEST:
            lines.append(self._rest[stream][:LONGEST])
            self._rest[stream] = self._rest[stream][LONGEST:]
        if lines:
            _write_all(self._fd, _entries(stream, lines))

    def close(self) -> None:
        """Write what was held back, and close."""
        try:
            _write_all(self._fd, b"".join(_entries(stream, [rest]) for stream, rest in self._rest.items() if rest))
        finally:
            os.close(self._fd)


def _entries(stream: str, lines: list[bytes]) -> bytes:
    """Format what has arrived together: a program may print a million lines a second, so what is common is made once.

    JSON is text: bytes that are not UTF-8 show as U+FFFD, as in Docker.
    """
    end = f',"stream":"{stream}","time":"{_now()}"}}\n'
    quote = json.encoder.encode_basestring
    parts = (part for line in lines for part in ([line] if len(line) <= LONGEST else _parts(line)))
    return "".join(f'{{"log":{quote(part.decode(errors="replace"))}{end}' for part in parts).encode()


def _parts(line: bytes) -> Iterator[bytes]:
    for start in range(0, len(line), LONGEST):
        yield line[start : start + LONGEST]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def parse(line: bytes) -> Entry | None:
    """Read one line of the file; None if it is not whole (the machine crashed in the middle of it)."""
    try:
        value = json.loads(line)
        return Entry(value["log"], value["stream"], value["time"])
    except (ValueError, KeyError, TypeError):
        return None


class Reader:
    """Reads a log piece by piece. It holds the file open: what a container wrote before it was removed is still read.

    The file need not be there yet. `offset`, in bytes, is up to where it was read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.offset = 0
        self._open()

    def _open(self) -> BinaryIO | None:
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):
                self._file = open(self._path, "rb")  # noqa: SIM115  (close is ours)
        return self._file

    def skip_to(self, tail: int) -> None:
        """Go to where the last `tail` lines of what is there begin."""
        if file := self._open():
            self.offset = _start_of_tail(file.fileno(), file.seek(0, os.SEEK_END), tail)

    def read(self) -> list[Entry]:
        """Return the entries from `offset` on, as far as their lines are whole: the monitor may be in the middle."""
        file = self._open()
        if file is None:
            return []
        file.seek(self.offset)
        raw = file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [entry for entry in map(parse, whole.splitlines()) if entry]

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def read(path: str, *, tail: int | None = None) -> tuple[list[Entry], int]:
    """Return the entries (the last `tail` lines of them; None: all), and the offset up to which the file was read."""
    with contextlib.closing(Reader(path)) as reader:
        if tail is not None:
            reader.skip_to(tail)
        return reader.read(), reader.offset


def _start_of_tail(fd: int, size: int, tail: int) -> int:
    """Find where the last `tail` lines begin, reading backwards: a long log is not read through for its end."""
    if tail <= 0:
        return size
    end, seen, block = size, 0, 1 << 16
    while end > 0:
        start = max(0, end - block)
        chunk = os.pread(fd, end - start, start)
        position = len(chunk)
        while (position := chunk.rfind(b"\n", 0, position)) >= 0:
            seen += start + position < size - 1  # the newline that ends the file begins no line
            if seen == tail:
                return start + position + 1
        end = start
    return 0
