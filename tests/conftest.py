"""Fixtures that every floor's tests use."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PR_SET_CHILD_SUBREAPER = 36


def pytest_configure(config: pytest.Config) -> None:
    # Containers outlive the process that made them. Where PID 1 does not reap orphans, this process does.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Most tests are about something else than networks; those that are not, ask for one, or take this away.
    os.environ.setdefault("LABRT_NETWORK", "none")
    # A shell starts its background jobs deaf to Ctrl-C, nohup(1) to hang-ups: so would be all that the tests start.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL),
                          (signal.SIGHUP, signal.SIG_DFL)):  # fmt: skip
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def shared() -> Path:
    """The folder of real images and specifications that lies beside the checkout."""
    folder = PROJECT.parent / "shared"
    if not (folder / "images").is_dir():
        pytest.skip(f"{folder} is absent: no real images to test with")
    return folder


@pytest.fixture
def labrt_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house of its own: LABRT_ROOT in a temporary directory."""
    root = tmp_path / "labrt"
    monkeypatch.setenv("LABRT_ROOT", str(root))
    return root


@pytest.fixture
def house(labrt_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """LABRT_ROOT with busybox, as it is after set-up and a first pull. Afterwards everything is taken down."""
    from labrt.engine import embedded
    from labrt.engine.images import Images
    from labrt.lab.ledger import reset
    from labrt.runtime import launcher

    monkeypatch.setenv("DOCKER_CONFIG", str(labrt_root))
    embedded.ensure()
    with embedded.serve() as server:
        Images()._pull(embedded.REFERENCE, None, None, {"docker.io": server.url})
    yield labrt_root
    launcher.default().close()
    assert reset(quiet=True).ok


@pytest.fixture
def processes_of() -> Callable[[Path], list[str]]:
    """Find the processes of one labrt, by the LABRT_ROOT that they were given, ourselves left out: `pid command`."""
    return _processes_of


def _processes_of(root: Path) -> list[str]:
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"LABRT_ROOT={root}".encode() in environment and int(pid) != os.getpid():
                found.append(f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes()[:100]!r}")
        except OSError:  # gone by now
            continue
    return found
