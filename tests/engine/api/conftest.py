"""A daemon, for whoever asks for one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Helpers lie beside this file, whichever way pytest imports the tests.
sys.path.append(str(Path(__file__).parent))

from api_daemon import Daemon


@pytest.fixture
def daemon(house: Path, tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "d.sock")
    try:
        yield daemon
    finally:
        said = daemon.end()
    assert "a mistake in labrt" not in said, said
