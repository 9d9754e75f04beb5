"""Loop devices: one per file, and none when nobody uses it any more."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from labrt.errors import LabrtError
from labrt.linux import loop

pytestmark = pytest.mark.root


@pytest.fixture
def disk(tmp_path: Path) -> str:
    try:
        loop.free()
    except LabrtError as error:
        pytest.skip(str(error))
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(1 << 20))
    return str(path)


def gone(path: str) -> bool:
    """Whether a file has no device any more, or soon: udev looks at each that comes, and is a user meanwhile."""
    until = time.monotonic() + 20
    while loop.device_of(path) is not None:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_the_device_shows_the_file_and_goes_with_its_last_user(disk):
    with loop.attached(disk) as device:
        assert Path(device).read_bytes() == Path(disk).read_bytes()
        assert loop.device_of(disk) == device
    assert gone(disk)


def test_a_file_has_one_device(disk):
    with loop.attached(disk) as first, loop.attached(disk) as second:
        assert first == second
        loop.clear(first)  # in use: it goes with the last of us
        assert Path(first).read_bytes()[:10] == Path(disk).read_bytes()[:10]
    assert gone(disk)


def test_another_file_has_another(disk, tmp_path):
    (tmp_path / "other").write_bytes(bytes(1 << 20))
    with loop.attached(disk) as first, loop.attached(str(tmp_path / "other")) as second:
        assert first != second


def _look(disk: str, answers: multiprocessing.SimpleQueue, gate: object) -> None:
    with loop.attached(disk) as device:
        answers.put(device)
        gate.wait()  # type: ignore[attr-defined]


def test_many_at_once_get_the_same(disk):
    fork = multiprocessing.get_context("fork")
    answers, gate = fork.SimpleQueue(), fork.Event()
    children = [fork.Process(target=_look, args=(disk, answers, gate)) for _ in range(6)]
    for child in children:
        child.start()
    seen = {answers.get() for _ in children}
    gate.set()
    for child in children:
        child.join()
    assert len(seen) == 1
    assert gone(disk)


def test_what_is_no_file(tmp_path):
    with pytest.raises(OSError, match="absent"), loop.attached(str(tmp_path / "absent")):
        raise AssertionError("there is nothing to attach")
