"""What ADD does beyond COPY: archives that are unpacked, and files from the web.

    if is_archive(root, source): with opened(root, source) as entries: ...      (TarInfo, content) for each
    download("https://example.org/x.tar.gz", directory, checksum="sha256:…")      the file's name

Archives are tar, plain or in gzip, zstd, bzip2 or xz, told by their content and not by their name. They are read by
image/tar.py, as layers are: a stranger may have made one. What comes from the web stays as it is.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import io
import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from labrt.builder.selecting import Root, Source
from labrt.errors import DigestMismatch, InvalidInput, LabrtError, NotSupported, Unreachable, UnsafeLayer
from labrt.image import tar
from labrt.image.compression import Readable
from labrt.image.compression import Source as Bytes
from labrt.image.tar import XATTR, is_kept

_KINDS = {
    "file": tarfile.REGTYPE, "hardlink": tarfile.LNKTYPE, "symlink": tarfile.SYMTYPE, "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE, "directory": tarfile.DIRTYPE, "fifo": tarfile.FIFOTYPE,
}  # fmt: skip
_CHUNK = 1 << 20
LARGEST = 1 << 34  # bytes of a download


def prepare() -> None:
    """Import what reads archives: in the child that does it nothing can be imported any more."""
    import bz2
    import lzma

    import zstandard

    from labrt.image import compression

    loaded = (bz2, lzma, zstandard, compression._inflater())
    assert all(loaded)


def is_archive(root: Root, source: Source) -> bool:
    """Whether a file is a tar archive: whether its first header is one."""
    with open(root.open(source.path), "rb") as file:
        try:
            next(tar.entries(Bytes(readable(file))), None)
            file.seek(0)
            head = Bytes(readable(file)).read(tar.BLOCK)
        except (LabrtError, OSError):
            return False
        return len(head) == tar.BLOCK and bool(head.strip(b"\0"))


def readable(file: io.BufferedReader) -> Readable:
    """Return what reads a file that layers could not be: bzip2 and xz; the rest is seen to by image/compression."""
    head = file.peek(6)
    if head.startswith(b"BZh"):
        import bz2

        return _Checked(bz2.BZ2File(file), OSError)
    if head.startswith(b"\xfd7zXZ\0"):
        import lzma

        return _Checked(lzma.LZMAFile(file), lzma.LZMAError)
    return file


class _Checked:
    """Uncompressed bytes; what is `broken` in them, or cut off, is an UnsafeLayer, as image/compression has it."""

    def __init__(self, file: Readable, broken: type[Exception]) -> None:
        self.file, self.broken = file, broken

    def read(self, size: int, /) -> bytes:
        try:
            return self.file.read(size)
        except (EOFError, self.broken) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # it is this machine's
            raise UnsafeLayer(f"the archive is broken: {error}", remedy="is it whole?") from None


@contextlib.contextmanager
def opened(root: Root, source: Source) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]]:
    """Yield the entries of an archive. Their names have no `..`, and no / in front. Raises UnsafeLayer."""
    with open(root.open(source.path), "rb") as file:
        yield _entries(Bytes(readable(file)))


def _entries(stream: Bytes) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    for entry in tar.entries(stream):
        info = tarfile.TarInfo(_inner(entry.name))
        if info.name == ".":
            continue
        info.type, info.mode, info.mtime = _KINDS[entry.kind], entry.mode, entry.mtime // 10**9
        info.uid, info.gid = entry.uid, entry.gid
        info.linkname = _inner(entry.linkname) if entry.kind == "hardlink" else entry.linkname
        info.devmajor, info.devminor = entry.major, entry.minor
        kept = {key: value for key, value in entry.xattrs.items() if is_kept(key)}
        info.pax_headers = {XATTR + key: value.decode("utf-8", "surrogateescape") for key, value in kept.items()}
        if entry.kind != "file":
            yield info, None
            continue
        if entry.segments is not None:
            raise NotSupported(f"{entry.name!r:.200} is a sparse file", remedy="pack it without tar's --sparse")
        info.size = entry.size
        yield info, io.BufferedReader(_Content(stream, entry.size), _CHUNK)


class _Content(io.RawIOBase):
    """The content of one entry, which tarfile reads."""

    def __init__(self, stream: Bytes, size: int) -> None:
        self.stream, self.left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(min(len(buffer), self.left))
        self.left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def _inner(name: str) -> str:
    if ".." in name.split("/"):
        raise InvalidInput(f"{name!r:.200} leads out of the archive", remedy="do not trust whoever made it")
    return os.path.normpath(name.lstrip("/") or ".")


def is_url(text: str) -> bool:
    """Whether ADD would fetch this."""
    return text.startswith(("http://", "https://"))


def refuse_git(text: str) -> None:
    """Raise NotSupported for a repository: to fetch one, git is needed, and labrt brings none."""
    path = text.partition("#")[0].removesuffix("/")
    if text.startswith(("git@", "git://", "ssh://")) or (is_url(text) and path.endswith(".git")):
        raise NotSupported(f"{text:.200} is a Git repository", remedy="`git clone` it, and give the directory")


def download(url: str, directory: str, *, checksum: str = "") -> str:
    """Fetch a file into a directory, and return its name: the last part of the URL's path.

    It gets mode 0600 and the time that the server says. Raises DigestMismatch, Unreachable, InvalidInput.
    """
    import requests

    name = posixpath.basename(unquote(urlsplit(url).path))
    if not name or name in (".", "..") or "\0" in name or "/" in name:
        name = "index.html" if not checksum else "download"
    path = os.path.join(directory, name)
    try:
        with requests.get(url, stream=True, timeout=(10, 60)) as response:
            if response.status_code != 200:
                raise Unreachable(f"{url:.200}: {response.status_code} {response.reason}")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                _receive(response, file, checksum)
            moment = _moment(response.headers.get("Last-Modified", ""))
    except requests.RequestException as error:
        raise Unreachable(f"{url:.200} cannot be fetched: {type(error).__name__}", remedy="is it right?") from error
    os.utime(path, (moment, moment))
    return name


def _moment(text: str) -> float:
    """Read the time that a server says; what is none is 1970, as when it says none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0


def _receive(response: Any, file: IO[bytes], checksum: str) -> None:
    algorithm, _, wanted = (checksum or "sha256:").partition(":")
    if algorithm not in ("sha256", "sha384", "sha512"):
        raise InvalidInput(f"--checksum={checksum:.80}: no such digest", remedy="sha256:…")
    hasher, size = hashlib.new(algorithm), 0
    for chunk in response.iter_content(_CHUNK):
        size += len(chunk)
        if size > LARGEST:
            raise InvalidInput(f"{response.url:.200} has more than {LARGEST} bytes", remedy="fetch it by yourself")
        hasher.update(chunk)
        file.write(chunk)
    if wanted and hasher.hexdigest() != wanted.lower():
        found = f"{algorithm}:{hasher.hexdigest()}"
        raise DigestMismatch(f"{response.url:.200} is {found}, not {checksum}", remedy="do not trust it")
