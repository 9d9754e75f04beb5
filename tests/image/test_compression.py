"""Streams: what is inside is found out by looking, broken ones are errors, bombs are refused."""

import gzip
import hashlib
import io
import os
import zlib
from types import SimpleNamespace

import pytest
import zstandard

from labrt.errors import NotSupported, UnsafeLayer
from labrt.image.compression import Source
from labrt.image.layer import compute_diff_id

PLAIN = b"".join(hashlib.sha256(b"%d" % number).digest() + b"x" * 50 for number in range(9000))


class Dribble(io.BytesIO):
    """A socket on a bad day: one to three bytes at a time at first."""

    def read(self, size: int = -1, /) -> bytes:
        return super().read(min(size, 1 + self.tell() % 3) if self.tell() < 40 else size)


def packings() -> dict[str, bytes]:
    half = len(PLAIN) // 2
    frame = zstandard.ZstdCompressor()
    skippable = b"\x5e\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"toc"
    return {
        "plain": PLAIN,
        "gzip": gzip.compress(PLAIN, mtime=0),
        "gzip of many members": gzip.compress(PLAIN[:half], mtime=0) + gzip.compress(PLAIN[half:], mtime=0),
        "gzip padded": gzip.compress(PLAIN, mtime=0) + bytes(70_000),
        "gzip with an empty member": gzip.compress(b"", mtime=0) + gzip.compress(PLAIN, mtime=0),
        "zstd": frame.compress(PLAIN),
        "zstd of many frames": frame.compress(PLAIN[:half]) + skippable + frame.compress(PLAIN[half:]),
        "zstd after a table": skippable + frame.compress(PLAIN) + skippable,
    }


@pytest.mark.parametrize("how", packings())
@pytest.mark.parametrize("stream", [io.BytesIO, Dribble])
def test_the_same_bytes_come_out(how, stream):
    data = packings()[how]
    told: list[int] = []
    source = Source(stream(data), progress=told.append)
    out = source.read(7) + b"".join(source.pieces(1000)) + source.read(len(PLAIN))
    source.drain()
    assert out == PLAIN
    assert source.diff_id.hex == hashlib.sha256(PLAIN).hexdigest()
    assert sum(told) == len(data)
    assert (source.size, source.taken) == (len(PLAIN), len(PLAIN))


def test_the_diff_id_is_of_the_uncompressed_bytes():
    assert len({compute_diff_id(io.BytesIO(data)) for data in packings().values()}) == 1


def test_nothing_at_all():
    source = Source(io.BytesIO(b""))
    assert source.read(512) == b""
    source.drain()
    assert source.diff_id.hex == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("how", ["gzip", "gzip of many members", "zstd", "zstd of many frames"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_cut_off(how, part):
    data = packings()[how]
    with pytest.raises(UnsafeLayer, match="cut off"):
        compute_diff_id(io.BytesIO(data[: int(len(data) * part)]))


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_cut_off_in_the_last_bytes(how):
    data = zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN) if how == "zstd" else packings()[how]
    with pytest.raises(UnsafeLayer, match="cut off"):
        compute_diff_id(io.BytesIO(data[:-2]))


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_broken(how):
    data = bytearray(
        zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN) if how == "zstd" else packings()[how]
    )
    data[-5] ^= 0xFF
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UnsafeLayer, match="broken"):
        compute_diff_id(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("pieces", [1, 1 << 16])
def test_flags_that_gzip_keeps_for_later_are_an_error_in_each_member(pieces):
    """RFC 1952, section 2.3.1.2: so a layer is not good on one machine, where ISA-L inflates, and broken on another."""
    for number in (0, 1):
        members = [bytearray(gzip.compress(b"one")), bytearray(gzip.compress(b"two"))]
        members[number][3] |= 0x20
        raw = io.BytesIO(b"".join(members))
        with pytest.raises(UnsafeLayer, match="unknown header flags set"):
            Source(SimpleNamespace(read=lambda size, raw=raw: raw.read(min(size, pieces)))).drain()


def test_bytes_after_the_end():
    with pytest.raises(UnsafeLayer, match="after the end"):
        compute_diff_id(io.BytesIO(packings()["gzip"] + b"something"))


@pytest.mark.parametrize("how", ["gzip", "zstd", "plain"])
def test_a_bomb_is_refused_before_it_goes_off(how):
    big = bytes(64 << 20)
    packed = {"gzip": zlib.compress(big, wbits=31), "zstd": zstandard.ZstdCompressor().compress(big), "plain": big}[how]
    source = Source(io.BytesIO(packed), limit=1 << 20)
    with pytest.raises(UnsafeLayer, match="more than 1048576 bytes"):
        source.drain()
    assert source.size < 48 << 20  # it stopped on the way, with the pieces in hand


@pytest.mark.parametrize(("magic", "name"), [(b"BZh9", "bzip2"), (b"\xfd7zXZ\x00", "xz")])
def test_what_layers_are_not_compressed_with(magic, name):
    with pytest.raises(NotSupported, match=name):
        compute_diff_id(io.BytesIO(magic + os.urandom(20)))
