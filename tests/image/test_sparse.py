"""Sparse files in layers: what GNU tar writes in its four forms, holes that stay holes, and maps that lie."""

import io
import os
import random
import shutil
import subprocess
import tarfile

import pytest
from archives import entry, tar

from labrt.errors import UnsafeLayer
from labrt.image import layer, sparse
from labrt.image.compression import Source
from labrt.image.tar import entries

FORMS = {
    "gnu": ["--format=gnu"],
    "pax 0.0": ["--format=posix", "--sparse-version=0.0"],
    "pax 0.1": ["--format=posix", "--sparse-version=0.1"],
    "pax 1.0": ["--format=posix", "--sparse-version=1.0"],
}
gnu_tar = pytest.mark.skipif(not shutil.which("tar"), reason="no tar here")


def make_files(folder):
    """Files with a hole at the end, at the start, everywhere, in many places, and an ordinary one after them."""
    folder.mkdir()
    for name, size, segments in (
        ("end", 300_001, [(0, 100)]),
        ("start", 200_000, [(199_900, 100)]),
        ("hole", 1 << 20, []),
        ("many", 2_000_000, [(place * 20_480, 4096) for place in range(60)]),
        ("full", 5000, [(0, 5000)]),
        ("n" * 180, 300_000, [(8192, 4096)]),
    ):
        with open(folder / name, "wb") as file:
            file.truncate(size)
            for offset, length in segments:
                os.pwrite(file.fileno(), random.Random(offset).randbytes(length), offset)


def archive(folder, form) -> bytes:
    command = ["tar", "--sparse", *FORMS[form], "-C", folder, "-cf", "-", *sorted(os.listdir(folder))]
    return subprocess.run(command, check=True, capture_output=True).stdout


@gnu_tar
@pytest.mark.oracle
@pytest.mark.parametrize("form", FORMS)
def test_what_gnu_tar_writes_comes_back_and_holes_stay_holes(tmp_path, form):
    make_files(tmp_path / "in")
    (tmp_path / "out").mkdir()
    raw = archive(tmp_path / "in", form)
    assert len(raw) < 800_000  # tar has left the holes out: there is something to test
    applied = layer.apply(io.BytesIO(raw), tmp_path / "out")
    names = sorted(os.listdir(tmp_path / "in"))
    assert sorted(os.listdir(tmp_path / "out")) == names
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes(), name
    assert (tmp_path / "out" / "hole").stat().st_blocks == 0
    assert (tmp_path / "out" / "many").stat().st_blocks <= (tmp_path / "in" / "many").stat().st_blocks
    assert applied.size == sum((tmp_path / "in" / name).stat().st_size for name in names)


@gnu_tar
@pytest.mark.parametrize("form", FORMS)
def test_content_is_skipped_or_filled(tmp_path, form):
    make_files(tmp_path / "in")
    raw = archive(tmp_path / "in", form)
    assert [each.name for each in entries(Source(io.BytesIO(raw)))] == sorted(os.listdir(tmp_path / "in"))
    source = Source(io.BytesIO(raw))
    for each in entries(source):
        assert b"".join(sparse.filled(each, source)) == (tmp_path / "in" / each.name).read_bytes()


@gnu_tar
@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_ends_anywhere_is_an_error_or_shorter(tmp_path, form):
    make_files(tmp_path / "in")
    raw = archive(tmp_path / "in", form)
    whole = len(list(entries(Source(io.BytesIO(raw)))))
    for length in range(1, len(raw.rstrip(b"\0")), 4999):
        try:
            assert len(list(entries(Source(io.BytesIO(raw[:length]))))) < whole
        except UnsafeLayer as error:
            assert "cut off" in str(error)


