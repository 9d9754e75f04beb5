"""A layer's bytes, unpacked while they stream: gzip, zstd or neither, found out by looking.

    source = Source(stream)           any object with read(n)
    source.read(512)                  exactly that many bytes; fewer only at the end
    source.drain()                    read on to the end
    source.diff_id                    the digest of all uncompressed bytes so far
    with source.ahead(): ...          meanwhile a thread unpacks and hashes what comes next, on another core

Media types lie now and then, the first bytes do not. A kilobyte can unpack to a gigabyte: output is made in pieces of
bounded size; more than `limit` bytes are refused, and so is what is large and more than RATIO times what came.

gzip is inflated by ISA-L, which takes 0.4 of zlib's time (and zlib-ng 0.55, both measured with a Debian layer); where
there is none, by zlib. See RFC 1952 (gzip), RFC 8878 (zstd).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from labrt.errors import NotSupported, UnsafeLayer
from labrt.image.digest import Digest

LIMIT = 1 << 36  # 64 GiB: more than any honest layer has
RATIO = 200  # files unpack to 2 or 5 times their size, zeros in gzip to 1000 times, in zstd to 30000 times
SMALL = 4 << 30  # bytes up to which it may be all zeros: a database's empty file, a disk image

_READ = 1 << 16
_PIECE = 1 << 18
# zstd's decoder gives all output of an input at once, and 4 bytes of input can ask for 128 KiB. So feed it little.
_ZSTD_READ = 1 << 10
_GZIP = b"\x1f\x8b"
_RESERVED = 0xE0  # bits of a gzip header's flags: RFC 1952 wants an error where one is set
_ZSTD = b"\x28\xb5\x2f\xfd"
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


class Readable(Protocol):
    """Anything with read(n): a file, a socket's file, a response body."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        ...


