"""What ADD takes for an archive."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path

import pytest

from labrt.builder import adding, selecting
from labrt.builder.context import Context
from labrt.builder.selecting import Root
from labrt.errors import UnsafeLayer

BROKEN = {
    "bad.xz": b"\xfd7zXZ\0" + b"garbage" * 100, "cut.xz": lzma.compress(b"x" * 100_000)[:40],
    "bad.bz2": b"BZh9" + b"garbage" * 100, "cut.bz2": bz2.compress(b"x" * 100_000)[:20],
    "bad.gz": b"\x1f\x8b" + b"garbage" * 100, "cut.gz": gzip.compress(b"x" * 100_000)[:20],
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_only_begins_like_an_archive_is_a_file_like_others(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(BROKEN[name])
    with Root.of(str(tmp_path)) as root:
        (source,) = selecting.select(root, [name])
        assert not adding.is_archive(root, source)


@pytest.mark.parametrize("name", BROKEN)
def test_as_a_context_it_is_refused(name: str):
    with pytest.raises(UnsafeLayer, match="the context: "):
        Context.of_archive(io.BytesIO(BROKEN[name]))
