"""Files of a tree that nothing leads out of: what the words of a COPY mean, and a digest of it.

    with Root.of("/some/context", patterns) as root:
        for source in select(root, ["src", "*.txt"]): source.path, source.status
        for path, name, status in walk(root, source): ...      all that is below it
        digest(root, sources)                                  the same for the same names, modes and contents

A symbolic link that a word names is followed, inside the tree; those that are met below a directory are what they are.
The kernel resolves each path within the tree, openat2(2) with RESOLVE_IN_ROOT: whoever made it, and whoever changes it
while we look, leads us to nothing else.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

from labrt.builder.ignore import WILD, Patterns, fits
from labrt.errors import NotFound
from labrt.image.tar import is_kept
from labrt.linux import syscalls
from labrt.linux.flags import RESOLVE

_WITHIN = int(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
_CHUNK = 1 << 20
_MOST_LINKS = 40  # as the kernel's own limit, path_resolution(7)
NONE = Patterns()


class Root:
    """An open directory. `ignored` are paths that are taken for absent."""

    def __init__(self, fd: int, ignored: Patterns = NONE) -> None:
        self.fd = fd
        self.ignored = ignored

    @classmethod
    def of(cls, path: str, ignored: Patterns = NONE) -> Self:
        """Open a directory."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), ignored)

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """Open what is at a path, which the caller closes; not the target of a link at its end. OSError."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        if not flags & os.O_PATH:  # to which openat2(2) lets nothing else be added
            flags |= os.O_NONBLOCK | os.O_NOCTTY
        return syscalls.openat2(self.fd, path or ".", flags, 0, _WITHIN)

    def look(self, path: str) -> os.stat_result | None:
        """Return the status of what is at a path, of a link its own; None where nothing is."""
        try:
            fd = self.open(path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def target(self, path: str) -> str:
        """Return what a symbolic link says."""
        fd = self.open(path, os.O_PATH)
        try:
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def resolve(self, path: str) -> tuple[str, os.stat_result | None]:
        """Follow all symbolic links: return where a path leads, without any, and what is there (None: nothing)."""
        todo, here, links = [*reversed(path.split("/"))], "", 0
        found: os.stat_result | None = self.look("")
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = os.path.dirname(here)
                found = self.look(here)
                continue
            inner = os.path.join(here, name)
            found = self.look(inner) if found is None or stat.S_ISDIR(found.st_mode) else None
            if found is not None and stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    return inner, None
                target = self.target(inner)
                here = "" if target.startswith("/") else here
                found = self.look(here)
                todo += reversed(target.split("/"))
                continue
            here = inner
        return here, found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class Source(NamedTuple):
    """What one word has named: `path` is where it is, `asked` how it was called."""

    path: str
    asked: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether its content is meant, and not itself."""
        return stat.S_ISDIR(self.status.st_mode)


def select(root: Root, texts: Iterable[str]) -> list[Source]:
    """Find what words of a COPY name. Raises NotFound, which says what is not there."""
    found = []
    for text in texts:
        plain = text.lstrip("/")
        paths = sorted(_expand(root, plain)) if WILD.search(plain) else [plain]
        these = [source for path in paths if (source := _source(root, path)) is not None]
        if not these:
            why = "nothing fits" if WILD.search(plain) else "no such file or directory"
            hidden = root.ignored and not WILD.search(plain) and root.resolve(plain)[1] is not None
            raise NotFound(f"{text}: {why}", remedy=".dockerignore excludes it" if hidden else "")
        found += these
    return found


def _source(root: Root, path: str) -> Source | None:
    real, status = root.resolve(path)
    if status is None:
        return None
    if real and root.ignored.excludes(real) and not (root.ignored.has_exceptions and stat.S_ISDIR(status.st_mode)):
        return None
    return Source(real, path, status)


def _expand(root: Root, pattern: str) -> set[str]:
    """Return the paths that a wildcard fits, part by part; ** fits any number of parts."""
    paths = {""}
    for part in (part for part in pattern.split("/") if part not in ("", ".")):
        if part == "**":
            paths |= {inner for path in paths for inner in _below(root, path)}
        elif part == "..":
            paths = {os.path.dirname(path) for path in paths}
        else:
            paths = {os.path.join(path, name) for path in paths for name in _names(root, path) if fits(part, name)}
    return {path for path in paths if path and not root.ignored.excludes(path)}


def _below(root: Root, path: str) -> Iterator[str]:
    for name in _names(root, path):
        inner = os.path.join(path, name)
        status = root.look(inner)
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield inner
            yield from _below(root, inner)


def _names(root: Root, path: str) -> list[str]:
    real, status = root.resolve(path)
    return root.names(real) if status is not None and stat.S_ISDIR(status.st_mode) else []


def walk(root: Root, source: Source, exclude: Patterns = NONE) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield path, name below the source and status of all that is below a directory; parents first, names sorted.

    Sockets are left out. An excluded directory comes only when something in it does.
    """
    waiting: list[tuple[str, str, os.stat_result]] = []  # directories that are wanted if something in them is
    todo = [(name, os.path.join(source.path, name)) for name in reversed(root.names(source.path))]
    while todo:
        name, path = todo.pop()
        status = root.look(path)
        if status is None or stat.S_ISSOCK(status.st_mode):
            continue
        is_directory = stat.S_ISDIR(status.st_mode)
        out = root.ignored.excludes(path) or exclude.excludes(name)
        waiting = [entry for entry in waiting if name.startswith(f"{entry[1]}/")]
        if out and not (is_directory and (root.ignored.has_exceptions or exclude.has_exceptions)):
            continue
        if out:
            waiting.append((path, name, status))
        else:
            yield from waiting
            waiting = []
            yield path, name, status
        if is_directory:
            inner = reversed(root.names(path))
            todo += [(os.path.join(name, each), os.path.join(path, each)) for each in inner]


def digest(root: Root, sources: Sequence[Source], exclude: Patterns = NONE, *, owners: bool = False) -> str:
    """Return a digest of all that would be copied: names, kinds, modes, contents, no times. `owners`: those, too."""
    hasher = hashlib.sha256()
    for source in sources:
        _hash(root, hasher, source.path, f"\0{os.path.basename(source.asked)}", source.status, owners)
        if source.is_directory:
            for path, name, status in walk(root, source, exclude):
                _hash(root, hasher, path, name, status, owners)
    return f"sha256:{hasher.hexdigest()}"


def _hash(root: Root, hasher: hashlib._Hash, path: str, name: str, status: os.stat_result, owners: bool) -> None:
    about: list[object] = [name, f"{status.st_mode:o}", *((status.st_uid, status.st_gid) if owners else ())]
    if stat.S_ISLNK(status.st_mode):
        about.append(root.target(path))
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        about.append(status.st_rdev)
    elif stat.S_ISREG(status.st_mode):
        fd = root.open(path)
        try:
            about.append([(key, os.getxattr(fd, key).hex()) for key in filter(is_kept, sorted(os.listxattr(fd)))])
            content = hashlib.sha256()
            while data := os.read(fd, _CHUNK):
                content.update(data)
            about.append(content.hexdigest())
        finally:
            os.close(fd)
    hasher.update(repr(about).encode("utf-8", "surrogateescape"))
