"""Where a command writes an archive: a file that is whole or not there, or standard output.

    with opened("busybox.tar") as stream: ...        None: standard output, unless that is a terminal
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO

from labrt.errors import InvalidInput


@contextlib.contextmanager
def opened(path: str | None) -> Iterator[BinaryIO]:
    """Open the output for as long as the block runs; when that fails, a new file is gone and an old one as it was."""
    if path is None:
        if sys.stdout.isatty():
            raise InvalidInput("an archive is nothing to look at in a terminal", remedy="use -o FILE, or a pipe")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):  # /dev/stdout, a FIFO
        with open(path, "wb") as stream:
            yield stream
        return
    temporary = os.path.join(os.path.dirname(path) or ".", f".{os.path.basename(path)}-{os.urandom(4).hex()}")
    try:
        # For its owner only, as docker does it: an image may hold secrets.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
            yield stream
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def source(path: str | None) -> Iterator[BinaryIO]:
    """Open the input: a file, or for None and "-" standard input, unless that is a terminal."""
    if path in (None, "-"):
        if sys.stdin.isatty():
            raise InvalidInput("no archive comes from a terminal", remedy="give a file, or a pipe")
        yield sys.stdin.buffer
        return
    assert path is not None
    with open(path, "rb") as stream:
        yield stream
