"""The context of a build: the directory that COPY copies from, without what .dockerignore names; and the Dockerfile.

    with Context.of_directory(".", dockerfile=None) as context: …      a directory of this machine, read where it is
    with Context.of_archive(stream, "Dockerfile") as context: …        a tar archive, as docker's API sends it
    with Context.of_text("FROM busybox\n") as context: …               a Dockerfile alone

A context may be a stranger's: nothing in it leads out of it, the Dockerfile's own name included. Which patterns: those
of DOCKERFILE.dockerignore beside the Dockerfile, else of .dockerignore in the context's root.
"""  # noqa: D301

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from typing import IO, Self, cast

from labrt.builder.adding import readable
from labrt.builder.dockerfile import LARGEST
from labrt.builder.ignore import Patterns
from labrt.builder.selecting import Root
from labrt.errors import InvalidInput, NotFound, UnsafeLayer
from labrt.image.tree import remove_path
from labrt.storage import unpacking

NAME = "Dockerfile"
IGNORE = ".dockerignore"


class Context:
    """A context. `text` is the Dockerfile's, `name` what to call it, `moment` its time in seconds (0: not known)."""

    def __init__(
        self, path: str, text: str, name: str, *, moment: int = 0, ignored: Patterns | None = None, own: bool = False
    ) -> None:
        self.path, self.text, self.name, self.moment = path, text, name, moment
        self.ignored = ignored or Patterns()
        self._own = own

    @classmethod
    def of_directory(cls, path: str, *, dockerfile: str | None = None, text: str | None = None) -> Self:
        """Take a directory. `dockerfile` is a path of this machine, `text` stands for its content. Raises NotFound."""
        path = os.path.abspath(path)
        if not os.path.isdir(path):
            raise NotFound(f"{path}: no such directory", remedy="the context is a directory, or - for an archive")
        if text is not None:
            return cls(path, text, NAME, ignored=_ignored(path, ""))
        wanted = os.path.abspath(dockerfile) if dockerfile is not None else os.path.join(path, NAME)
        inside = os.path.relpath(wanted, path)
        if inside.split("/")[0] != "..":
            return cls._within(path, inside, own=False)
        directory, name = os.path.split(wanted)
        content, moment = _read(directory, name)
        beside = _optional(directory, f"{name}{IGNORE}")
        ignored = Patterns.parse(beside) if beside is not None else _ignored(path, "")
        return cls(path, content, dockerfile or name, moment=moment, ignored=ignored)

    @classmethod
    def of_archive(cls, stream: IO[bytes], dockerfile: str = NAME) -> Self:
        """Take a tar archive, plain or compressed; it is unpacked into a directory that goes at the end."""
        place = tempfile.mkdtemp(prefix="labrt-context-")
        try:
            try:
                unpacking.apply(readable(_buffered(stream)), place, as_root=False)
            except UnsafeLayer as error:
                raise UnsafeLayer(f"the context: {error.message}", remedy=error.remedy) from None
            return cls._within(place, os.path.normpath(dockerfile.lstrip("/")), own=True)
        except BaseException:
            remove_path(place)
            raise

    @classmethod
    def of_stream(cls, stream: IO[bytes], dockerfile: str = NAME) -> Self:
        """Take what comes: an archive, or a Dockerfile alone."""
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.seek(0)
            head = copy.read(512)
            copy.seek(0)
            if b"\0" in head:  # which no text has, and each tar header, and each compressed file
                return cls.of_archive(copy, dockerfile)
            return cls.of_text(copy.read(LARGEST + 1).decode(errors="replace"))

    @classmethod
    def of_text(cls, text: str, name: str = NAME) -> Self:
        """Take a Dockerfile, and nothing to copy."""
        return cls(tempfile.mkdtemp(prefix="labrt-context-"), text, name, own=True)

    @classmethod
    def _within(cls, path: str, inside: str, *, own: bool) -> Self:
        text, moment = _read(path, inside)
        return cls(path, text, inside, moment=moment, ignored=_ignored(path, inside), own=own)

    def root(self) -> Root:
        """Open it, without what is ignored."""
        return Root.of(self.path, self.ignored)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            remove_path(self.path)

    def __repr__(self) -> str:
        return f"<Context {self.path} {self.name}>"


def _buffered(stream: IO[bytes]) -> io.BufferedReader:
    """Return a stream into which one can look before one reads, a pipe, too."""
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))


def _read(path: str, inside: str) -> tuple[str, int]:
    """Read a Dockerfile in a directory, out of which no link leads. Raises NotFound."""
    with Root.of(path) as root:
        real, found = root.resolve(inside)
        if found is None or not stat.S_ISREG(found.st_mode):
            raise NotFound(f"{inside}: no such file in {path}", remedy="-f names the Dockerfile")
        with open(root.open(real), "rb") as file:
            raw = file.read(LARGEST + 1)
    try:
        return raw.decode(), int(found.st_mtime)
    except UnicodeDecodeError as error:
        remedy = "-f names another file"
        raise InvalidInput(f"{inside} is no text in UTF-8: byte {error.start}", remedy=remedy) from None


def _optional(path: str, inside: str) -> str | None:
    try:
        return _read(path, inside)[0]
    except NotFound:
        return None


def _ignored(path: str, dockerfile: str) -> Patterns:
    for name in (f"{dockerfile}{IGNORE}", IGNORE) if dockerfile else (IGNORE,):
        text = _optional(path, name)
        if text is not None:
            return Patterns.parse(text)
    return Patterns()
