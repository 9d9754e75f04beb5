"""The two ends of `cp`: what stands, or comes, in the place of a file leads neither end astray. Pure: no container."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from labrt.engine import tarstream
from labrt.errors import LabrtError
from labrt.image import pack


def archive(*entries: tuple[str, bytes, str, int]) -> bytes:
    """Make a tar archive of (name, type, what a link leads to or what is in a file, mode)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, kind, content, mode in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, mode
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content
            made.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that lies outside."""
    path = tmp_path / "secret"
    path.write_text("of the host")
    path.chmod(0o600)
    (tmp_path / "inside").mkdir()
    return path


def test_a_hard_link_to_a_symbolic_link_changes_nothing_outside(tmp_path: Path, secret: Path) -> None:
    raw = archive(("link", tarfile.SYMTYPE, str(secret), 0o777), ("same", tarfile.LNKTYPE, "link", 0o666))
    tarstream.unpack(io.BytesIO(raw), str(tmp_path / "inside"))
    assert secret.stat().st_mode & 0o777 == 0o600
    assert os.readlink(tmp_path / "inside/same") == str(secret)


def test_a_link_that_comes_while_a_file_is_written_changes_nothing_outside(tmp_path: Path, secret: Path) -> None:
    """Who may write to the destination replaces the file before its mode is set."""
    place = tmp_path / "inside/file"

    class Swapping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if place.exists() and not place.is_symlink():
                place.unlink()
                place.symlink_to(secret)
            return super().read(size)

    raw = archive(("file", tarfile.REGTYPE, "x" * 100_000, 0o666))
    with pytest.raises((OSError, LabrtError)):
        tarstream.unpack(Swapping(raw), str(tmp_path / "inside"))
    assert secret.stat().st_mode & 0o777 == 0o600 and secret.read_text() == "of the host"


@pytest.mark.parametrize(("how", "mode"), [({}, 0o755), ({"owner": (os.getuid(), os.getgid())}, 0o6755)])
def test_what_becomes_ours_runs_as_nobody_else(tmp_path: Path, how: dict[str, tuple[int, int]], mode: int) -> None:
    tarstream.unpack(io.BytesIO(archive(("program", tarfile.REGTYPE, "x", 0o6755))), str(tmp_path), **how)
    assert (tmp_path / "program").stat().st_mode & 0o7777 == mode


def test_a_link_that_comes_in_a_file_s_place_is_not_read(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write to the source replaces a file when it was looked at and not opened yet."""
    (tmp_path / "inside/file").write_text("x")
    walk = pack.walk

    def walk_and_swap(directory: str):  # type: ignore[no-untyped-def]
        for found in walk(directory):
            (tmp_path / "inside/file").unlink()
            (tmp_path / "inside/file").symlink_to(secret)
            yield found

    monkeypatch.setattr(pack, "walk", walk_and_swap)
    stream = io.BytesIO()
    tarstream.pack(str(tmp_path / "inside"), "inside", stream)
    assert b"of the host" not in stream.getvalue() and b"inside" in stream.getvalue()
