"""Subvolumes and snapshots, on a Btrfs in a file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrt.errors import InvalidInput, KernelError
from labrt.linux import btrfs, fscontext
from labrt.linux.mounts import Mount

pytestmark = pytest.mark.root


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    if not fscontext.known("btrfs") or not shutil.which("mkfs.btrfs"):
        pytest.skip("no btrfs in this kernel, or no mkfs.btrfs (package btrfs-progs)")
    disk = tmp_path / "disk"
    with open(disk, "wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.btrfs", "-q", disk], check=True)
    fd = Mount("/", "btrfs", str(disk), ("loop",)).open()
    yield Path(f"/proc/self/fd/{fd}")
    os.close(fd)


def test_a_snapshot_is_the_same_and_apart(place):
    btrfs.create(str(place / "a"))
    (place / "a/f").write_text("old")
    btrfs.snapshot(str(place / "a"), str(place / "b"))
    (place / "b/f").write_text("new")
    (place / "a/g").write_text("later")
    assert ((place / "a/f").read_text(), (place / "b/f").read_text()) == ("old", "new")
    assert os.listdir(place / "b") == ["f"]
    assert btrfs.is_subvolume(str(place / "b")) and not btrfs.is_subvolume(str(place / "b/f"))
    btrfs.delete(str(place / "b"))
    assert os.listdir(place) == ["a"]


def test_what_a_snapshot_has_for_itself(place):
    btrfs.create(str(place / "a"))
    (place / "a/f").write_bytes(os.urandom(1 << 20))
    assert btrfs.exclusive(str(place / "a")) == 1 << 20
    btrfs.snapshot(str(place / "a"), str(place / "b"))
    assert btrfs.exclusive(str(place / "b")) == 0
    with open(place / "b/f", "r+b") as file:
        file.write(os.urandom(65536))
    assert btrfs.exclusive(str(place / "b")) == 65536


def test_errors_say_what_was_asked(place, tmp_path):
    btrfs.create(str(place / "a"))
    with pytest.raises(FileExistsError, match="BTRFS_IOC_SUBVOL_CREATE"):
        btrfs.create(str(place / "a"))
    with pytest.raises(FileNotFoundError):
        btrfs.delete(str(place / "absent"))
    with pytest.raises(InvalidInput):
        btrfs.create(str(place / ("x" * 256)))
    if not btrfs.is_btrfs(str(tmp_path)):
        with pytest.raises(KernelError):
            btrfs.create(str(tmp_path / "a"))
