"""Layers out of dice: the answer is a tree inside of the root or UnsafeLayer, whatever the archive says."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from labrt.errors import LabrtError, NotSupported, UnsafeLayer
from labrt.image import layer
from labrt.image.compression import Source
from labrt.image.tar import entries

# Few names, so that entries meet: a link where another wants a directory, a whiteout of what came just before.
NAMES = st.lists(
    st.sampled_from([*[*"abcd"] * 6, "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..", ".wh..wh.x"]),
    min_size=1, max_size=4,
).map("/".join) | st.sampled_from(["/", "/a", "a/", "./a", "n" * 256, "/".join("d" * 300), "ü", "\udcff",
                                          "a\nb"])  # fmt: skip
TARGETS = NAMES | st.sampled_from(["/", "..", "../outside", "../outside/secret", "../" * 9 + "etc", "/proc/self/root"])
# Mostly what an honest archive has: where each entry is wrong, only the first one is ever looked at.
KINDS = st.sampled_from([*[b"0", b"5", b"2", b"1"] * 6, *(bytes([each]) for each in b"3467SxgLKZ\0")])
NUMBERS = st.sampled_from([*[0, 1, 0o4755, 0o777, 1000] * 6, 2**21, 2**31, 2**32 - 2, 2**32 - 1, 2**33])
PAX = st.dictionaries(
    st.sampled_from([
        "path", "linkpath", "size", "uid", "gid", "mtime", "SCHILY.xattr.user.a", "SCHILY.xattr.security.capability",
        "SCHILY.xattr.trusted.overlay.opaque", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.map",
        "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.numblocks", "GNU.sparse.name", "GNU.sparse.offset",
    ]),
    st.sampled_from(["", "0", "1", "2", "a", "..", "a/b", "../outside/x", "-1", "1.5", "9" * 18, "9" * 30, "0,1",
                     "0,1,9,1", "\x01\x00\x00\x02" + "\0" * 16, "x" * 300]),
    max_size=3,
)  # fmt: skip


@st.composite
def entry(draw: st.DrawFn) -> bytes:
    """One entry as bytes: what tarfile writes for fields that nobody would choose."""
    info = tarfile.TarInfo(draw(NAMES))
    info.type, info.mode, info.mtime = draw(KINDS), draw(NUMBERS) & 0o7777, draw(NUMBERS)
    info.uid, info.gid = draw(NUMBERS), draw(NUMBERS)
    if draw(st.booleans()):
        info.linkname = draw(TARGETS)
    info.devmajor, info.devminor = draw(st.sampled_from([(0, 0), (1, 3), (4095, 1), (4096, 0)]))
    content = draw(st.binary(max_size=20)) if info.type in (b"0", b"7", b"\0", b"S", b"L", b"K") else b""
    info.size = len(content)
    info.pax_headers = draw(PAX) if draw(st.integers(0, 7)) == 7 else {}
    form = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    try:
        head = info.tobuf(form, "utf-8", "surrogateescape")
    except ValueError:  # a number that this form cannot say
        info.uid = info.gid = info.mtime = 0
        head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return head + content + bytes(-len(content) % 512)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """An archive of such entries with some bytes changed, the checksum of that header made right again."""
    raw = bytearray(b"".join(draw(st.lists(entry(), min_size=1, max_size=8))))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(raw) - 1))
        raw[at] = draw(st.sampled_from([0, 0x20, 0x2E, 0x2F, 0x30, 0x37, 0x80, 0xFF]))
        block = at - at % 512
        if draw(st.booleans()):
            raw[block + 148 : block + 156] = b" " * 8
            raw[block + 148 : block + 156] = b"%06o\0 " % sum(raw[block : block + 512])
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.integers(0, 9)) == 9 else raw)


@pytest.fixture(scope="module")
def house() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="labrt-fuzz-"))
    (place / "outside").mkdir()
    (place / "outside" / "secret").write_text("untouched")
    yield place
    shutil.rmtree(place)


def outside(house: Path) -> list[object]:
    found = (house / "outside").lstat(), (house / "outside" / "secret").lstat()
    status = [(each.st_mode, each.st_uid, each.st_gid, each.st_mtime_ns, each.st_nlink) for each in found]
    return [os.listdir(house / "outside"), (house / "outside" / "secret").read_text(), status]


def clear(root: Path) -> None:
    from labrt.image.tree import remove_path

    remove_path(str(root))


@given(st.lists(broken(), min_size=1, max_size=2), st.sampled_from(["delete", "overlay", "aufs"]), st.booleans())
def test_unpacking(house: Path, archives: list[bytes], mode: str, as_root: bool) -> None:
    """Two layers onto one directory, or the second beside the first as its lower layer."""
    before = outside(house)
    lowers: list[str] = []
    try:
        for number, raw in enumerate(archives):
            root = house / (f"root-{number}" if mode != "delete" else "root")
            root.mkdir(exist_ok=True)
            layer.apply(io.BytesIO(raw), root, whiteouts=mode, lowers=lowers, as_root=as_root and os.geteuid() == 0)
            lowers.insert(0, str(root))
    except UnsafeLayer as error:
        assert len(str(error)) < 1000
    finally:
        for name in ("root", "root-0", "root-1"):
            clear(house / name)
    assert outside(house) == before
    assert os.listdir(house) == ["outside"]


@given(broken())
def test_reading(raw: bytes) -> None:
    """Values in their ranges, and all memory that it takes is that of the archive."""
    source = Source(io.BytesIO(raw), limit=1 << 30)
    try:
        for found in entries(source):
            assert found.kind in ("file", "hardlink", "symlink", "directory", "char", "block", "fifo")
            assert found.size >= 0 and 0 <= found.mode <= 0o7777 and 0 <= found.uid < 2**32 - 1
            assert "\0" not in found.name + found.linkname
            found.name.encode("utf-8", "surrogateescape")
    except UnsafeLayer:
        return


SANE = st.builds(
    lambda name, kind, mode, size, mtime, uid: (name, kind, mode, size, mtime, uid),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1, max_size=200),
    st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]),
    st.integers(0, 0o7777), st.integers(0, 2000), st.integers(0, 2**32), st.integers(0, 2**32 - 2),
)  # fmt: skip


@given(st.lists(SANE, max_size=6), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_what_tarfile_writes_is_read_as_tarfile_reads_it(wanted: list, form: int) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for name, kind, mode, size, mtime, uid in wanted:
            info = tarfile.TarInfo(f"x{name}x")
            info.type, info.mode, info.mtime, info.uid, info.linkname = kind, mode, mtime, uid, f"y{name}"
            info.size = size if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    read = entries(Source(io.BytesIO(raw.getvalue())))
    ours = [(e.name.removesuffix("/"), e.mode, e.size, e.mtime, e.uid, e.linkname) for e in read]
    with tarfile.open(fileobj=io.BytesIO(raw.getvalue())) as tar:
        theirs = [(e.name, e.mode, e.size, int(e.mtime * 10**9), e.uid, e.linkname) for e in tar]
    assert ours == theirs


@given(st.binary(max_size=3000), st.sampled_from(["gzip", "zstd", "raw"]), st.data())
def test_compressed_streams(plain: bytes, how: str, data: st.DataObject) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "raw": bytes}[how]
    raw = bytearray(pack(plain))
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    source = Source(io.BytesIO(bytes(raw)), limit=1 << 24)
    try:
        out = source.read(1 << 25)
    except (UnsafeLayer, NotSupported):
        return
    if how == "gzip" and bytes(raw[:2]) == b"\x1f\x8b":
        assert out == zlib.decompressobj(31).decompress(bytes(raw)) or len(raw) > len(pack(plain)) or out


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_the_dice_do_reach_what_they_are_for() -> None:
    """Of these archives many must unpack, or nothing but the first check is tried."""

    def meets(raw: bytes) -> bool:
        try:
            kinds = [each.kind for each in entries(Source(io.BytesIO(raw)))]
        except LabrtError:
            return False
        return {"symlink", "file", "hardlink"} <= set(kinds)

    thorough = settings(max_examples=5000, phases=[Phase.generate], derandomize=True, database=None)
    assert find(broken(), meets, settings=thorough)
