"""labrt's own functions, as the exercises name and call them: what stands in where a learner has not written theirs.

    OURS["13"](ask, name, tag, architecture)        the layers of an image

See own.py, which chooses; each is a few lines around the primitive that its notebook is about.
"""

from __future__ import annotations

import json
import os
import signal
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from labrt.errors import DigestMismatch, RegistryError
from labrt.image.digest import Digest
from labrt.linux import cgroups, namespaces, process, rootfs


def pull(ask: Callable[[str], tuple[int, Any, bytes]], name: str, tag: str, architecture: str) -> list[bytes]:
    """Notebook 13: return an image's layers, each compared with its digest."""

    def fetch(kind: str, what: str) -> bytes:
        status, _, body = ask(f"/v2/{name}/{kind}/{what}")
        if status != 200:
            raise RegistryError(f"{name} {what}: status {status}", status=status)
        if ":" in what and str(Digest.of(body)) != what:
            raise DigestMismatch(f"{name}: these bytes are not {what}")
        return body

    document = json.loads(fetch("manifests", tag))
    for entry in document.get("manifests", ()):
        about = entry.get("platform") or {}
        if (about.get("os"), about.get("architecture")) == ("linux", architecture):
            document = json.loads(fetch("manifests", entry["digest"]))
            break
    return [fetch("blobs", layer["digest"]) for layer in document["layers"]]


def names(blobs: Sequence[bytes]) -> tuple[list[str], list[str]]:
    """Notebook 12: return the diff ids and the chain ids of layers."""
    diff_ids = [str(Digest.of(zlib.decompress(blob, wbits=31))) for blob in blobs]
    chain_ids = diff_ids[:1]
    for diff_id in diff_ids[1:]:
        chain_ids.append(str(Digest.of(f"{chain_ids[-1]} {diff_id}".encode())))
    return diff_ids, chain_ids


def enter_root(root: str) -> None:
    """Notebook 04: take a directory, which is a mount, for the root."""
    rootfs.PivotRoot(root).execute()


def init(argv: Sequence[str]) -> int:
    """Notebook 06: be process 1, run a program, reap everybody; return the program's exit code."""
    program = os.fork()
    if program == 0:
        try:
            os.execvp(argv[0], list(argv))
        finally:
            os._exit(127)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(program, number))
    while True:
        pid, status = os.wait()
        if pid == program:
            return os.waitstatus_to_exitcode(status)


def configure(args: Sequence[str]) -> dict[str, Any]:
    """Notebook 16: return a config for a container that runs args."""
    from labrt.runtime import config

    made = config.default(list(args))
    made["hostname"] = "lesson"
    return made


def enter(state: Any, argv: Sequence[str]) -> int:
    """Notebook 17: run a command in a container; return its exit code."""

    def scout() -> int:
        namespaces.enter(state.pid, "mnt,uts,ipc,net,pid,cgroup")
        program = os.fork()  # only children enter a PID namespace
        if program == 0:
            try:
                os.execvp(argv[0], list(argv))
            finally:
                os._exit(127)
        return os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])

    with process.spawn(scout, cgroup=cgroups.load(state.cgroup)) as child:
        exit = child.wait()
    return exit.code if exit else 1


OURS: dict[str, Callable[..., Any]] = {
    "04": enter_root, "06": init, "12": names, "13": pull, "16": configure, "17": enter,
}  # fmt: skip
