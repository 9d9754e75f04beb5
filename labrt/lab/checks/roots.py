"""Notebook 04: a root of one's own, from which the escape of notebook 02 leads nowhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from labrt.lab.checks import attempt, verdict
from labrt.lab.checks.attempt import Attempt
from labrt.lab.checks.verdict import Check
from labrt.linux import process, procfs, syscalls
from labrt.linux.flags import MNT

EXPECTED = "/ is the new root, the only mount that can be reached, and the escape ends in it"
UNWRITTEN = (
    "pivot_root swaps two mounts: first the new root must be one, then the old one must go",
    'bind root onto itself; chdir into it; syscalls.pivot_root(".", "."); then take "." off with umount2',
    "syscalls.mount(root, root, None, MS.BIND | MS.REC); os.chdir(root); "
    'syscalls.pivot_root(".", "."); syscalls.umount2(".", MNT.DETACH)',
)


class Seen(NamedTuple):
    """What was there after entering: the mark of the new root, mount points that can be reached, a way out."""

    mark: bool
    mounts: list[str]
    escaped: bool


def enters(enter: Callable[[str], object]) -> Check:
    """Judge `enter(root)`: `root` is a plain directory; it is called in a mount namespace of its own."""
    tried = attempt.run(lambda: _observe(enter))
    if tried.problem:
        return verdict.not_yet("enter", tried.problem, EXPECTED, _explained(tried))
    seen: Seen = tried.value
    saw = f"/ is {'the new root' if seen.mark else 'not the new root'}, {len(seen.mounts)} mounts can be reached, "
    saw += f"the escape ends {'outside' if seen.escaped else 'in it'}"
    return verdict.judged("enter", saw, EXPECTED, _hints(seen))


def _observe(enter: Callable[[str], object]) -> Seen:
    with tempfile.TemporaryDirectory() as place:
        syscalls.mount("place", place, "tmpfs")  # gone with the namespace
        try:
            root = os.path.join(place, "root")
            for name in ("", "mark", "old", "cell"):
                os.mkdir(os.path.join(root, name))
            return process.run_in_child(lambda: _look(enter, root), namespaces="mnt")
        finally:
            syscalls.umount2(place, MNT.DETACH)


def _look(enter: Callable[[str], object], root: str) -> Seen:
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    enter(root)
    # Opened only now: mountinfo shows what can be reached from the root that its reader has then.
    with open(os.open("self/mountinfo", os.O_RDONLY, dir_fd=proc)) as file:
        mounts = [mount.mount_point for mount in procfs.parse_mountinfo(file.read())]
    mark = os.path.isdir("/mark")
    return Seen(mark, mounts, mark and not _escape())


def _escape() -> bool:
    """Try notebook 02's way out. Returns whether / is the new root even so."""
    os.chroot("/cell")
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return os.path.isdir("/mark")


def _explained(tried: Attempt) -> tuple[str, ...]:
    if "EINVAL" in tried.problem:
        return (
            "the kernel says EINVAL: what you give it for a root is a directory, and no mount",
            "mount the directory onto itself: a bind mount",
            "syscalls.mount(root, root, None, MS.BIND | MS.REC), before the rest",
        )
    if "EBUSY" in tried.problem:
        return (
            "the kernel says EBUSY: the new root lies on the same mount as the old one. Where does its path lead?",
            'with ".", pivot_root means where you are: be in the new root, and on its own mount',
            "first bind root onto itself, then os.chdir(root): only then it leads onto the new mount",
        )
    return tried.hints(UNWRITTEN)


def _hints(seen: Seen) -> tuple[str, ...]:
    if not seen.mark:
        return (
            "/ is still another directory",
            "does your function get as far as pivot_root? Print before and after",
            UNWRITTEN[2],
        )
    if len(seen.mounts) > 1:
        return (
            f"the old root is still there: {len(seen.mounts)} mounts can be reached, for instance {seen.mounts[-1]}",
            "pivot_root only moves it. Who takes it off?",
            'syscalls.umount2(".", MNT.DETACH) when "." was where the old root went, else its path',
        )
    if seen.escaped or not seen.mounts:
        return (
            "the escape of notebook 02 leads out: this is a chroot",
            "chroot says where paths start, and leaves the old root where it was; pivot_root swaps the mounts",
            UNWRITTEN[2],
        )
    return ()