def old(segments, size, data, *, more=(), magic=b"ustar  \0") -> io.BytesIO:
    """An old GNU entry: four segments in the header, lists of 21 in the blocks after it."""
    header = bytearray(entry("x", size=len(data)).tobuf(tarfile.GNU_FORMAT)[:512])
    header[156:157], header[257:265] = b"S", magic
    header[386 : 386 + 24 * len(segments)] = b"".join(b"%011o\0%011o\0" % segment for segment in segments)
    header[482] = bool(more)
    header[483:495] = b"%011o\0" % size if size >= 0 else b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    blocks = [
        b"".join(b"%011o\0%011o\0" % segment for segment in block).ljust(504, b"\0")
        + bytes([place + 1 < len(more)]).ljust(8, b"\0")
        for place, block in enumerate(more)
    ]
    return io.BytesIO(bytes(header) + b"".join(blocks) + data.ljust(-(-len(data) // 512) * 512, b"\0") + bytes(1024))


def pax(records, data=b"", kind=tarfile.REGTYPE) -> io.BytesIO:
    return tar((entry("x", kind, size=len(data), pax_headers=records), data))


def map01(size, text, blocks=None, data=b"", **more) -> io.BytesIO:
    count = len(text.split(",")) // 2 if blocks is None else blocks
    records = {"size": size, "numblocks": count, "map": text, **more}
    return pax({f"GNU.sparse.{key}": str(value) for key, value in records.items()}, data)


def map10(size, text, data=b"") -> io.BytesIO:
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(size)}
    return pax(records, text.encode().ljust(-(-len(text) // 512) * 512, b"\0") + data)


def test_honest_maps():
    for stream in (
        old([(2, 1), (5, 2)], 9, b"abc"),
        old([(2, 1), *[(3, 0)] * 3], 9, b"abc", more=[[(5, 1), *[(6, 0)] * 20], [(6, 1)]]),
        map01(9, "2,1,5,2", data=b"abc", name="x"),
        map10(9, "2\n2\n1\n5\n2\n", b"abc"),
    ):
        source = Source(stream)
        for each in entries(source):
            assert (each.name, each.size, each.stored) == ("x", 9, 3)
            assert b"".join(sparse.filled(each, source)) == b"\0\0a\0\0bc\0\0"


HUGE = 1 << 62
LIES = {
    "beyond the size": old([(8, 2)], 9, b"ab"),
    "far beyond": map01(9, f"{HUGE},2", data=b"ab"),
    "overlapping": map01(9, "0,2,1,2", data=b"abcd"),
    "not in order": map10(9, "2\n5\n1\n0\n1\n", b"ab"),
    "negative offset": map01(9, "-1,2", data=b"ab"),
    "negative size": old([(0, 2)], -1, b"ab"),
    "less data than the map says": old([(0, 4)], 9, b"ab"),
    "more data than the map says": map01(9, "0,1", data=b"ab"),
    "a map that is longer than the data": map10(9, "1\n0\n600\n", b"ab"),
    "more segments than it says": map01(9, "0,1,3,1", 1, b"ab"),
    "no count": pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,2"}, b"ab"),
    "half a segment": map01(9, "0,1,3", 1, b"a"),
    "no numbers": map01(9, "a,b", 1, b"ab"),
    "no size": pax({"GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,2"}, b"ab"),
    "many segments": map10(9, f"{10**12}\n" + "0\n0\n" * 300_000),
    "a count without an end": map10(9, "1" * (2 << 20)),
    "blocks without an end": old([(0, 0)], 9, b"", more=[[(0, 0)] * 21] * 3000),
    "exabytes of holes": map01(HUGE, "0,2", data=b"ab"),
    "an unknown form": pax({"GNU.sparse.major": "2", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "2"}, b"ab"),
    "a directory": pax({"GNU.sparse.size": "9", "GNU.sparse.numblocks": "0"}, kind=tarfile.DIRTYPE),
    "a name with a NUL": map01(9, "0,2", data=b"ab", name="a\0b"),
    "another program's header": old([(0, 2)], 9, b"ab", magic=b"ustar\x0000"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_map_that_lies_is_refused(lie, tmp_path):
    LIES[lie].seek(0)
    with pytest.raises(UnsafeLayer):
        layer.apply(LIES[lie], tmp_path)
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


def test_offsets_and_lengths_of_pax_00_must_alternate():
    def record(key, value):
        body = f" GNU.sparse.{key}={value}\n".encode()
        return b"%d%s" % (len(body) + 2, body)

    def stream(*records) -> io.BytesIO:
        data = b"".join(record(*each) for each in records)
        header = entry("pax", b"x", size=len(data)).tobuf(tarfile.USTAR_FORMAT)
        return io.BytesIO(header + data.ljust(512, b"\0") + tar((entry("x", size=2), b"ab")).getvalue())

    whole = [("size", 9), ("numblocks", 1), ("offset", 3), ("numbytes", 2)]
    found = next(entries(Source(stream(*whole))))
    assert (found.size, found.segments) == (9, ((3, 2),))
    for broken in (whole[:3], [*whole[:2], whole[3], whole[2]], [*whole[:3], whole[2]]):
        with pytest.raises(UnsafeLayer, match="alternate"):
            next(entries(Source(stream(*broken))))


def test_holes_count_as_unpacked_bytes(tmp_path):
    stream = map01(5_000_000, "0,2", data=b"ab")
    with pytest.raises(UnsafeLayer, match="more than 1000000 bytes"):
        layer.apply(stream, tmp_path, limit=1_000_000)
    stream.seek(0)
    layer.apply(stream, tmp_path, limit=6_000_000)
    assert (tmp_path / "x").stat().st_size == 5_000_000
