"""Notebooks are run here for real: by a kernel of their own, on nbclient, one after the other."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from labrt import paths
from labrt.engine import embedded
from labrt.image.layout import Layout
from labrt.linux import ledger, procfs
from labrt.registry.client import Client

PROJECT = Path(__file__).resolve().parents[2]
# Seconds that one cell may take. tests/vm/run.sh sets the factor to 10 in a guest whose processor is emulated.
CELL = 60 * int(os.environ.get("LABRT_SLOWNESS", "1"))


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """notebooks/src/build.py."""
    return _load("notebook_build", PROJECT / "notebooks/src/build.py")


@pytest.fixture
def load() -> Callable[[str, Path], ModuleType]:
    """Import a file that lies elsewhere."""
    return _load


@pytest.fixture
def house(labrt_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A labrt of its own with busybox in it, in a world without Docker Hub: the same everywhere."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nobody listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    temporary = labrt_root / "tmp"
    temporary.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(temporary))
    with embedded.serve() as server, Client(mirrors={"docker.io": server.url}) as client:
        client.pull("busybox", Layout(paths.default().images))
    return labrt_root


@pytest.fixture
def execute(house: Path) -> Callable[..., object]:
    """Run a notebook, given as bytes, and return it with its outputs. A failing cell raises, unless allowed."""
    import nbformat
    from nbclient import NotebookClient

    def run(raw: bytes, *, change: Callable[[list], object] | None = None, allow_errors: bool = False) -> object:
        notebook = nbformat.reads(raw.decode(), as_version=4)
        if change:
            change(notebook.cells)
        resources = {"metadata": {"path": str(PROJECT / "notebooks")}}
        NotebookClient(
            notebook, timeout=CELL, kernel_name="python3", allow_errors=allow_errors, resources=resources
        ).execute()
        return notebook

    return run


@pytest.fixture
def nothing_left(house: Path, processes_of: Callable[[Path], list[str]]) -> Callable[[], None]:
    """Fail if anything of this house is still there: processes, ledger entries, mounts, containers, directories.

    Mount points are new directories in TMPDIR, which is in this house: what others mount meanwhile is not ours.
    """
    def check() -> None:
        deadline = time.monotonic() + 10  # a kernel's launcher ends when it notices that the kernel has
        while (processes := processes_of(house)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert processes == []
        assert ledger.entries() == []
        assert [mount for mount in procfs.mountinfo() if str(house) in str(tuple(mount))] == []
        places = paths.default()
        stays = ("images", "layers", "containers", "cache", "progress", "networks", "events.jsonl")
        left = [name for name in os.listdir(places.state) if name not in stays]
        assert left == []
        containers = Path(places.containers)
        assert not containers.exists() or [path.name for path in containers.iterdir() if path.is_dir()] == []

    return check


