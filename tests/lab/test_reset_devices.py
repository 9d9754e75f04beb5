"""What reset does with loop devices and mapped devices: takes down its own, and nobody else's."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from labrt import paths
from labrt.errors import LabrtError
from labrt.lab.ledger import reset
from labrt.linux import devmapper, ledger, loop
from labrt.linux.devmapper import Target

pytestmark = pytest.mark.root


@pytest.fixture
def disk(labrt_root: Path) -> str:
    try:
        loop.free()
    except LabrtError as error:
        pytest.skip(str(error))
    place = Path(paths.default().layers, "btrfs")
    place.mkdir(parents=True)
    (place / "half").write_bytes(bytes(1 << 20))
    return str(place / "half")


def test_a_loop_device_that_was_left_is_detached(disk):
    ledger.record("loop", disk)
    fd, device = loop.attach(disk)
    try:
        assert reset(quiet=True).ok
    finally:
        os.close(fd)
    until = time.monotonic() + 20  # udev may have it open, for a moment
    while loop.device_of(disk) is not None:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert ledger.entries() == []


def test_one_that_has_gone_by_itself_is_only_struck_out(disk):
    ledger.record("loop", disk)
    assert reset(quiet=True).ok
    assert ledger.entries() == []


def test_a_file_of_somebody_else_stays(disk, tmp_path):
    (tmp_path / "theirs").write_bytes(bytes(1 << 20))
    ledger.record("loop", str(tmp_path / "theirs"))
    with loop.attached(str(tmp_path / "theirs")) as device:
        assert not reset(quiet=True).ok
        assert loop.device_of(str(tmp_path / "theirs")) == device
    for entry in ledger.entries():
        ledger.strike(entry)


@pytest.mark.parametrize("name", ["vg-root", "labrt-x-pool", "labrt-0123456789ab-pool/../x", ""])
def test_a_mapped_device_of_somebody_else_is_not_asked_for(labrt_root, name):
    ledger.record("dm", name)
    answer = reset(quiet=True)
    assert not answer.ok
    assert [entry.what for entry in ledger.entries()] == [name]


def test_a_mapped_device_that_was_left_is_removed(labrt_root):
    name = f"labrt-{os.getpid():012x}-1"
    ledger.record("dm", name)
    if devmapper.can_use("zero") is None:
        devmapper.create(name, [Target(0, 2048, "zero", "")])
    assert reset(quiet=True).ok
    assert ledger.entries() == []
    if os.path.exists(devmapper.CONTROL):
        assert devmapper.find(name) is None