class Source:
    """Uncompressed bytes on demand, counted and hashed. `progress` is told how many more (compressed) bytes were read.

    `size` is how many bytes were unpacked so far, `taken` how many of these were given out.

    Raises UnsafeLayer when the compressed stream is broken, cut short, or longer than `limit` when unpacked.
    """

    def __init__(
        self, stream: Readable, *, limit: int = LIMIT, progress: Callable[[int], object] | None = None
    ) -> None:
        self.size = 0
        self.taken = 0
        self._came = 0
        self._holes = 0
        self._limit = limit
        self._progress = progress
        self._hash = hashlib.sha256()
        self._pieces = self._checked(decompress(stream, self._count))
        self._piece = memoryview(b"")

    @property
    def diff_id(self) -> Digest:
        """The digest of all uncompressed bytes read so far: after `drain`, the layer's diff id."""
        return Digest("sha256", self._hash.hexdigest())

    def count_holes(self, size: int) -> None:
        """Count that many bytes, which are nowhere but become part of a file, to what is unpacked."""
        self._holes += size
        self._check()

    def _check(self) -> None:
        if self.size + self._holes > self._limit:
            raise UnsafeLayer(f"the layer unpacks to more than {self._limit} bytes", remedy="raise `limit` if it may")
        if self.size > SMALL and self.size > RATIO * self._came:
            raise UnsafeLayer(f"{self._came} bytes unpack to {self.size} and more", remedy="do not trust who made it")

    def _count(self, size: int) -> None:
        self._came += size
        if self._progress:
            self._progress(size)

    def _checked(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.size += len(piece)
            self._check()
            self._hash.update(piece)
            yield piece

    @contextlib.contextmanager
    def ahead(self) -> Iterator[None]:
        """Let a thread unpack and hash, some pieces ahead of who reads: so are `size`, `diff_id` and `progress`.

        inflate, sha256 and the kernel all work without Python's lock. At the end of the block the thread is gone.
        """
        from labrt.image.ahead import ahead

        with ahead(self._pieces) as self._pieces:
            yield

    def _next(self) -> bool:
        piece = next(self._pieces, b"")
        self._piece = memoryview(piece)
        return bool(piece)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield `size` bytes in pieces as they come. Raises UnsafeLayer when the stream ends before."""
        while size:
            if not self._piece and not self._next():
                raise UnsafeLayer(f"the layer is cut off: {size} more bytes were announced")
            piece = self._piece[:size]
            self._piece = self._piece[len(piece) :]
            size -= len(piece)
            self.taken += len(piece)
            yield piece

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes, or what is left before the end."""
        parts = []
        while size and (self._piece or self._next()):
            parts.append(bytes(self._piece[:size]))
            self._piece = self._piece[size:]
            size -= len(parts[-1])
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.taken += len(data)
        return data

    def skip(self, size: int) -> None:
        """Read `size` bytes and drop them. Raises UnsafeLayer when the stream ends before."""
        for _ in self.pieces(size):
            continue

    def drain(self) -> None:
        """Read to the end: what follows a tar's end belongs to the diff id, too."""
        while self._next():
            continue
        self._piece = memoryview(b"")


def decompress(stream: Readable, progress: Callable[[int], object] | None = None) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a stream in pieces that are never empty."""

    def read(size: int) -> bytes:
        data = stream.read(size)
        if data and progress:
            progress(len(data))
        return data

    head = read(_READ)
    while 0 < len(head) < 6 and (more := read(_READ)):  # a socket may give a single byte first
        head += more
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise NotSupported(f"the layer is compressed with {name}", remedy="layers are gzip, zstd or plain tar")
    if head.startswith(_GZIP):
        yield from _gunzip(head, read)
    elif head.startswith(_ZSTD) or _is_skippable(head):
        yield from _unzstd(head, read)
    else:
        while head:
            yield head
            head = read(_READ)


def _inflater() -> Any:
    """ISA-L's module or Python's own, which it is like; imported with the first gzip."""
    try:
        from isal import isal_zlib

        return isal_zlib
    except ImportError:  # no wheel for this processor
        import zlib

        return zlib


def _gunzip(data: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Unpack one or several gzip members, one after the other; parallel compressors write many."""
    zlib = _inflater()
    while data:
        if not data.startswith(_GZIP):
            if data.strip(b"\0"):
                raise UnsafeLayer("after the end of the gzip stream come bytes that are no gzip")
            data = read(_READ)  # zeros pad to a block; harmless
            continue
        if len(data) > 3 and data[3] & _RESERVED:  # zlib says so by itself, ISA-L does not
            raise UnsafeLayer("the gzip stream is broken: unknown header flags set")
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not data:
                raise UnsafeLayer("the gzip stream is cut off")
            try:
                piece = member.decompress(data, _PIECE)
            except zlib.error as error:
                raise UnsafeLayer(f"the gzip stream is broken: {error}") from None
            if piece:
                yield piece
            data = member.unconsumed_tail or (b"" if member.eof else read(_READ))
        data = member.unused_data or read(_READ)
        while 0 < len(data) < 4 and (more := read(_READ)):
            data += more


def _unzstd(data: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Unpack one or several zstd frames, one after the other."""
    import zstandard

    # 128 MiB of window is what `zstd --long=27` needs, and the most that its decoder takes by default.
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    while data:
        if _is_skippable(data):
            data = _skip_frame(data, read)
            continue
        frame, parts, size = decoder.decompressobj(), [], 0
        while not frame.eof:
            if not data:
                raise UnsafeLayer("the zstd stream is cut off")
            try:
                parts.append(frame.decompress(data[:_ZSTD_READ]))
            except zstandard.ZstdError as error:
                raise UnsafeLayer(f"the zstd stream is broken: {error}") from None
            data = data[_ZSTD_READ:] or (b"" if frame.eof else read(_READ))
            size += len(parts[-1])
            if size and (size >= _PIECE or frame.eof):
                yield b"".join(parts)
                parts, size = [], 0
        data = frame.unused_data + data or read(_READ)
        while 0 < len(data) < 8 and (more := read(_READ)):
            data += more


def _is_skippable(data: bytes) -> bool:
    """Whether this begins a frame for other readers: eStargz and zstd:chunked put their tables there."""
    return len(data) >= 4 and 0x50 <= data[0] <= 0x5F and data[1:4] == b"\x2a\x4d\x18"


def _skip_frame(data: bytes, read: Callable[[int], bytes]) -> bytes:
    size = 8 + int.from_bytes(data[4:8], "little")
    while len(data) < size:
        size -= len(data)
        data = read(_READ)
        if not data:
            raise UnsafeLayer("the zstd stream is cut off")
    return data[size:] or read(_READ)
