"""What storage tests share: layers made in memory, and a look into a root from a mount namespace of its own."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "image"))  # for archives.py

from archives import tar  # noqa: E402

from labrt.image.config import chain_ids
from labrt.image.digest import Digest
from labrt.linux import process
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage.driver import Driver

T = TypeVar("T")


class Stack(NamedTuple):
    """An image's layers: uncompressed archives, base first, with their names."""

    archives: list[bytes]
    diff_ids: list[Digest]
    chain_ids: tuple[Digest, ...]

    def add_to(self, driver: Driver) -> None:
        for number, archive in enumerate(self.archives):
            driver.add(self.chain_ids[: number + 1], io.BytesIO(archive), self.diff_ids[number])


def stack(*layers: Sequence[object]) -> Stack:
    archives = [tar(*entries).getvalue() for entries in layers]
    diff_ids = [Digest.of(archive) for archive in archives]
    return Stack(archives, diff_ids, chain_ids(diff_ids))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "lib"), str(tmp_path / "run"))


@pytest.fixture
def inside(tmp_path: Path):
    """Return `inside(mounts, look)`: run look(root) in a child that has made these mounts below `root`, and only it."""
    place = tmp_path / "place"
    place.mkdir()

    def run(mounts: Sequence[Mount], look: Callable[[Path], T]) -> T:
        def child() -> T:
            for mount in mounts:
                mount.attach(str(place))
            return look(place)

        kinds = "mnt" if os.geteuid() == 0 else "user,mnt"
        answer = process.run_in_child(child, namespaces=kinds)
        assert os.listdir(place) == []  # nothing was mounted for anyone else
        return answer

    return run
