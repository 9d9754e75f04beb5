"""What this labrt is like, and what it can do on this machine: `labrt info`.

    about = info()            Info(driver="overlay", drivers={"overlay": None, "btrfs": "no btrfs here: …"}, …)

Each storage driver is asked whether it can work here, and says why not; it is tried, not guessed.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import NamedTuple

import labrt
from labrt import paths
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.errors import ContainerNotFound, NotSupported


class Info(NamedTuple):
    """`containers` counts them by status; `drivers` has None for one that works here, else the reason why not."""

    version: str
    containers: dict[str, int]
    images: int
    driver: str
    drivers: dict[str, str | None]
    cgroup: str
    kernel: str
    architecture: str
    cpus: int
    memory: int
    rootless: bool
    state: str
    run: str


def info(where: paths.Paths | None = None) -> Info:
    """Look at this labrt and this machine."""
    from labrt.linux.cgroups.detect import detect

    where = where or paths.default()
    images = Images(where)
    counts = by_status(Containers(where))
    machine = os.uname()
    return Info(
        labrt.__version__, counts, len({image.id for image in images.all()}), images.driver.name, drivers(where),
        detect().mode, f"{machine.sysname} {machine.release}", machine.machine, len(os.sched_getaffinity(0)),
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), paths.owner() != 0, where.state, where.run,
    )  # fmt: skip


def by_status(containers: Containers) -> Counter[str]:
    """Count containers by their status."""
    counts = Counter(running=0, exited=0, created=0)
    for container in containers.list(all=True):
        with contextlib.suppress(ContainerNotFound):  # removed just now
            counts[container.status] += 1
    return counts


def drivers(where: paths.Paths) -> dict[str, str | None]:
    """Return for each storage driver None when it can work here, else why it cannot."""
    from labrt.storage import driver

    found: dict[str, str | None] = {}
    for name in driver.NAMES:
        try:
            driver.open_driver(name, where)
        except NotSupported as error:
            found[name] = error.message.partition("does not work here: ")[2] or error.message
        else:
            found[name] = None
    return found
