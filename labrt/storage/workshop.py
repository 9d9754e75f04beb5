"""Directories that are made and deleted out of sight, so that nobody ever sees half of one.

    with workshop.claimed(name, ready) as building: ...     None: somebody else has just finished it
    workshop.discard(path)                                  gone at once; `sweep` deletes what it was
    workshop.sweep()                                        also what killed processes left

A directory under construction is locked with flock(2), which the kernel undoes when its maker dies. So a second process
that wants the same waits for the first, and a directory that is found unlocked belongs to nobody and can be deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from labrt.image.tree import remove_path


class Workshop:
    """A directory for what is not yet, or no longer, to be seen. It is on the same file system as what is."""

    def __init__(self, path: str, undo: Callable[[str], object] = lambda building: None) -> None:
        """`undo` takes down what a directory has that is more than files, before it is removed."""
        self.path = path
        self.undo = undo

    def remove(self, building: str) -> None:
        """Remove a directory that nobody else can have."""
        self.undo(building)
        remove_path(building)

    @contextlib.contextmanager
    def claimed(self, name: str, ready: Callable[[], bool]) -> Iterator[str | None]:
        """Yield a directory of this name, locked, which may have leftovers in it; None when it is `ready` already."""
        building = os.path.join(self.path, name)
        while not ready():
            with contextlib.suppress(FileExistsError):  # exist_ok looks once more, and it may be gone again by then
                os.makedirs(building)
            with _locked(building) as ours:
                if ours and not ready():
                    yield building
                    return
                if ours:  # it was finished after we had looked, and before we made this directory: an empty one
                    remove_path(building)
            # Whoever had the lock renamed or removed the directory meanwhile: look again.
        yield None

    def discard(self, path: str) -> None:
        """Take a directory's name away. Harmless when somebody else was faster."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, os.path.join(self.path, f"removed-{os.urandom(8).hex()}"))

    def sweep(self) -> None:
        """Delete all that nobody is building."""
        for name in names(self.path):
            path = os.path.join(self.path, name)
            with _locked(path, wait=False) as ours:
                if ours:
                    self.remove(path)


@contextlib.contextmanager
def _locked(directory: str, *, wait: bool = True) -> Iterator[bool]:
    """Lock a directory itself. False when it is gone, or is another one, by the time we have the lock."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _lock(fd, directory, wait)
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _lock(fd: int, directory: str, wait: bool) -> bool:
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), os.stat(directory))
    return False


def names(path: str) -> list[str]:
    """Return the names in a directory, sorted; of an absent one, none."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(path))
    return []


def disk_usage(path: str) -> int:
    """Return how many bytes of disk are allocated for all below `path`. What vanishes meanwhile counts nothing."""
    total, seen, todo = 0, set(), [path]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as found:
            for entry in found:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    if status.st_nlink > 1:
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512  # always units of 512 bytes, see stat(2)
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
    return total


def is_host_root() -> bool:
    """Whether this is root in the first user namespace: other roots may make no devices and no trusted.* attributes."""
    if os.geteuid() != 0:
        return False
    with contextlib.suppress(OSError), open("/proc/self/uid_map") as file:
        return file.read().split() == ["0", "0", "4294967295"]
    return True
