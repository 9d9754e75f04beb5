"""A labrt with busybox in it, and a hand to build with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labrt.builder import events
from labrt.engine import builds, embedded
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.image.image import Image
from labrt.lab.ledger import reset
from labrt.paths import Paths
from labrt.runtime import launcher

Build = Callable[..., Image]


class Heard(list):
    """All events of builds."""

    def cached(self) -> list[bool]:
        """Which steps were found in the cache, FROM left out."""
        starts = {(one.stage, one.number): one.text for one in self if isinstance(one, events.StepStarted)}
        done = [one for one in self if isinstance(one, events.StepDone)]
        return [one.cached for one in done if not starts[one.stage, one.number].upper().startswith("FROM")]

    def output(self) -> str:
        """What RUNs have written."""
        return b"".join(one.data for one in self if isinstance(one, events.Output)).decode()


@pytest.fixture(scope="session")
def builder_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One house for all of them: its cache is told apart by each test's own words."""
    root = tmp_path_factory.mktemp("builder") / "labrt"
    where = Paths(str(root / "lib"), str(root / "run"))
    images = Images(where)
    with embedded.serve(where) as server:
        images.unpack(images._pull(embedded.REFERENCE, None, None, {"docker.io": server.url}))
    yield root


@pytest.fixture
def root(builder_house: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That house; after each test there is no container and no temporary file in it."""
    monkeypatch.setenv("LABRT_ROOT", str(builder_house))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    yield builder_house
    assert Containers().list(all=True) == []
    assert not (builder_house / "run" / "builds").exists()
    launcher.default().close()
    assert reset(quiet=True).ok


@pytest.fixture
def heard() -> Heard:
    """Events."""
    return Heard()


@pytest.fixture
def build(root: Path, tmp_path: Path, heard: Heard) -> Build:
    """Build a Dockerfile's text in the directory `tmp_path / "context"`."""
    context = tmp_path / "context"
    context.mkdir()

    def run(text: str, **how: Any) -> Image:
        heard.clear()
        return builds.build(context, text=text, on_event=heard.append, **how)

    return run
