"""Copies of sparse files: the same bytes, and no more of them on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from labrt.storage.copy import copy_tree

SIZE = 3 << 20
SEGMENTS = {
    "all hole": [],
    "start": [(0, 70_000)],
    "end": [(SIZE - 4096, 4096)],
    "between": [(1 << 20, 4096), (2 << 20, 100)],
    "full": [(0, SIZE)],
}


def write(path: Path, segments: list[tuple[int, int]]) -> None:
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for offset, length in segments:
            os.pwrite(file.fileno(), os.urandom(length), offset)


@pytest.mark.parametrize("place", ["here", "/dev/shm"])  # from tmpfs the kernel's own copy may not reach elsewhere
def test_holes_stay_holes(tmp_path, place):
    if not os.path.isdir(place) and place != "here":
        pytest.skip(f"{place} is absent")
    with tempfile.TemporaryDirectory(dir=tmp_path if place == "here" else place) as folder:
        for name, segments in SEGMENTS.items():
            write(Path(folder, name), segments)
        Path(folder, "huge").touch()
        os.truncate(Path(folder, "huge"), 1 << 40)
        Path(folder, "empty").touch()
        copy_tree(folder, str(tmp_path / "out"))
        for name, segments in SEGMENTS.items():
            copied = tmp_path / "out" / name
            assert copied.read_bytes() == Path(folder, name).read_bytes()
            assert copied.stat().st_blocks * 512 <= sum(length for _, length in segments) + 3 * 65536
    assert (tmp_path / "out/huge").stat().st_size == 1 << 40 and (tmp_path / "out/huge").stat().st_blocks == 0
    assert (tmp_path / "out/empty").stat().st_size == 0
