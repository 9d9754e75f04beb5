"""The aufs driver: Docker's first one. Each layer is one directory, with `.wh.` files in it as the layer's archive has.

    containers/<id>/upper    what the container wrote: whole files, and whiteouts

Kernel AUFS is in no current distribution. Where a kernel has it, it is mounted; elsewhere its rules are carried out by
a program of ours (aufs_rules.py) that FUSE asks (aufs_server.py): slow, and all of it can be read. Notebook 11.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from labrt.errors import LabrtError
from labrt.image.digest import Digest
from labrt.image.tree import remove_path
from labrt.linux import fscontext, fuse, process
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage.directories import Directories, new_root
from labrt.storage.workshop import is_host_root

if TYPE_CHECKING:
    from labrt.image.compression import Readable
    from labrt.image.layer import Applied


class Aufs(Directories):
    """Layers united by AUFS's rules."""

    name = "aufs"

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths)
        self.ledger = paths.ledger
        self.in_kernel: bool | None = None

    @staticmethod
    def can_use(paths: Paths) -> str | None:
        """Return None when it works here, else the reason why not. A union is tried."""
        if not is_host_root():
            return "it wants root: its server makes files for all users"
        place = os.path.join(paths.layers, f".try-{os.urandom(4).hex()}")
        try:
            if not fscontext.known("aufs"):
                os.close(fuse.open_device())
                _find_library()
            for name in ("upper", "low", "root"):
                os.makedirs(os.path.join(place, name))
            process.run_in_child(partial(_try, place, paths.ledger), namespaces="mnt")
        except (LabrtError, OSError) as error:
            return str(error)
        finally:
            remove_path(place)
        return None

    def _unpack(self, target: str, below: Sequence[Digest], stream: Readable) -> Applied:
        from labrt.storage import unpacking

        new_root(target, self.diff(below[-1]) if below else None)
        lowers = [self.diff(chain_id) for chain_id in reversed(below)]
        return unpacking.apply(stream, target, whiteouts="aufs", lowers=lowers, as_root=True)

    def _make_root(self, container: str, chain_ids: Sequence[Digest]) -> None:
        new_root(os.path.join(container, "upper"), self.diff(chain_ids[-1]) if chain_ids else None)

    def _mounts(self, container: str, chain_ids: Sequence[Digest]) -> list[Mount]:
        if self.in_kernel is None:
            self.in_kernel = fscontext.known("aufs")
        branches = [os.path.join(container, "upper"), *(self.diff(chain_id) for chain_id in reversed(chain_ids))]
        return [kernel_mount(branches) if self.in_kernel else fuse_mount(branches, self.ledger)]


def kernel_mount(branches: Sequence[str]) -> Mount:
    """Describe AUFS of the kernel. `rr`: nobody else writes there, so it need not look; `wh`: whiteouts count there."""
    writable, *others = branches
    parts = [f"{writable}=rw", *(f"{path}=rr+wh" for path in others)]
    return Mount("/", "aufs", "none", (f"br={':'.join(parts)}", "xino=/dev/shm/labrt.xino", "dirperm1"))


def fuse_mount(branches: Sequence[str], ledger: str) -> Mount:
    """Describe the union that aufs_server.py serves; the highest branch comes first, and is the one that is written."""
    command = [sys.executable, "-m", "labrt.storage.aufs_server", "{fd}", ledger, *branches]
    return Mount("/", "fuse.aufs", "aufs", (fuse.serve_option(command),))


def _find_library() -> None:
    import importlib.util
    import subprocess

    if importlib.util.find_spec("mfusepy") is None:
        raise LabrtError("the Python package mfusepy is missing", remedy="sudo sh labrt/setup.sh install")
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    if "libfuse3.so" not in known:
        raise LabrtError("libfuse3 is missing", remedy="sudo apt-get install -y fuse3")


def _try(place: str, ledger: str) -> None:
    """Find out whether a union can be mounted, shows both branches, and copies up. In a mount namespace of its own."""
    upper, low, root = (os.path.join(place, name) for name in ("upper", "low", "root"))
    for name in ("kept", "gone"):
        with open(os.path.join(low, name), "w") as file:
            file.write(name)
    branches = [upper, low]
    (kernel_mount(branches) if fscontext.known("aufs") else fuse_mount(branches, ledger)).attach(root)
    os.unlink(os.path.join(root, "gone"))
    os.chmod(os.path.join(root, "kept"), 0o600)
    seen = os.listdir(root), sorted(os.listdir(upper)), stat.S_IMODE(os.stat(os.path.join(low, "kept")).st_mode)
    if seen[:2] != (["kept"], [".wh.gone", "kept"]) or seen[2] == 0o600:
        raise LabrtError(f"the union mounts here, but shows {seen}")
