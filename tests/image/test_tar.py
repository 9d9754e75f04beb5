"""The tar reader: what others write is read as they mean it, and nothing broken is taken for an end."""

import io
import shutil
import subprocess
import tarfile

import pytest
from archives import device, directory, entry, file, hardlink, symlink, tar

from labrt.errors import UnsafeLayer
from labrt.image.compression import Source
from labrt.image.tar import Entry, entries

LONG = "d" * 90 + "/" + "e" * 90 + "/" + "f" * 90


def read(stream: io.BytesIO) -> list[Entry]:
    return list(entries(Source(stream)))


def contents(stream: io.BytesIO) -> dict[str, bytes]:
    source = Source(stream)
    return {each.name: b"".join(source.pieces(each.size)) for each in entries(source)}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_all_formats_and_kinds(form):
    name = "d" * 60 + "/" + "f" * 90 if form == tarfile.USTAR_FORMAT else LONG
    found = read(
        tar(
            directory("d/", mode=0o1777, uid=7, gid=8),
            file(name, b"x" * 700, mode=0o4755, mtime=1_600_000_000),
            file("empty"),
            symlink("s", "a/" * 40),
            hardlink("h", "empty"),
            device("c", 1, 3),
            device("b", 7, 300, tarfile.BLKTYPE),
            entry("p", tarfile.FIFOTYPE),
            form=form,
        )
    )
    assert [each.kind for each in found] == [
        "directory",
        "file",
        "file",
        "symlink",
        "hardlink",
        "char",
        "block",
        "fifo",
    ]
    assert (found[0].mode, found[0].uid, found[0].gid) == (0o1777, 7, 8)
    assert (found[1].name, found[1].mode, found[1].size) == (name, 0o4755, 700)
    assert found[1].mtime == 1_600_000_000 * 10**9
    assert found[3].linkname == "a/" * 40
    assert found[4].linkname == "empty"
    assert (found[6].major, found[6].minor) == (7, 300)


def test_content_is_read_or_skipped():
    stream = tar(file("a", b"1" * 513), file("b", b""), file("c", b"2" * 512))
    assert contents(stream) == {"a": b"1" * 513, "b": b"", "c": b"2" * 512}
    stream.seek(0)
    source = Source(stream)
    taken = [(each.name, source.read(min(each.size, 5))) for each in entries(source)]
    assert taken == [("a", b"11111"), ("b", b""), ("c", b"22222")]


def test_pax_says_more_than_the_old_header():
    info = entry(
        "x", pax_headers={"mtime": "1600000000.123456789", "SCHILY.xattr.user.k": "v=\n1", "uid": "4000000000"}
    )
    before = entry("y", pax_headers={"mtime": "-1.5"})
    far = entry("z", pax_headers={"mtime": "9" * 19})
    found = read(tar(info, before, far))
    assert found[0].mtime == 1_600_000_000_123_456_789
    assert found[0].xattrs == {"user.k": b"v=\n1"}
    assert found[0].uid == 4_000_000_000
    assert found[1].mtime == -1_500_000_000
    assert found[2].mtime == 0
    assert found[1].xattrs == {}


def test_a_global_header_holds_for_all():
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x", "gid": "77"}
    ) as archive:
        archive.addfile(entry("a"))
    buffer.seek(0)
    assert [(each.name, each.gid) for each in read(buffer)] == [("a", 77)]


def test_large_numbers_in_gnu_form():
    found = read(tar(entry("a", uid=3_000_000_000, mtime=-5), form=tarfile.GNU_FORMAT))[0]
    assert (found.uid, found.mtime) == (3_000_000_000, -5 * 10**9)


def test_names_that_are_no_utf8_come_back_as_they_are():
    found = read(tar(entry(b"caf\xe9".decode("utf-8", "surrogateescape")), form=tarfile.GNU_FORMAT))
    assert found[0].name.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_a_name_with_a_slash_at_its_end_is_a_directory():
    stream = tar(entry("dir/", tarfile.AREGTYPE), form=tarfile.USTAR_FORMAT)
    assert read(stream)[0].kind == "directory"


@pytest.mark.oracle
@pytest.mark.skipif(not shutil.which("tar"), reason="no tar here")
@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7", "oldgnu"])
def test_what_gnu_tar_writes(tmp_path, form):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"x" * 1000)
    (tmp_path / "in" / "link").symlink_to("file")
    (tmp_path / "in" / "hard").hardlink_to(tmp_path / "in" / "file")
    if form not in ("v7", "ustar"):
        (tmp_path / "in" / ("n" * 200)).write_text("long")
    raw = subprocess.run(
        ["tar", f"--format={form}", "-C", tmp_path / "in", "-cf", "-", "."], check=True, capture_output=True
    )
    found = {each.name.removeprefix("./"): each for each in read(io.BytesIO(raw.stdout))}
    assert set(found) - {""} == {path.name for path in (tmp_path / "in").iterdir()}
    assert {found["file"].kind, found["hard"].kind} == {"file", "hardlink"}
    assert found["link"].linkname == "file"


def damaged(change) -> io.BytesIO:
    raw = bytearray(tar(file("name", b"content")).getvalue())
    change(raw)
    return io.BytesIO(bytes(raw))


def with_checksum(raw: bytearray) -> None:
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])


def field(start: int, value: bytes):
    def change(raw: bytearray) -> None:
        raw[start : start + len(value)] = value
        with_checksum(raw)

    return change


@pytest.mark.parametrize(
    ("stream", "word"),
    [
        (io.BytesIO(b"no tar at all, but some text"), "no tar"),
        (io.BytesIO(b"x" * 2048), "checksum"),
        (damaged(lambda raw: raw.__setitem__(3, 77)), "checksum"),
        (damaged(lambda raw: raw.__delitem__(slice(300, None))), "cut off"),
        (damaged(lambda raw: raw.__delitem__(slice(515, None))), "cut off"),
        (damaged(field(124, b"77777777777\0")), "cut off"),
        (damaged(field(124, b"\x80" + b"\xff" * 11)), "cut off"),
        (damaged(field(124, b"\xff" * 12)), "negative"),
        (damaged(field(124, b"99999999999\0")), "octal"),
        (damaged(field(108, b"\xff" * 8)), "negative"),
        (damaged(field(108, b"\x80\0\0\xff\xff\xff\xff\xff")), "out of range"),
        (damaged(field(156, b"S")), "sparse"),
        (damaged(field(156, b"V")), "unknown type"),
        (tar(entry("x", pax_headers={"GNU.sparse.major": "1"})), "sparse"),
        (tar(entry("x", pax_headers={"path": "a\0b"})), "NUL"),
        (tar(entry("x", pax_headers={"size": "many"})), "no number"),
        (tar(entry("x", pax_headers={"uid": "-1"})), "no number"),
        (tar(entry("x", pax_headers={"mtime": "soon"})), "no time"),
        (tar(entry("x", pax_headers={"path": "y" * (2 << 20)})), "header of"),
        (damaged(lambda raw: (field(156, b"x")(raw), raw.__setitem__(slice(512, 519), b"99 a=b\n"))), "records"),
    ],
)
def test_what_is_broken_is_an_error(stream, word):
    stream.seek(0)
    with pytest.raises(UnsafeLayer, match=word):
        read(stream)


def test_the_end_is_a_block_of_zeros_or_the_end():
    raw = tar(file("a", b"1")).getvalue()
    assert len(read(io.BytesIO(raw[:1024]))) == 1
    assert len(read(io.BytesIO(raw + b"whatever follows"))) == 1
    assert read(io.BytesIO(bytes(1024))) == []
    assert read(io.BytesIO(b"")) == []
