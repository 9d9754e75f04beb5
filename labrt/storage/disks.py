"""Disks in files: how large one may be, and a file system for it.

    size = disks.size("/var/lib/labrt/layers/btrfs")
    disks.make(path, size); disks.make_file_system(["mkfs.ext4", "-q", path], beside=path)

The files are sparse: they take the room of what is in them, not of their size.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

from labrt.errors import LabrtError, file_error
from labrt.linux import loop

GIB = 1 << 30
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_LEAST = 256 << 20  # bytes that a file system of this kind wants to begin with


def program(name: str) -> str | None:
    """Return the path of a program that root has; None when it is not installed."""
    return shutil.which(name, path=PATH)


def can_make(mkfs: str, package: str) -> str | None:
    """Return None when a disk in a file can be made and used here, else what is missing: mkfs, or loop devices."""
    if program(mkfs) is None:
        return f"{mkfs} is missing: sudo apt-get install -y {package}"
    try:
        loop.free()
    except LabrtError as error:
        return str(error)
    return None


def existing(path: str) -> str:
    """Return the nearest directory above that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def size(place: str) -> int:
    """Return how many bytes a disk in a file may have and, when it is full, leave its surroundings some room."""
    return max(GIB, min(64 * GIB, room(place) * 8 // 10)) // GIB * GIB


def room(place: str) -> int:
    """Return how many bytes are free where `place` is."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def need_room(beside: str) -> None:
    """Raise KernelError (ENOSPC) where `beside` is too full for another disk."""
    if room(beside) < _LEAST:
        raise file_error(f"a file system of {_LEAST} bytes beside {beside}", errno.ENOSPC)


def make(path: str, size: int) -> None:
    """Make an empty disk of this size in bytes, for its owner only: a container's secrets may come to lie on it."""
    with open(path, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.truncate(size)


def make_file_system(command: list[str], *, beside: str) -> None:
    """Run mkfs. KernelError (ENOSPC) where `beside` is too full for it, LabrtError with what it said otherwise."""
    path = program(command[0])
    if path is None:
        raise LabrtError(f"{command[0]} is missing", remedy="sudo sh labrt/setup.sh install")
    need_room(beside)
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabrtError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
