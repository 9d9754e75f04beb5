"""Whiteouts: how a layer says that something of the layers below it is gone.

    .wh.NAME        NAME is removed
    .wh..wh..opq    everything in this directory is removed

They speak of lower layers only: what the same layer brings stays, in whatever order the archive has them. Three ways to
carry them out, one per kind of storage:

    Delete          the lower layers' files are in the same directory: remove them (vfs)
    Overlay         they are in other directories: leave the marks by which overlayfs hides them
    Aufs            leave them as they are: they are AUFS's own marks

See the OCI image-spec, layer.md, "Whiteouts", and the kernel's filesystems/overlayfs.rst. Notebook 10.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Protocol

from labrt.errors import UnsafeLayer
from labrt.image.tree import remove

PREFIX = ".wh."
META = ".wh..wh."
OPAQUE_NAME = ".wh..wh..opq"
OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")  # overlayfs's extended attributes: root's, everybody else's


class Hider(Protocol):
    """`fd` is the open directory, `path` its or the thing's path below the root, `made` what this layer made so far."""

    def hide(self, fd: int, name: str, path: str, made: set[str]) -> None:
        """Hide the lower layers' `name` in the directory `fd`."""
        ...

    def hide_all(self, fd: int, path: str, made: set[str]) -> None:
        """Hide all that lower layers have in the directory `fd`."""
        ...


class Delete:
    """Remove what lower layers brought, and nothing that this one did."""

    def hide(self, fd: int, name: str, path: str, made: set[str]) -> None:
        """Remove `name`; of a directory that this layer too has something in, only the rest."""
        if path not in made:
            remove(fd, name)
            return
        with contextlib.suppress(NotADirectoryError, FileNotFoundError):
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                self.hide_all(inner, path, made)
            finally:
                os.close(inner)

    def hide_all(self, fd: int, path: str, made: set[str]) -> None:
        """Remove all entries of a directory that this layer has not made. Recursion ends: layers are not that deep."""
        # The descriptor may be one of O_PATH, which cannot be listed; its name here is not a stranger's.
        listable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            for name in os.listdir(listable):
                self.hide(listable, name, f"{path}/{name}" if path else name, made)
        finally:
            os.close(listable)


class Aufs:
    """Leave AUFS's marks, which are those of the archive: empty files."""

    def hide(self, fd: int, name: str, path: str, made: set[str]) -> None:
        """Mark `name` as removed, in lower branches only: what this layer brings may stand beside the whiteout."""
        self._touch(fd, PREFIX + name)
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                self.mark(fd, name)

    def hide_all(self, fd: int, path: str, made: set[str]) -> None:
        """Mark a directory as opaque."""
        self._touch(fd, OPAQUE_NAME)

    def mark(self, fd: int, name: str) -> None:
        """Make the directory `name` in `fd` opaque."""
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            self._touch(inner, OPAQUE_NAME)
        finally:
            os.close(inner)

    def hides(self, fd: int, name: str) -> bool:
        """Whether `name` is marked as removed."""
        try:
            os.stat(PREFIX + name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _touch(self, fd: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o400, dir_fd=fd))


class Overlay:
    """Leave overlayfs's marks: a character device 0:0, and an extended attribute on an opaque directory.

    trusted.* attributes want CAP_SYS_ADMIN in the first user namespace. Everybody else writes user.* and mounts with
    the option `userxattr`.
    """

    def __init__(self, *, trusted: bool) -> None:
        self.attribute = OPAQUE[0] if trusted else OPAQUE[1]

    def hide(self, fd: int, name: str, path: str, made: set[str]) -> None:
        """Mark `name` as removed; when this layer has made it anew, only keep the lower one from shining through."""
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=fd)
            return
        if stat.S_ISDIR(found.st_mode):
            self.mark(fd, name)

    def hide_all(self, fd: int, path: str, made: set[str]) -> None:
        """Mark a directory as opaque."""
        self.mark(fd, ".")

    def mark(self, fd: int, name: str) -> None:
        """Make the directory `name` in `fd` opaque. The *xattr calls take no dirfd, but /proc knows a way round."""
        os.setxattr(f"/proc/self/fd/{fd}/{name}", self.attribute, b"y", follow_symlinks=False)


def hidden_name(name: str) -> str:
    """Return what a whiteout of this name hides. Raises UnsafeLayer when that is nothing or leads elsewhere."""
    hidden = name[len(PREFIX) :]
    if hidden in ("", ".", ".."):
        raise UnsafeLayer(f"{name!r} is a whiteout of nothing that could be removed")
    return hidden
