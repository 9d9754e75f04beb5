"""Bundles: a config.json and a root directory, and a runtime that runs them: runc, where it is installed, or labrt's.

    with bundles.bundle(config) as path:            the embedded busybox as its root
        bundles.run(path)                           Ran(runtime="runc", exit_code=0, output="…", error="")
        bundles.run(path, runtime="labrt")          the same bundle, by labrt itself

Notebook 16. See bundle.md and config.md of the OCI runtime-spec.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from labrt import paths
from labrt.engine import embedded
from labrt.errors import LabrtError
from labrt.runtime.container import Container
from labrt.storage import unpacking


class Ran(NamedTuple):
    """What became of a bundle: who ran it, its exit code, what it printed, and what the runtime complained of."""

    runtime: str
    exit_code: int
    output: str
    error: str


@contextlib.contextmanager
def bundle(config: Mapping[str, Any]) -> Iterator[str]:
    """Make a bundle of this config, among labrt's own directories, and yield its path; it goes at the end."""
    ours = paths.default()
    os.makedirs(ours.state, exist_ok=True)
    store = embedded.ensure(ours)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=ours.state) as path:
        root = os.path.join(path, "rootfs")
        os.mkdir(root, 0o755)
        for part in store.image(embedded.REFERENCE).manifest.layers:
            with store.open(part.digest) as stream:
                unpacking.apply(stream, root)
        with open(os.path.join(path, "config.json"), "w") as file:
            json.dump(config, file, indent=2)
        yield path


def others() -> list[str]:
    """Name the runtimes of others that are installed here."""
    return [name for name in ("runc", "crun") if shutil.which(name)]


def run(path: str, *, runtime: str | None = None) -> Ran:
    """Run a bundle to its end. `runtime` is runc, crun or labrt; None: runc if it is here, else labrt."""
    runtime = runtime or next(iter(others()), "labrt")
    name = f"lesson-{secrets.token_hex(6)}"
    if runtime == "labrt":
        return _by_labrt(path, name)
    with tempfile.TemporaryDirectory(prefix="labrt-") as state:
        command = [runtime, "--root", state, "run", "-b", path, name]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False)
    return Ran(runtime, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def _by_labrt(path: str, name: str) -> Ran:
    container = Container(name, path)
    try:
        with container.run() as attached:
            pieces = list(attached.output())
        code = container.wait(30)
        container.delete(force=True)
    except LabrtError as error:
        return Ran("labrt", 1, "", str(error))
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(container.directory)  # where its state was
    said = {stream: b"".join(data for fd, data in pieces if fd == stream).decode(errors="replace") for stream in (1, 2)}
    return Ran("labrt", 255 if code is None else code, said[1], said[2])
