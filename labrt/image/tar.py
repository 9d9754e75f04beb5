"""Reading tar archives as they stream: ustar, pax and GNU headers to Entry values.

    for entry in entries(source): ...       each entry's content must be read or skipped by the loop's end: it is

labrt reads headers itself and not with the standard library's tarfile, because a layer is a stranger's: a header
that is cut off or broken must be an error (tarfile takes it for the end), memory must not grow with the archive, and
the answers must be those of the Go programs that make and check layers (only regular files have content).
See tar(5), "ustar", "Pax interchange format" and "GNU tar archives"; OCI image-spec, layer.md. Notebook 02.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from labrt.errors import UnsafeLayer
from labrt.image import sparse
from labrt.image.compression import Source
from labrt.image.tar_numbers import decimal, number

BLOCK = 512
MOST_ENTRIES = 1 << 22  # a file system may have more room than inodes; distributions' images have 10^4 to 10^6
_LARGEST_HEADER = 1 << 20  # of a pax header or a GNU long name: more than any path and all attributes of a file
_KINDS = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink",
    b"3": "char", b"4": "block", b"5": "directory", b"6": "fifo", b"S": "file",
}  # fmt: skip
XATTR = "SCHILY.xattr."
_NANOSECONDS = 10**9
_LATEST = 1 << 62


@dataclass(slots=True)
class Entry:
    """One entry. `kind` is file, hardlink, symlink, directory, char, block or fifo; `mode` has permission bits only.

    Names are as in the archive, not yet trusted; bytes that are no UTF-8 are there as surrogates, as os.fsdecode makes
    them. `size` is of a file's content in bytes, `mtime` in nanoseconds since the epoch. `segments` is None but for a
    sparse file, of which the archive has only those (offset, length) of its content; see sparse.py.
    """

    name: str
    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    linkname: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
    segments: sparse.Segments | None = None

    @property
    def stored(self) -> int:
        """How many bytes of content the archive has."""
        return self.size if self.segments is None else sparse.stored(self.segments)


def entries(source: Source) -> Iterator[Entry]:
    """Yield the entries of an archive in its order. Raises UnsafeLayer where it is broken.

    The source stands at the entry's content while the loop's body runs; what the body leaves is skipped.
    """
    everywhere: dict[str, bytes] = {}
    extra: dict[str, bytes] = {}
    count = 0
    while header := _header(source):
        count += 1
        if count > MOST_ENTRIES:
            raise UnsafeLayer(f"the archive has more than {MOST_ENTRIES} entries", remedy="do not trust who made it")
        kind, size = header[156:157], number(header[124:136], "size")
        if kind in (b"x", b"g"):
            records = _pax_records(_content(source, size))
            (everywhere if kind == b"g" else extra).update(records)
        elif kind in (b"L", b"K"):
            name = _content(source, size).partition(b"\0")[0]
            extra["path" if kind == b"L" else "linkpath"] = name
        else:
            extra = {**everywhere, **extra}
            entry = _entry(header, extra)
            found = sparse.read(header, extra, source)
            if found is not None:
                _make_sparse(entry, found)
            extra = {}
            before = source.taken
            yield entry
            padded = -(-entry.stored // BLOCK) * BLOCK
            source.skip(padded - (source.taken - before))


def _header(source: Source) -> bytes:
    """Read one header block; b"" at the archive's end, which is a block of zeros or the end of the stream."""
    header = source.read(BLOCK)
    if not header.strip(b"\0"):
        return b""
    if len(header) < BLOCK:
        raise UnsafeLayer("the layer is cut off in a tar header, or is no tar at all")
    try:
        stated = number(header[148:156], "checksum")
    except UnsafeLayer:
        raise UnsafeLayer("the layer is no tar archive: where a checksum belongs is none") from None
    unsigned = sum(header) - sum(header[148:156]) + 8 * 32  # with blanks where the sum itself stands
    # The standard sums unsigned bytes; some old programs summed signed ones.
    if stated != unsigned and stated != unsigned - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise UnsafeLayer("the layer is no tar archive: a header's checksum is wrong")
    return header


def _content(source: Source, size: int) -> bytes:
    """Read the content of a header that extends the next one."""
    if size > _LARGEST_HEADER:
        raise UnsafeLayer(f"a tar header of {size} bytes", remedy=f"at most {_LARGEST_HEADER} are read")
    data = source.read(size)
    if len(data) < size:
        raise UnsafeLayer("the layer is cut off in a tar header")
    source.skip(-size % BLOCK)
    return data


