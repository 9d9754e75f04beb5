"""Files into a container and out of it, whether it runs or not.

    copy_out(container, "/etc/hosts", "."); copy_in(container, "site", "/srv")      as `labrt cp`
    get(container, "/etc", stream); put(container, "/srv", stream)                  tar archives, as docker's API

The container's side is done by a child of ours that sees its files and nothing else: inside.py. Between the two sides
goes a tar stream: tarstream.py.

Where things land is docker's rule, which is cp's: into DEST if that is a directory, else under that name; a source that
ends in /. is the content of a directory; no directory but the last is made.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from labrt.engine import inside
from labrt.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from labrt.engine.container import Container


class Stat(NamedTuple):
    """What is at a path in a container. `mode` is st_mode, `target` where a symbolic link leads."""

    name: str
    mode: int
    size: int
    mtime: float
    target: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return stat.S_ISDIR(self.mode)


def look(container: Container, path: str, *, follow: bool = False) -> Stat:
    """Look at a path. Raises NotFound."""
    path = _inner(path)

    def find() -> Stat:
        found = os.stat(path) if follow or path.endswith(("/", "/.")) else os.lstat(path)
        target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
        return Stat(os.path.basename(path.rstrip("/")), found.st_mode, found.st_size, found.st_mtime, target)

    return inside.call(container, path, find)


def get(container: Container, path: str, stream: BinaryIO, *, follow: bool = False) -> None:
    """Write a tar archive of a file, or of a directory and what is in it, under its own name.

    `stream` is written to by a child process if it is a file or a pipe, else from memory. With `follow` the target of a
    symbolic link is meant. Raises NotFound.
    """
    from labrt.engine import tarstream

    path = _inner(path)
    name = _name_of(path)
    with _as_file(stream, out=True) as fd:

        def pack() -> None:
            with open(fd, "wb", closefd=False) as out:
                tarstream.pack(path, name, out, follow=follow or path.endswith("/"))

        inside.call(container, path, pack)


def put(container: Container, path: str, stream: BinaryIO, *, owners: bool = False) -> None:
    """Unpack a plain tar archive into a directory. Without `owners` all is root's.

    Raises NotFound when there is no such directory, Conflict when something is in the way, or may not be written to.
    """
    from labrt.engine import tarstream

    path = _inner(path)
    with _as_file(stream, out=False) as fd:

        def unpack() -> None:
            with open(fd, "rb", closefd=False) as source:
                tarstream.unpack(source, path, owners=owners, owner=(0, 0))

        inside.call(container, path, unpack, write=True)
    container.note("extract-to-dir", path=path)


def copy_out(container: Container, path: str, destination: str, *, follow: bool = False, owners: bool = False) -> None:
    """Copy from a container to this machine. With `owners` uid and gid are kept, else all is ours."""
    from labrt.engine import tarstream

    found = look(container, path, follow=follow)
    there = _local_kind(destination)
    top, name = _landing(found.is_directory, path, _name_of(_inner(path)), destination, there)
    if not os.path.isdir(top):
        raise NotFound(f"{top}: no such directory", remedy=f"mkdir -p {top}")

    def outside(source: BinaryIO) -> None:
        tarstream.unpack(source, top, owners=owners)
        while source.read(1 << 16):  # what fills the last block: whoever writes it is to be heard out
            continue

    inner = _inner(path)
    follow = follow or inner.endswith("/")
    inside.stream_out(container, path, lambda out: tarstream.pack(inner, name, out, follow=follow), outside)


def copy_in(container: Container, source: str, path: str, *, follow: bool = False, owners: bool = False) -> None:
    """Copy from this machine into a container. With `owners` uid and gid are kept, else all is root's."""
    from labrt.engine import tarstream

    try:
        status = os.stat(source) if follow or source.endswith(("/", "/.")) else os.lstat(source)
    except OSError as error:
        raise NotFound(f"{source}: {os.strerror(error.errno or 0)}") from None
    there = None
    with contextlib.suppress(NotFound):
        there = "directory" if look(container, path, follow=True).is_directory else "file"
    name = os.path.basename(os.path.abspath(source)) if not source.endswith("/.") else "."
    top, name = _landing(stat.S_ISDIR(status.st_mode), source, name, _inner(path), there)

    def unpack(stream: BinaryIO) -> None:
        tarstream.unpack(stream, top, owners=owners, owner=(0, 0))
        while stream.read(1 << 16):
            continue

    inside.stream_in(container, top, unpack,
                     lambda out: tarstream.pack(source, name, out, follow=follow or source.endswith("/")))  # fmt: skip
    container.note("extract-to-dir", path=top)


def _landing(is_directory: bool, source: str, name: str, destination: str, there: str | None) -> tuple[str, str]:
    """Say into which directory, and under which name: `there` is what is at the destination, None for nothing.

    The name "." stands for the content of a directory.
    """
    content = is_directory and (source.endswith("/.") or source in (".", "..", "/") or not name)
    if there == "directory":
        return destination, "." if content else name
    if there == "file":
        if is_directory:
            raise Conflict(f"{destination} is a file, and {source} a directory", remedy="name a directory")
        if destination.endswith("/"):
            raise InvalidInput(f"{destination} is no directory", remedy="leave out the slash at its end")
        return os.path.dirname(destination) or ".", os.path.basename(destination)
    if destination.endswith("/") and not is_directory:
        raise NotFound(f"{destination}: no such directory", remedy="make it first, or leave out the slash at its end")
    bare = destination.rstrip("/")
    return os.path.dirname(bare) or ("/" if bare.startswith("/") else "."), os.path.basename(bare)


def _local_kind(path: str) -> str | None:
    return "directory" if os.path.isdir(path) else "file" if os.path.lexists(path) else None


def _inner(path: str) -> str:
    """Write a container's path as one that begins at its root, and keep a slash, or /., at its end."""
    end = "/." if path.endswith("/.") else "/" if path.endswith("/") else ""
    plain = os.path.normpath(f"/{path.lstrip('/')}")
    return f"{plain.rstrip('/')}{end}" if end else plain


def _name_of(path: str) -> str:
    return "." if path.endswith("/.") else os.path.basename(path.rstrip("/")) or "."


@contextlib.contextmanager
def _as_file(stream: BinaryIO, *, out: bool) -> Iterator[int]:
    """Yield a descriptor that a child can read or write for `stream`, which may be no file."""
    try:
        fd = stream.fileno()
    except (AttributeError, OSError):
        import shutil

        with tempfile.TemporaryFile() as file:
            if not out:
                shutil.copyfileobj(stream, file)
                file.seek(0)
            yield file.fileno()
            if out:
                file.seek(0)
                shutil.copyfileobj(file, stream)
        return
    if out:
        stream.flush()
    yield fd
