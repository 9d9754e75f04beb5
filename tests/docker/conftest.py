"""A labrt of its own, as tests/engine has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labrt.engine import embedded
from labrt.engine.images import Images
from labrt.lab.ledger import reset
from labrt.runtime import launcher


@pytest.fixture
def house(labrt_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DOCKER_CONFIG", str(labrt_root))
    embedded.ensure()
    with embedded.serve() as server:
        Images()._pull(embedded.REFERENCE, None, None, {"docker.io": server.url})
    yield labrt_root
    launcher.default().close()
    assert reset(quiet=True).ok
