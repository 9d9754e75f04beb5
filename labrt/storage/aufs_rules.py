"""AUFS's rules: how a stack of directories, its branches, becomes one tree. Nothing here knows of FUSE or of mounts.

    union = Union([upper, layer2, layer1])     the highest first; only that one is ever written to
    union.find("/etc/passwd")                  the path in the branch that has it
    union.names("/etc")                        what all branches together show there
    union.copy_up("/etc/passwd")               now the highest branch has it, and may change it
    union.hide("/etc/motd")                    whatever lower branches have under this name is gone

Four rules say all:

    1. The highest branch that has a name wins. Directories are the exception: all of that name are merged, down to the
       first branch that has something else there.
    2. A whiteout, the empty file .wh.NAME, hides NAME in all branches *below* its own.
    3. A directory with .wh..wh..opq in it is opaque: nothing of the directories below it shows.
    4. Writing goes to the highest branch. What is not there is copied up first, with the directories that lead to it.

So a container that deletes a file makes its own layer longer by a whiteout, and the layer below stays as it is: that is
how Docker began, and why layers in registries speak of `.wh.` to this day. No name may begin with `.wh.` itself.

Each part of a path is looked at in its own branch, and a symbolic link there ends that branch: what one layer calls a
directory and another one a link is never walked through, not to the host's /etc either.
See aufs(5), and layer.md of the OCI image-spec, "Whiteouts". Notebook 11.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from labrt.image.whiteouts import OPAQUE_NAME, PREFIX
from labrt.storage.copy import copy_attributes, copy_node

NAMELESS = ".fuse_hidden"  # how libfuse calls a file that has lost its name while it is open; it is listed nowhere
_TEMPORARY = ".wh..wh.new"  # what is being copied up: hidden from everybody, as all names with this prefix


class Found(NamedTuple):
    """Where a path is: the number of its branch (0 is the highest), the path there, its status."""

    branch: int
    path: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, which may go on in branches below."""
        return stat.S_ISDIR(self.status.st_mode)


