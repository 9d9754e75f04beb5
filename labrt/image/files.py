"""Files that are never half written, and locks that a killed process cannot leave behind.

    replace(path, data)         the file has the old content or the new, at every instant and after a power cut
    with locked(path): ...      one process at a time, or with shared=True several that only read

A lock is flock(2) on a file of its own: the kernel releases it when its holder dies, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from labrt.errors import Conflict


def replace(path: str, data: bytes, *, durable: bool = True) -> None:
    """Write `path` anew: a temporary file beside it, fsync, rename, fsync of the directory.

    Not `durable`: without the fsyncs, which wait for the disk; for what nobody will miss after a power cut.
    """
    swap(path, data, synced=durable)
    if durable:
        sync_directory(os.path.dirname(path))


def swap(path: str, data: bytes, *, mode: int = 0o644, synced: bool = False) -> None:
    """Do `replace` but for the directory's fsync: `synced`, a power cut leaves the old file or the new, whole."""
    temporary = os.path.join(
        os.path.dirname(path), f".{os.path.basename(path)}-{os.getpid()}-{os.urandom(4).hex()}"
    )
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def sync_directory(path: str) -> None:
    """Make renames and new names in this directory survive a power cut. See fsync(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(path: str, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock at `path`, made when absent. Without `wait`, Conflict when somebody else holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(fd, operation if wait else operation | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process works on {path}", remedy="wait for its end, then try again") from None
        yield
    finally:
        # Explicitly: a child that was forked meanwhile has the same open file, and closing ours would not unlock it.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
