"""What storage tests share: a house of their own, and a look into a root from a mount namespace of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from labrt.linux import process
from labrt.linux.mounts import Mount
from labrt.paths import Paths

# For stacks.py here and archives.py of the images' tests: pytest's import mode leaves sys.path alone.
sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "image")]

T = TypeVar("T")


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