def _entry(header: bytes, extra: dict[str, bytes]) -> Entry:
    kind = _KINDS.get(header[156:157])
    name = extra.get("path") or _name(header)
    if kind is None:
        what = f"of unknown type {header[156:157]!r}"
        raise UnsafeLayer(f"{os.fsdecode(name)!r:.200} is {what}, which layers should not have (image-spec, layer.md)")
    if kind == "file" and name.endswith(b"/"):
        kind = "directory"  # as archives of before 1988 say it
    linkname = extra.get("linkpath") or header[157:257].partition(b"\0")[0]
    if b"\0" in name or b"\0" in linkname:
        raise UnsafeLayer(f"{os.fsdecode(name)!r:.200}: a name with a NUL byte in it")
    device = kind in ("char", "block")
    return Entry(
        os.fsdecode(name),
        kind,
        number(header[100:108], "mode") & 0o7777,
        _id(extra, "uid", header[108:116]),
        _id(extra, "gid", header[116:124]),
        _size(header, extra) if kind == "file" else 0,
        _mtime(extra, header[136:148]),
        os.fsdecode(linkname),
        number(header[329:337], "major") if device else 0,
        number(header[337:345], "minor") if device else 0,
        {key[len(XATTR) :]: value for key, value in extra.items() if key.startswith(XATTR)} if extra else {},
    )


def _make_sparse(entry: Entry, found: sparse.Sparse) -> None:
    """Turn what the header says of a sparse file into what is true of it."""
    in_archive, entry.size, entry.segments = entry.size, found.size, found.segments
    if found.name:
        entry.name = os.fsdecode(found.name)
    if entry.kind != "file" or b"\0" in found.name or in_archive != found.ahead + entry.stored:
        raise UnsafeLayer(f"{entry.name!r:.200}: a sparse file's header and its map are at odds")


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0":  # GNU's magic has a blank there and other things at the prefix's place
        prefix = header[345:500].partition(b"\0")[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _size(header: bytes, extra: dict[str, bytes]) -> int:
    return decimal(extra["size"], "size") if extra.get("size") else number(header[124:136], "size")


def _id(extra: dict[str, bytes], key: str, raw: bytes) -> int:
    value = decimal(extra[key], key) if extra.get(key) else number(raw, key)
    if value > 0xFFFF_FFFE:  # the kernel's (uid_t)-1 means "leave as it is"
        raise UnsafeLayer(f"a {key} of {value} is out of range")
    return value


def _mtime(extra: dict[str, bytes], raw: bytes) -> int:
    """Return nanoseconds. Times that no file system can have become the epoch, as Go's archive/tar does it."""
    if not extra.get("mtime"):
        value = number(raw, "mtime") * _NANOSECONDS
    else:
        whole, _, fraction = extra["mtime"].partition(b".")
        sign, digits = (-1, whole[1:]) if whole.startswith(b"-") else (1, whole)
        if not digits.isdigit() or not (fraction or b"0").isdigit() or len(digits) > 19:
            raise UnsafeLayer(f"a pax header's mtime is {extra['mtime'][:40]!r}, which is no time")
        value = sign * (int(digits) * _NANOSECONDS + int(fraction[:9].ljust(9, b"0")))
    return value if -_LATEST < value < _LATEST else 0


def _pax_records(data: bytes) -> dict[str, bytes]:
    """Read records of the form `<length of all of it> <key>=<value>` and a line feed. See tar(5)."""
    records: dict[str, bytes] = {}
    repeated: list[tuple[str, bytes]] = []
    at = 0
    while at < len(data):
        digits = data[at : at + 10].partition(b" ")[0]
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        record = data[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if at + length > len(data) or not equals or not key or not record.endswith(b"\n"):
            raise UnsafeLayer("a pax header's records are broken")
        name = key.decode("utf-8", "surrogateescape")
        if name in sparse.REPEATED:
            repeated.append((name, value[:-1]))
        else:
            records[name] = value[:-1]
        at += length
    return {**records, sparse.MAP: sparse.join(repeated)} if repeated else records


def is_kept(key: str) -> bool:
    """Whether an extended attribute belongs to a layer: users' own, file capabilities, ACLs.

    trusted.*, user.overlay.* and the other security.* do not: overlayfs and this host's policies keep theirs there.
    """
    if key.startswith("user."):
        return not key.startswith("user.overlay.")
    return key in ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
