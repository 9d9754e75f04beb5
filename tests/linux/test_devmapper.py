"""The device mapper: a thin pool on two files, a disk in it, and a snapshot of that."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrt.errors import InvalidInput, KernelError
from labrt.linux import devmapper, loop
from labrt.linux.devmapper import Target

SECTORS = 2048  # of each disk: 1 MiB


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[str]:
    if reason := devmapper.can_use("thin-pool"):
        pytest.skip(reason)
    name = f"labrt-test-{os.getpid()}"
    for file, size in (("data", 32 << 20), ("metadata", 4 << 20)):
        with open(tmp_path / file, "wb") as stream:
            stream.truncate(size)
    with loop.attached(str(tmp_path / "data")) as data, loop.attached(str(tmp_path / "metadata")) as metadata:
        devmapper.create(name, [Target(0, 65536, "thin-pool", f"{metadata} {data} 128 0")])
    yield name
    assert devmapper.remove(name)
    until = time.monotonic() + 20  # udev looks at each that comes, and is a user meanwhile
    while any(loop.device_of(str(tmp_path / file)) for file in ("data", "metadata")):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.root
def test_a_snapshot_is_the_same_and_apart(pool):
    path = devmapper.find(pool).path
    names = [f"{pool}-{number}" for number in (1, 2)]
    devmapper.message(pool, "create_thin 1")
    first = devmapper.create(names[0], [Target(0, SECTORS, "thin", f"{path} 1")])
    Path(first.path).write_bytes(b"old")
    assert devmapper.remove(names[0])
    devmapper.message(pool, "create_snap 2 1")
    second = devmapper.create(names[1], [Target(0, SECTORS, "thin", f"{path} 2")])
    try:
        assert Path(second.path).read_bytes()[:3] == b"old"
        line = devmapper.status(names[1])[0]
        assert (line.kind, line.length, line.parameters.split()[0]) == ("thin", SECTORS, "128")
        assert not devmapper.try_remove(pool)  # it is in use
    finally:
        assert devmapper.remove(names[1])
    for number in (2, 1):
        devmapper.message(pool, f"delete {number}")
    assert devmapper.find(names[0]) is None


@pytest.mark.root
def test_errors(pool):
    with pytest.raises(KernelError):
        devmapper.message(pool, "delete 77")
    with pytest.raises(KernelError):
        devmapper.create(f"{pool}-x", [Target(0, SECTORS, "thin", "/dev/null 1")])
    assert devmapper.find(f"{pool}-x") is None
    assert devmapper.remove(f"{pool}-never-there")


def test_a_name_is_no_path():
    with pytest.raises(InvalidInput):
        devmapper.find("a/b")


def test_without_a_device_mapper_it_says_so():
    if not os.path.exists(devmapper.CONTROL):
        assert devmapper.CONTROL in (devmapper.can_use("thin-pool") or "")
    assert devmapper.can_use("labrt-nonsense") is not None
