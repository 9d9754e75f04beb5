"""Reading a container's log, over all its files, while it is written: tail, read on, follow.

    with contextlib.closing(Reader(path)) as reader:
        reader.skip_to(10)              the last ten lines of what is there
        while entries := reader.read(): …
        reader.read()                   what has come since

A file that is full is renamed (log.py), but whoever has it open still has it. So the reader opens a newer file before
it reads the present one to its end, and misses no line between the two, if only it comes by while the file exists.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from labrt.runtime.log import Entry, numbered, parse

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import BinaryIO

PIECE = 1 << 20  # bytes that are read at once
TRIES = 100  # to look while no file begins


class Reader:
    """Reads a log piece by piece. What a container wrote before it was removed is still read.

    The files need not be there yet. `offset`, in bytes, is up to where the present one was read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: list[BinaryIO] = []  # oldest first; the first is the present one
        self.offset = 0
        self._open_newer()

    def _open_newer(self) -> None:
        """Open what is newer than the newest that we have.

        Upwards, as the files move: so none slips past us. But if another one began meanwhile, we may have met it behind
        one that is older: then once more.
        """
        known = os.fstat(self._files[-1].fileno()) if self._files else None
        for _ in range(TRIES):
            before = _identity(self._path)
            newer = self._look(known)
            if _identity(self._path) == before:
                break
            for file in newer:
                file.close()
            newer = []
        self._files += reversed(newer)

    def _look(self, known: os.stat_result | None) -> list[BinaryIO]:
        """Open files, newest first, down to the known one."""
        newer: list[BinaryIO] = []
        for number in self._numbers():
            with contextlib.suppress(FileNotFoundError):
                file = open(numbered(self._path, number), "rb")  # noqa: SIM115  (close is ours)
                status = os.fstat(file.fileno())
                if known and os.path.samestat(status, known):
                    file.close()
                    break
                if any(os.path.samestat(status, os.fstat(one.fileno())) for one in newer):
                    file.close()  # moved up while we looked
                else:
                    newer.append(file)
        return newer

    def _numbers(self) -> Iterator[int]:
        """Count up to one more than there are just now: files move up while we look, and leave gaps for a moment."""
        directory, name = os.path.split(self._path)
        number = last = 0
        while number <= last + 1:
            yield number
            number += 1
            with contextlib.suppress(FileNotFoundError):
                endings = (other.removeprefix(f"{name}.") for other in os.listdir(directory))
                last = max((int(ending) for ending in endings if ending.isdecimal()), default=0)

    def skip_to(self, tail: int) -> None:
        """Go to where the last `tail` lines of what is there begin."""
        self._open_newer()
        for index in range(len(self._files) - 1, -1, -1):
            file = self._files[index]
            self.offset, seen = _start_of_tail(file.fileno(), file.seek(0, os.SEEK_END), tail)
            tail -= seen
            if tail <= 0:
                for older in self._files[:index]:
                    older.close()
                del self._files[:index]
                return

    def read(self) -> list[Entry]:
        """Return the next entries, as far as their lines are whole: the monitor may be in the middle. [] is the end."""
        while lines := self.read_lines():
            if entries := [entry for entry in map(parse, lines) if entry]:
                return entries
        return []

    def read_lines(self) -> list[bytes]:
        """Return the next lines as they stand in the file, without their ends."""
        while True:
            if len(self._files) < 2:
                self._open_newer()
            if not self._files:
                return []
            if lines := self._read_piece(self._files[0]):
                return lines
            if len(self._files) < 2:
                return []
            self._files.pop(0).close()
            self.offset = 0

    def _read_piece(self, file: BinaryIO) -> list[bytes]:
        file.seek(self.offset)
        raw = file.read(PIECE)
        whole = raw[: raw.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.split(b"\n")[:-1]

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()
        self._files.clear()


def read(path: str, *, tail: int | None = None) -> list[Entry]:
    """Return the entries (the last `tail` lines of them; None: all)."""
    with contextlib.closing(Reader(path)) as reader:
        if tail is not None:
            reader.skip_to(tail)
        found = []
        while entries := reader.read():
            found += entries
        return found


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _start_of_tail(fd: int, size: int, tail: int) -> tuple[int, int]:
    """Find where the last `tail` lines begin, and how many there are, reading backwards: not all for its end."""
    if tail <= 0:
        return size, 0
    end, seen, block = size, 0, 1 << 16
    while end > 0:
        start = max(0, end - block)
        chunk = os.pread(fd, end - start, start)
        position = len(chunk)
        while (position := chunk.rfind(b"\n", 0, position)) >= 0:
            seen += start + position < size - 1  # the newline that ends the file begins no line
            if seen == tail:
                return start + position + 1, tail
        end = start
    return 0, seen + (size > 0)