class Union:
    """Branches seen as one tree. Paths begin with "/" and are what the kernel has made of them: no links, no `..`."""

    def __init__(self, branches: Sequence[str]) -> None:
        self.branches = list(branches)

    # Rules 1 to 3: what is seen ---------------------------------------------------------------------------------------

    def stack(self, path: str) -> list[Found]:
        """Return every branch's part of what is seen at `path`, highest first; several only of a directory; [] of none.

        Raises FileNotFoundError for names that begin with .wh., which nobody may use.
        """
        found = [Found(number, branch, os.lstat(branch)) for number, branch in enumerate(self.branches)]
        for name in _names(path):
            if not found or not found[0].is_directory:
                return []
            found = _step(found, name)
        return found

    def find(self, path: str) -> Found:
        """Return where a path is, in the highest branch that has it. Raises FileNotFoundError."""
        found = self.stack(path)
        if not found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found[0]

    def entries(self, path: str) -> dict[str, int]:
        """Return the names in a directory, of all branches together, without what is hidden and what hides.

        The values are inode numbers.
        """
        seen: dict[str, int] = {}
        hidden: set[str] = set()
        for part in self.stack(path):
            with os.scandir(part.path) as found:
                inodes = {entry.name: entry.inode() for entry in found}
            for name in inodes.keys() - seen.keys() - hidden:
                if not name.startswith((PREFIX, NAMELESS)):
                    seen[name] = inodes[name]
            hidden |= {name.removeprefix(PREFIX) for name in inodes if name.startswith(PREFIX)}
        return seen

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(self.entries(path))

    def below(self, path: str) -> bool:
        """Whether a branch other than the highest shows something at `path`, were it not in the highest."""
        parent, name = os.path.split(path)
        parts = [part for part in self.stack(parent) if part.branch > 0]
        return bool(parts) and bool(_step(parts, name))

    # Rule 4: what is written ------------------------------------------------------------------------------------------

    def upper(self, path: str) -> str:
        """Return where a path is, or would be, in the highest branch. Make the directories that lead there."""
        parent, name = os.path.split(path)
        if not name:
            return self.branches[0]
        _allowed(name)
        return os.path.join(self.copy_up(parent), name)

    def copy_up(self, path: str) -> str:
        """Bring a file, or a directory without what is in it, into the highest branch; return its path there."""
        found = self.find(path)
        if found.branch == 0:
            return found.path
        target = self.upper(path)
        if found.is_directory:
            os.mkdir(target, 0o700)
            copy_attributes(found.path, target)
            return target
        # Under a name that nobody sees until it is whole: who is killed while copying leaves no half of a file.
        directory, name = os.path.split(target)
        temporary = os.path.join(directory, f"{_TEMPORARY}.{name}"[:255])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        copy_node(found.path, temporary)
        os.rename(temporary, target)
        return target

    def hide(self, path: str) -> None:
        """Leave a whiteout, if a lower branch has something there that would come through."""
        if self.below(path):
            directory, name = os.path.split(self.upper(path))
            _mark(os.path.join(directory, PREFIX + name))

    def reveal(self, path: str) -> None:
        """Take away the whiteout of a name that the highest branch has again."""
        directory, name = os.path.split(self.upper(path))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, PREFIX + name))

    def remove_file(self, path: str) -> None:
        """Remove anything but a directory. The whiteout comes first: at no instant does the lower one show."""
        found = self.find(path)
        self.hide(path)
        if found.branch == 0:
            os.unlink(found.path)

    def make_directory(self, path: str, mode: int) -> str:
        """Make a directory in the highest branch. Where a lower one was removed, that one's files do not come back."""
        target = self.upper(path)
        os.mkdir(target, mode)
        self.make_opaque(path)
        self.reveal(path)
        return target

    def make_opaque(self, path: str) -> None:
        """Mark a directory of the highest branch as opaque, if something would show through now or without whiteout."""
        directory, name = os.path.split(self.upper(path))
        if self.below(path) or os.path.lexists(os.path.join(directory, PREFIX + name)):
            _mark(os.path.join(directory, name, OPAQUE_NAME))

    def remove_directory(self, path: str) -> None:
        """Remove a directory that shows nothing. In the highest branch it may still hold whiteouts."""
        found = self.find(path)
        if not found.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if self.names(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self.hide(path)
        if found.branch == 0:
            for name in os.listdir(found.path):
                os.unlink(os.path.join(found.path, name))
            os.rmdir(found.path)

    def rename(self, old: str, new: str) -> None:
        """Give something another name. A directory that is not the highest branch's alone gives EXDEV: mv(1) copies."""
        source = self.stack(old)
        if not source:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        if source[0].is_directory and (len(source) > 1 or source[0].branch > 0):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), old)
        replaced = self.stack(new)
        if replaced and replaced[0].is_directory:
            if not source[0].is_directory:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), new)
            self.remove_directory(new)
        elif replaced and source[0].is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), new)
        self.copy_up(old)
        if source[0].is_directory:
            _mark(os.path.join(self.upper(old), OPAQUE_NAME))  # what lower branches have at its new place stays hidden
        self.hide(old)
        os.rename(self.upper(old), self.upper(new))
        self.reveal(new)

    def __repr__(self) -> str:
        return f"<Union of {len(self.branches)} branches, writing to {self.branches[0]}>"


def _mark(path: str) -> None:
    """Make one of AUFS's own files, which are empty. Harmless when it is there."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400))


def _step(stack: list[Found], name: str) -> list[Found]:
    """Go from a directory, given as its parts in all branches, to a name in it: rules 1, 2 and 3."""
    found: list[Found] = []
    for branch, directory, _ in stack:
        path = os.path.join(directory, name)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            part = Found(branch, path, os.lstat(path))
            if found and not part.is_directory:
                break  # a directory above it: this is not merged, and hides what is below
            found.append(part)
            if not part.is_directory or os.path.lexists(os.path.join(path, OPAQUE_NAME)):
                break
        if os.path.lexists(os.path.join(directory, PREFIX + name)):
            break
    return found


def _names(path: str) -> list[str]:
    names = [name for name in path.split("/") if name]
    for name in names:
        _allowed(name, errno.ENOENT)
    return names


def _allowed(name: str, code: int = errno.EPERM) -> None:
    if name.startswith(PREFIX) or name in (".", ".."):
        raise OSError(code, os.strerror(code), name)
