"""Sparse files in tar archives: where their data goes, and how long they are with their holes.

    found = sparse.read(header, records, source)         None for an ordinary file; else Sparse(name, size, segments)
    for offset, piece in sparse.pieces(entry, source):   an entry's data as it comes, each piece with its place

GNU tar --sparse and bsdtar write them in four ways: type "S" with the map in the header and blocks after it; pax 0.0, a
record per number; pax 0.1, the whole map in one record; pax 1.0, the map in decimal lines ahead of the data. A map may
lie: segments must ascend, not overlap, stay within the file's size and have together just the data that is there. Holes
count as unpacked bytes, or one header would make a file of exabytes. See tar(5); GNU tar's manual, "Storing Sparse
Files". Notebook 02.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from labrt.errors import UnsafeLayer
from labrt.image.compression import Source
from labrt.image.tar_numbers import decimal, number

if TYPE_CHECKING:
    from labrt.image.tar import Entry

Segments = tuple[tuple[int, int], ...]  # offset in the file, length; in bytes

_BLOCK = 512
_LARGEST_MAP = 1 << 20  # bytes in the archive; about 70,000 segments
_GNU_MAGIC = b"ustar  \0"
_ZEROS = memoryview(bytes(1 << 16))
PREFIX = "GNU.sparse."
MAP = f"{PREFIX}map"
REPEATED = (f"{PREFIX}offset", f"{PREFIX}numbytes")


class Sparse(NamedTuple):
    """What an archive says of a sparse file: its real name (b"": the header's), its size with holes, its data.

    `ahead` is how many bytes of what the header calls its content were the map.
    """

    name: bytes
    size: int
    segments: Segments
    ahead: int = 0


def read(header: bytes, records: Mapping[str, bytes], source: Source) -> Sparse | None:
    """Read the map of the entry with this header and these pax records; None if it is no sparse file.

    Takes from `source` what the map has there, and counts the holes. Raises UnsafeLayer for a map that is not sound.
    """
    if header[156:157] == b"S":
        found = _old(header, source)
    elif any(key.startswith(PREFIX) for key in records):
        found = _pax(header, {key[len(PREFIX) :]: value for key, value in records.items()}, source)
    else:
        return None
    end = 0
    for offset, length in found.segments:
        if offset < end:
            raise UnsafeLayer("a sparse file's segments overlap, or are not in order")
        end = offset + length
    if end > found.size:
        raise UnsafeLayer(f"a sparse file of {found.size} bytes has data up to {end}")
    source.count_holes(found.size - stored(found.segments))
    return found


def stored(segments: Segments) -> int:
    """Return how many bytes of data the archive has for them."""
    return sum(length for _, length in segments)


def join(repeated: Sequence[tuple[str, bytes]]) -> bytes:
    """Turn pax 0.0's records, an offset and a length for each segment, into the map of pax 0.1."""
    if any(key != REPEATED[place % 2] for place, (key, _) in enumerate(repeated)) or len(repeated) % 2:
        raise UnsafeLayer("a sparse file's map is broken: offsets and lengths must alternate")
    return b",".join(value for _, value in repeated)


def pieces(entry: Entry, source: Source) -> Iterator[tuple[int, memoryview]]:
    """Yield an entry's data as it comes, each piece with the offset it goes to. What is between them is holes."""
    for start, length in entry.segments if entry.segments is not None else ((0, entry.size),):
        offset = start
        for piece in source.pieces(length):
            yield offset, piece
            offset += len(piece)


def filled(entry: Entry, source: Source) -> Iterator[memoryview]:
    """Yield an entry's whole content, the holes as zeros."""
    done = 0
    for offset, piece in pieces(entry, source):
        yield from _zeros(offset - done)
        yield piece
        done = offset + len(piece)
    yield from _zeros(entry.size - done)


def _zeros(size: int) -> Iterator[memoryview]:
    while size:
        piece = _ZEROS[:size]
        size -= len(piece)
        yield piece


# The four forms -------------------------------------------------------------------------------------------------------


def _old(header: bytes, source: Source) -> Sparse:
    """Type "S": four segments in the header, then 21 in each block that the one before announces."""
    if header[257:265] != _GNU_MAGIC:
        raise UnsafeLayer("a sparse file in a header that is not GNU's")
    fields, more, taken = header[386:482], header[482], 0
    while more:
        taken += _BLOCK
        block = _take(source, _BLOCK, taken)
        fields, more = fields + block[:504], block[504]
    segments = []
    for at in range(0, len(fields), 24):
        if not fields[at]:
            break
        offset, length = fields[at : at + 12], fields[at + 12 : at + 24]
        segments.append((number(offset, "sparse offset"), number(length, "sparse length")))
    return Sparse(b"", number(header[483:495], "sparse size"), tuple(segments))


def _pax(header: bytes, records: Mapping[str, bytes], source: Source) -> Sparse:
    version = (records.get("major", b"0"), records.get("minor", b"0" if "major" in records else b"1"))
    if header[156:157] not in (b"0", b"\0", b"7") or version not in ((b"0", b"0"), (b"0", b"1"), (b"1", b"0")):
        form = b".".join(version)
        raise UnsafeLayer(f"a sparse file in no known form: type {header[156:157]!r}, version {form!r:.40}")
    if version[0] == b"1":
        before = source.taken
        size, numbers = records.get("realsize", b""), _ahead(source)
        ahead = source.taken - before
    else:
        ahead = 0
        size = records.get("size", b"")
        numbers = records["map"].split(b",") if records.get("map") else []
        if len(numbers) != 2 * decimal(records.get("numblocks", b""), "GNU.sparse.numblocks"):
            raise UnsafeLayer("a sparse file's map has not as many segments as it says")
    values = [decimal(digits, "GNU.sparse.map") for digits in numbers]
    segments = tuple(zip(values[::2], values[1::2], strict=True))
    return Sparse(records.get("name", b""), decimal(size, "GNU.sparse.size"), segments, ahead)


def _ahead(source: Source) -> list[bytes]:
    """Read pax 1.0's map, ahead of the data: the number of segments, then two numbers for each; a line per number."""
    text, lines, wanted = bytearray(), 0, 1
    while lines < wanted:
        block = _take(source, _BLOCK, len(text) + _BLOCK)
        text += block
        lines += block.count(b"\n")
        if wanted == 1 and lines:
            wanted += 2 * decimal(bytes(text[: text.index(b"\n")]), "GNU.sparse.numblocks")
    return bytes(text).split(b"\n")[1:wanted]


def _take(source: Source, size: int, so_far: int) -> bytes:
    if so_far > _LARGEST_MAP:
        raise UnsafeLayer("a sparse file's map is too long", remedy=f"at most {_LARGEST_MAP} bytes are read")
    data = source.read(size)
    if len(data) < size:
        raise UnsafeLayer("the layer is cut off in a sparse file's map")
    return data
