"""A directory that nothing leads out of: how a layer is unpacked by root and still cannot touch the host.

    with Tree("/some/root") as tree:
        fd = tree.enter(("usr", "bin"))       a descriptor of that directory, made where it is missing
        tree.remove(fd, "sh")                 a file, or a directory with all below it

No path is ever given to the kernel, only single names relative to an open directory, with O_NOFOLLOW (the engine: with
openat2 and RESOLVE_BENEATH, storage/unpacking.py): so a symbolic link is never followed by the kernel. It is followed
here, by reading it and going on *inside the root*: an absolute target begins at the root, and `..` stops there, as for
a process that is chrooted into it. Real layers need that (`bin/sh` where an earlier layer made bin a link to usr/bin);
hostile ones (`x -> /etc`, then `x/shadow`) end up in the root's own etc. See openat(2), symlink(7), path_resolution(7).
Notebook 02.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence

from labrt.errors import UnsafeLayer

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Self

_MOST_LINKS = 40  # as the kernel's own limit, path_resolution(7)
_DEEPEST = 256  # one descriptor is open per level
_PATH = getattr(os, "O_PATH", os.O_RDONLY)  # O_PATH is Linux's; it enters directories that cannot be read
_DIRECTORY = _PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # nothing, no directory, or a link

Missing = Callable[[int, tuple[str, ...]], str | None]
Step = Callable[[int, str], int]


def step(above: int, name: str) -> int:
    """Open the directory `name` in the open directory `above`, and nothing that a link leads to."""
    return os.open(name, _DIRECTORY, dir_fd=above)


class Tree:
    """A root directory and a chain of open descriptors that leads from it to the directory entered last.

    `here` are the names of that chain. They are physical: none of them is a symbolic link. Archives list a directory's
    files one after the other, so most calls of `enter` find the chain as they need it and cost no system call. Another
    `step` than the portable one is linux/beneath.py's, by which the kernel refuses what leads elsewhere.
    """

    def __init__(self, root: str | os.PathLike[str], step: Step = step) -> None:
        self.here: tuple[str, ...] = ()
        self._open = step
        self._fds = [os.open(root, _PATH | os.O_DIRECTORY | os.O_CLOEXEC)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._back_to(0)
        os.close(self._fds.pop())

    def enter(self, names: Sequence[str], missing: Missing | None = None) -> int:
        """Enter a directory, and return its descriptor (which stays the tree's: do not close it).

        `missing(fd, names)` is asked where no directory is: it makes the last of `names` in `fd`, or returns the target
        of a symbolic link to follow. Without it FileNotFoundError, and NotADirectoryError for a file.
        """
        todo = list(reversed(names))
        depth = links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                depth = max(0, depth - 1)
            elif name not in ("", "."):
                target = self._step(depth, name, missing)
                depth += target is None
                if target is not None:
                    links += 1
                    if links > _MOST_LINKS:
                        raise UnsafeLayer(f"{'/'.join(names)!r:.200}: more than {_MOST_LINKS} symbolic links")
                    depth = 0 if target.startswith("/") else depth
                    todo += reversed(target.split("/"))
        self._back_to(depth)
        return self._fds[-1]

    def descriptor(self, depth: int) -> int:
        """Return the descriptor of the directory `here[:depth]`; 0 is the root."""
        return self._fds[depth]

    def _step(self, depth: int, name: str, missing: Missing | None) -> str | None:
        """Go from the chain's `depth` to its directory `name`. Return the target instead, if that is a link."""
        if depth < len(self.here) and self.here[depth] == name:
            return None
        self._back_to(depth)
        if depth >= _DEEPEST:
            raise UnsafeLayer(f"{'/'.join(self.here)!r:.200}… is nested deeper than {_DEEPEST} directories")
        above = self._fds[-1]
        try:
            fd = self._open(above, name)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            target = self._link(above, name)
            if target is None and missing is not None:
                target = missing(above, (*self.here, name))
            elif target is None:
                raise error
            if target is not None:
                return target
            fd = self._open(above, name)
        self._fds.append(fd)
        self.here += (name,)
        return None

    @staticmethod
    def _link(above: int, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=above)
        except OSError:
            return None  # no link, or nothing at all

    def _back_to(self, depth: int) -> None:
        while len(self._fds) > depth + 1:
            os.close(self._fds.pop())
        self.here = self.here[:depth]

    def remove(self, above: int, name: str) -> None:
        """Remove what `name` is in the directory entered last, with all below it. Harmless when nothing is there."""
        remove(above, name)


def remove(above: int, name: str) -> None:
    """Remove `name` from the open directory `above`: a file, a link (not its target), or a directory and all below it.

    It needs two descriptors and no recursion however deep the directory is (a container can nest a million): what lies
    deeper is moved up, level by level, until everything is at the top.
    """
    try:
        os.unlink(name, dir_fd=above)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError) as error:  # PermissionError: what POSIX says of a directory
        if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise error
    top = _open_to_empty(above, name)
    try:
        prefix, count = f".labrt-{os.urandom(8).hex()}-", 0
        while directories := _unlink_files(top):
            for directory in directories:
                inner = _open_to_empty(top, directory)
                try:
                    for deeper in _unlink_files(inner):
                        _make_movable(inner, deeper)
                        os.rename(deeper, f"{prefix}{count}", src_dir_fd=inner, dst_dir_fd=top)
                        count += 1
                finally:
                    os.close(inner)
                os.rmdir(directory, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=above)


def remove_path(path: str) -> None:
    """Remove `path` with all below it. Its parent must be trusted; what is below it need not be."""
    try:
        above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove(above, os.path.basename(path))
    finally:
        os.close(above)


def _open_to_empty(above: int, name: str) -> int:
    _make_movable(above, name)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)


def _make_movable(above: int, name: str) -> None:
    """Let an ordinary user list and change a directory of their own that forbids it; root need not ask."""
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=above)  # callers know that it is a directory, and nobody else works here


def _unlink_files(fd: int) -> list[str]:
    """Unlink all that is no directory, and return the names of those that are."""
    directories = []
    with os.scandir(fd) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    return directories
