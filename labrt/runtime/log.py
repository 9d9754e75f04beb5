r"""A container's log: one JSON object a line, in Docker's json-file format, so that whatever reads Docker's reads ours.

    {"log": "hello\n", "stream": "stdout", "time": "2026-11-24T05:22:13.123456789Z"}

`Writer` cuts what a container writes into lines, and begins a new file when one is full: ID-json.log is what is written
to, ID-json.log.1 the one before it, and so on. log_reader.py reads them.
See Docker's "JSON File logging driver".
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator

from labrt.shapes import Record

LONGEST = 16 * 1024  # of a line, as Docker: what is longer becomes several entries, of which only the last ends in \n


class Entry(Record):
    """A line, or a part of a long one. `time` is RFC 3339 with nanoseconds, in UTC."""

    text: str
    stream: str
    time: str


class Writer:
    """Appends to a log file. Each stream's unfinished line is held back until it ends, is too long, or `flush`.

    With `max_size`, in bytes, a file that is full is renamed, and `max_files` are kept, the one in use among them.
    """

    def __init__(self, path: str, *, max_size: int | None = None, max_files: int = 1) -> None:
        self._path, self._max_size, self._max_files = path, max_size, max_files
        self._rest = {"stdout": b"", "stderr": b""}
        self._open()
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._write(b"\n")  # a writer was killed in the midst of a line, which ours must not be glued to

    def write(self, stream: str, data: bytes) -> None:
        """Take what has arrived on a stream. Raises OSError when the disk is full."""
        whole, newline, self._rest[stream] = (self._rest[stream] + data).rpartition(b"\n")
        lines = [line + b"\n" for line in whole.split(b"\n")] if newline else []
        while len(self._rest[stream]) > LONGEST:
            lines.append(self._rest[stream][:LONGEST])
            self._rest[stream] = self._rest[stream][LONGEST:]
        if lines:
            self._write(_entries(stream, lines))

    def flush(self) -> None:
        """Write what was held back: nothing more comes."""
        held = b"".join(_entries(stream, [rest]) for stream, rest in self._rest.items() if rest)
        self._rest = dict.fromkeys(self._rest, b"")
        self._write(held)

    def close(self) -> None:
        """Write what was held back, and close."""
        try:
            self.flush()
        finally:
            os.close(self._fd)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size

    def _write(self, data: bytes) -> None:
        """Write whole entries, as many as fit, then the next file's."""
        while data:
            end = self._room(data)
            self._size += end
            _write_all(self._fd, data[:end])
            data = data[end:]
            if self._max_size and (data or self._size >= self._max_size):
                self._rotate()

    def _room(self, data: bytes) -> int:
        """Return how many bytes of `data`, up to an entry's end, go into the present file: at least one entry."""
        if not self._max_size or self._size + len(data) <= self._max_size:
            return len(data)
        fits = data.rfind(b"\n", 0, max(self._max_size - self._size, 0)) + 1
        return fits or (0 if self._size else data.find(b"\n") + 1)

    def _rotate(self) -> None:
        """Begin a new file. The oldest is renamed first: a kill in between leaves a gap in the names, no more.

        Even the only one is not emptied but replaced: who follows it still holds its file, and reads it to its end.
        """
        for number in range(self._max_files - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(numbered(self._path, number - 1), numbered(self._path, number))
        if self._max_files == 1:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(self._fd)
        self._open()


def numbered(path: str, number: int) -> str:
    """Name the file that came `number` files before the one in use."""
    return f"{path}.{number}" if number else path


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
        entry = Entry(value["log"], value["stream"], value["time"])
        return entry if all(isinstance(field, str) for field in entry) else None
    except (ValueError, KeyError, TypeError):
        return None
