"""Real cgroups, and real processes that wait for a sign before they do something."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labrt.linux import cgroups

Child = Callable[[str], "contextlib.AbstractContextManager[subprocess.Popen[str]]"]


def _hierarchies() -> dict[str, cgroups.Hierarchy]:
    """This machine's, and where both versions are mounted, each of them as if it were alone."""
    here = cgroups.detect() if os.path.exists("/proc/self/cgroup") else cgroups.Hierarchy(())
    found = {here.mode: here}
    if here.mode == "hybrid":
        found["legacy"] = cgroups.Hierarchy(tuple(tree for tree in here.trees if tree.version == 1))
        found["unified"] = cgroups.Hierarchy(tuple(tree for tree in here.trees if tree.version == 2))
    return found


@pytest.fixture(params=sorted(_hierarchies()))
def hierarchy(request: pytest.FixtureRequest) -> cgroups.Hierarchy:
    if request.param == "none":
        pytest.skip("no control groups are mounted here")
    return _hierarchies()[request.param]


@pytest.fixture
def parent(hierarchy: cgroups.Hierarchy) -> Iterator[str]:
    """A parent of this test's own, gone afterwards."""
    path = f"/labrt-test-{os.getpid()}"
    yield path
    cgroups.prune(path, hierarchy=hierarchy)
    left = [tree.directory(path) for tree in hierarchy.trees if os.path.exists(tree.directory(path))]
    assert left == []


@pytest.fixture
def group(hierarchy: cgroups.Hierarchy, parent: str, labrt_root: Path) -> Iterator[cgroups.Cgroup]:
    with cgroups.create("demo", hierarchy=hierarchy, parent=parent) as made:
        yield made


@pytest.fixture
def need(hierarchy: cgroups.Hierarchy) -> Callable[[str], None]:
    """Skip where no tree of this hierarchy has the controller."""

    def check(controller: str) -> None:
        if not hierarchy.where(controller) and not hierarchy.where({"io": "blkio"}.get(controller, controller)):
            pytest.skip(f"the controller {controller} is in no tree of this {hierarchy.mode} hierarchy")

    return check


@contextlib.contextmanager
def _child(code: str) -> Iterator[subprocess.Popen[str]]:
    waiting = f"import os, sys, time\nsys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()\n{code}"
    command = [sys.executable, "-I", "-S", "-c", waiting]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def child() -> Child:
    """A Python process that waits for a line on its stdin, then runs the code; killed at the end."""
    return _child


def _eventually(condition: Callable[[], object], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], bool]:
    """Wait for something that the kernel does in its own time."""
    return _eventually
