"""Notebook 03: what is mounted inside stays inside, and what the host mounts later still arrives."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from labrt.lab.checks import attempt, verdict
from labrt.lab.checks.verdict import Check
from labrt.linux import mounts, process, procfs, syscalls

EXPECTED = "a mount made inside: not outside; one made outside: inside, too"
UNWRITTEN = (
    "your function runs in a mount namespace of its own; its mounts are copies, and peers of the host's",
    "mounts.set_propagation(path, word) changes that; an r before the word is for all mounts below the path, too",
    'which word hears, and does not speak? mounts.set_propagation("/", "rslave")',
)


class Seen(NamedTuple):
    """What mountinfo showed: whether a mount came out, whether one came in, and the inner mount's peer groups."""

    out: bool
    into: bool
    inner: str
    host: str


def stops(stop_leak: Callable[[], object]) -> Check:
    """Judge `stop_leak()`: it is called in a mount namespace that is still a peer of the one outside."""
    tried = attempt.run(lambda: _observe(stop_leak))
    if tried.problem:
        return verdict.not_yet("stop_leak", tried.problem, EXPECTED, tried.hints(UNWRITTEN))
    seen: Seen = tried.value
    saw = f"a mount made inside: {'outside, too' if seen.out else 'not outside'}; one made outside: "
    saw += f"{'inside, too' if seen.into else 'not inside'} (the inner mount is {seen.inner}, the outer {seen.host})"
    return verdict.judged("stop_leak", saw, EXPECTED, _hints(seen))


def _observe(stop_leak: Callable[[], object]) -> Seen:
    """Play the host in this namespace: a shared mount, as systemd makes them, and a child with a copy of it."""
    with tempfile.TemporaryDirectory() as place:
        syscalls.mount("host", place, "tmpfs")
        try:
            mounts.set_propagation(place, "shared")
            for name in ("out", "into"):
                os.mkdir(os.path.join(place, name))
            return _play(stop_leak, place)
        finally:
            mounts.unmount(place)


def _play(stop_leak: Callable[[], object], place: str) -> Seen:
    read, write = os.pipe()

    def inside() -> tuple[bool, str]:
        stop_leak()
        syscalls.mount("inside", os.path.join(place, "out"), "tmpfs")
        ours = next(mount for mount in procfs.mountinfo() if mount.mount_point == place)
        os.write(write, b"1")
        os.read(turn, 1)
        return _there(place, "into"), ours.propagation

    turn, opener = os.pipe()
    seen: list[bool | str] = []

    def outside() -> None:
        os.close(write)
        os.read(read, 1)  # until the inner mount is there, or the child has ended
        host = next(mount for mount in procfs.mountinfo() if mount.mount_point == place)
        seen.extend([_there(place, "out"), host.propagation])
        syscalls.mount("outside", os.path.join(place, "into"), "tmpfs")
        os.write(opener, b"1")

    into, inner = process.run_in_child(inside, namespaces="mnt", propagation=None, meanwhile=outside)
    return Seen(bool(seen[0]), into, inner, str(seen[1]))


def _there(place: str, name: str) -> bool:
    return os.path.join(place, name) in {mount.mount_point for mount in procfs.mountinfo()}


def _hints(seen: Seen) -> tuple[str, ...]:
    if seen.out and seen.inner == seen.host:
        return (
            f"both mounts are {seen.inner}: still peers, and peers tell each other everything",
            'a word for "/" alone does not reach the mounts below it: begin it with r',
            UNWRITTEN[2],
        )
    if seen.out:
        return (
            f"a mount came out, from {seen.inner} to {seen.host}",
            "look at mountinfo inside: which groups does the mount speak to?",
            UNWRITTEN[2],
        )
    if not seen.into and seen.inner == "private":
        return (
            "it is quiet now, but deaf as well: what the host mounts later does not arrive",
            "private cuts both ways; a third kind of mount hears its master, and is not heard",
            UNWRITTEN[2],
        )
    if not seen.into:
        return (
            f"nothing comes out, and nothing in: the inner mount is {seen.inner}",
            "a mount that shall hear needs a master: look for `master:` in mountinfo",
            UNWRITTEN[2],
        )
    return ()
