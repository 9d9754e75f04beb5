"""A root with busybox in it, and a maker of containers on top of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labrt import paths
from labrt.linux import ledger
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime import launcher
from labrt.runtime.container import Container

BUSYBOX = "/bin/busybox"


def make_root(root: Path) -> None:
    """Unpack busybox and what a root needs."""
    for name in ("bin", "etc", "tmp", "root", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n")


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with busybox; nobody writes to it."""
    if not os.path.exists(BUSYBOX):
        pytest.skip(f"{BUSYBOX} is absent: apt-get install busybox-static")
    root = tmp_path_factory.mktemp("busybox") / "root"
    make_root(root)
    return root


@pytest.fixture
def hostile(busybox_root: Path, tmp_path: Path) -> Path:
    """A copy of the root that a test may spoil."""
    root = tmp_path / "hostile"
    shutil.copytree(busybox_root, root, symlinks=True)
    return root


@pytest.fixture
def bait(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that no container may touch, or look at."""
    bait = tmp_path / "bait"
    bait.mkdir()
    (bait / "file").write_text("untouched")
    yield bait
    assert [path.name for path in bait.iterdir()] == ["file"]
    assert (bait / "file").read_text() == "untouched"


Maker = Callable[..., Container]


@pytest.fixture
def make(labrt_root: Path, busybox_root: Path) -> Iterator[Maker]:
    """Make containers: `make("sh", "-c", "…")`, created and not started; with `run` started, and the attachment beside.

    They are deleted at the end.
    """
    made: list[Container] = []

    def build(*args: str, change: Callable[[dict[str, Any]], None] | None = None, root: Path = busybox_root,
              run: bool = False, **how):
        id = f"test{len(made)}-{os.getpid()}"
        container = Container(id)
        directory = Path(container.directory)
        for name in ("rootfs", "upper", "work"):
            (directory / name).mkdir(parents=True)
        config = oci.default(args)
        config["linux"]["cgroupsPath"] = f"/labrt/{id}"
        config["annotations"][oci.USER] = "0"
        if change:
            change(config)
        (directory / "config.json").write_text(json.dumps(config))
        data = (f"lowerdir={root}", f"upperdir={directory / 'upper'}", f"workdir={directory / 'work'}", "index=off")
        made.append(container)
        how["root_mounts"] = [Mount("/", "overlay", "overlay", data)]
        if run:
            return container, container.run(**how)
        container.create(**how)
        return container

    yield build
    for container in made:
        if os.path.exists(container.state_file):
            container.delete(force=True)
    launcher.default().close()
    assert [entry for entry in ledger.entries() if entry.kind != "container"] == []
    assert not os.path.exists(paths.default().sockets) or os.listdir(paths.default().sockets) == []


@pytest.fixture
def outcome() -> Callable[..., tuple[int | None, str, str]]:
    """Start a container; return its exit code, its output and its errors."""
    return _outcome


def _outcome(container: Container, input: bytes | None = None) -> tuple[int | None, str, str]:
    """Start a container; return its exit code, its output and its errors."""
    output = {1: b"", 2: b""}
    with container.attach(stdin=input is not None) as attached:
        attached.start()
        if input is not None:
            attached.send(input)
            attached.end_input()
        for stream, data in attached.output():
            output[stream] += data
    return attached.exit_code, output[1].decode(), output[2].decode()
