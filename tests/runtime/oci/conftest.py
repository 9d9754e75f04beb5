"""`labrt-oci` as its callers know it: a program of its own, a bundle, and ourselves as the subreaper who waits."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labrt.linux import cgroups, ledger
from labrt.runtime import config as oci_config

COMMAND = (sys.executable, "-m", "labrt.cli.oci")
PATIENCE = 60


class Oci:
    """The program, with a --root of its own. Whatever it has made is deleted at the end."""

    def __init__(self, root: Path, bundles: Path, busybox: Path) -> None:
        self.root = root
        self.bundles = bundles
        self.busybox = busybox
        self.ids: list[str] = []
        self.words = [*COMMAND, "--root", str(root)]

    def __call__(self, *words: str, code: int | None = 0, input: str | None = None, **how: Any):
        """Run one command; check its exit code (None: any), return what it printed."""
        how = {"stdin": subprocess.DEVNULL} | how if input is None else {"input": input} | how
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
        done = subprocess.run([*self.words, *words], text=True, timeout=PATIENCE, **how)
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def bundle(self, *args: str, change: Callable[[dict[str, Any]], None] | None = None) -> str:
        """Make a bundle; the id of its container is the directory's name."""
        id = f"oci{len(self.ids)}-{os.getpid()}"
        self.ids.append(id)
        directory = self.bundles / id
        directory.mkdir(parents=True)
        config = oci_config.default(args, rootfs_path=str(self.busybox))
        config["root"]["readonly"] = True
        config["linux"]["cgroupsPath"] = f"/labrt/{id}"
        if change:
            change(config)
        (directory / "config.json").write_text(json.dumps(config))
        return id

    def create(self, *args: str, options: tuple[str, ...] = (), output: Path | None = None, **how: Any) -> str:
        """Create a container that runs `args`, its output in a file (else nowhere); return its id."""
        id = self.bundle(*args, change=how.pop("change", None))
        with open(output or os.devnull, "wb") as file:
            self("create", "--bundle", str(self.bundles / id), *options, id, stdout=file, stderr=file, **how)
        return id

    def state(self, id: str) -> dict[str, Any]:
        return json.loads(self("state", id).stdout)

    def config(self, id: str) -> Path:
        return self.bundles / id / "config.json"

    def wait(self, id: str) -> int:
        """Wait for the container's init as its subreaper; return its exit code, negative if a signal ended it."""
        pid = json.loads((self.root / id / "state.json").read_text())["pid"]  # `state` has none once it is stopped
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def oci(labrt_root: Path, tmp_path: Path, busybox_root: Path) -> Iterator[Oci]:
    runtime = Oci(tmp_path / "oci", tmp_path / "bundles", busybox_root)
    yield runtime
    for id in runtime.ids:
        runtime("delete", "--force", id)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    cgroups.prune()
    assert [entry for entry in ledger.entries() if entry.kind != "container"] == []
    assert not runtime.root.exists() or os.listdir(runtime.root) == []


@pytest.fixture
def eventually() -> Callable[..., Any]:
    def wait(condition: Callable[[], Any], what: str = "it") -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{what} never came"
            time.sleep(0.02)
        return value

    return wait
