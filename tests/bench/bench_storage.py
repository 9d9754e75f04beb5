"""What storage drivers cost: as layers grow from 1 to 128, and ten containers of one image, in time and disk.

    python -m tests.bench.bench_storage [RUNS]

1. An image of 1, 2, 4 … 128 layers, each with ten files: all layers applied; a container prepared and mounted.
2. Ten containers of one image (32 MiB in 2,000 files): prepared and mounted; each then changes one file of 1 MiB.

Every driver that works here; the others are named with the reason. Needs root.
"""

from __future__ import annotations

import gc
import io
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from labrt.errors import NotSupported
from labrt.image.config import chain_ids
from labrt.image.digest import Digest
from labrt.linux import process
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage.driver import NAMES, Driver, open_driver

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
CONTAINERS = 10


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


@contextmanager
def opened(name: str) -> Iterator[Driver]:
    """A driver in a place of its own, all gone at the end."""
    with tempfile.TemporaryDirectory(prefix="labrt-bench-", dir="/var/tmp") as place:
        driver = open_driver(name, Paths(os.path.join(place, "lib"), os.path.join(place, "run")))
        try:
            yield driver
        finally:
            for container in driver.containers():
                driver.remove(container)
            del driver
            gc.collect()


def mount(mounts: Sequence[Mount], work: Callable[[str], object]) -> float:
    """Mount a root in a child, do some work there, and return how long the mounting took, in seconds."""
    with tempfile.TemporaryDirectory(prefix="labrt-bench-") as place:

        def child() -> float:
            begin = time.perf_counter()
            for each in mounts:
                each.attach(place)
            os.listdir(place)
            taken = time.perf_counter() - begin
            work(place)
            return taken

        return process.run_in_child(child, namespaces="mnt")


def add(driver: Driver, archives: Sequence[bytes]) -> tuple[Digest, ...]:
    diff_ids = [Digest.of(data) for data in archives]
    ids = chain_ids(diff_ids)
    for number, data in enumerate(archives):
        driver.add(ids[: number + 1], io.BytesIO(data), diff_ids[number])
    return ids


def used(path: str) -> int:
    """Return how many bytes are allocated on the file system that `path` is on."""
    os.sync()
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def growing(name: str) -> list[tuple[int, float, float]]:
    """Return, for each number of layers, the seconds of applying them and of preparing and mounting a container."""
    rows = []
    for count in COUNTS:
        layers = [archive({f"d/f{layer}-{n}": os.urandom(512) for n in range(10)}) for layer in range(count)]
        with opened(name) as driver:
            begin = time.perf_counter()
            ids = add(driver, layers)
            applied = time.perf_counter() - begin
            begin = time.perf_counter()
            mounts = driver.prepare("c1", ids)
            prepared = time.perf_counter() - begin
            rows.append((count, applied, prepared + mount(mounts, lambda place: None)))
    return rows


def ten(name: str) -> tuple[float, int, int]:
    """Return the seconds of ten containers, their bytes on disk, and those bytes after each has changed one file."""
    files = {f"d{n % 20}/f{n}": os.urandom(16 << 10) for n in range(1984)}
    with opened(name) as driver:
        ids = add(driver, [archive({**files, "big": os.urandom(1 << 20)})])
        before = used("/var/tmp")
        begin = time.perf_counter()
        prepared = [driver.prepare(f"c{n}", ids) for n in range(CONTAINERS)]
        taken = time.perf_counter() - begin
        taken += sum(mount(mounts, lambda place: None) for mounts in prepared)
        after = used("/var/tmp")
        for mounts in prepared:
            mount(mounts, _change)
        return taken, after - before, used("/var/tmp") - before


def _change(place: str) -> None:
    with open(os.path.join(place, "big"), "r+b") as file:
        file.write(b"x")


def main(runs: int) -> None:
    for name in NAMES:
        try:
            with opened(name):
                pass
        except NotSupported as error:
            print(f"{name}: left out: {error.message}\n")
            continue
        print(f"{name}\n  layers   applied, ms each   container, ms   (least of {runs})")
        for rows in zip(*(growing(name) for _ in range(runs)), strict=True):
            row = min(rows, key=lambda each: each[2])
            print(f"  {row[0]:6}   {row[1] / row[0] * 1e3:16.2f}   {row[2] * 1e3:13.2f}")
        times, fresh, changed = zip(*(ten(name) for _ in range(runs)), strict=True)
        print(f"  {CONTAINERS} containers: {min(times) * 1e3:.0f} ms, {min(fresh) / 1e6:.1f} MB on disk;", end=" ")
        print(f"{min(changed) / 1e6:.1f} MB when each has changed one byte of a file of 1 MiB\n", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
