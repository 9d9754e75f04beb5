"""Notebook 05: out of sight of a message queue, and under another hostname, without anybody else noticing."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from labrt.lab.checks import attempt, verdict
from labrt.lab.checks.verdict import Check
from labrt.linux import namespaces, process

NAME = "vault"
EXPECTED = f"no queue inside, and hostname {NAME!r}; outside the queue and the old hostname"
UNWRITTEN = (
    "what a process sees of names and queues hangs on its namespaces: it can leave them",
    "syscalls.unshare(flags) moves the caller into new ones; CLONE.NEWUTS is the hostname's, CLONE.NEWIPC the queues'",
    'syscalls.unshare(CLONE.NEWUTS | CLONE.NEWIPC); syscalls.sethostname("vault")',
)


class Seen(NamedTuple):
    """What there is afterwards: queues and hostnames on both sides, and whether the inodes of `ipc` differ."""

    inside: int
    outside: int
    hostname: str
    host: str
    apart: bool


def hides(hide: Callable[[], object]) -> Check:
    """Judge `hide()`: it is called in a process that sees a queue; both sides are looked at afterwards."""
    tried = attempt.run(lambda: _observe(hide))
    if tried.problem:
        return verdict.not_yet("hide", tried.problem, EXPECTED, tried.hints(UNWRITTEN))
    seen: Seen = tried.value
    saw = f"{seen.inside or 'no'} queue inside, and hostname {seen.hostname!r}; outside "
    saw += f"{'the' if seen.outside else 'no'} queue and {'the old' if seen.host != NAME else 'the same'} hostname"
    return verdict.judged("hide", saw, EXPECTED, _hints(seen))


def queues() -> int:
    """Count the System V message queues of this process's IPC namespace."""
    with open("/proc/sysvipc/msg") as file:
        return len(file.read().splitlines()) - 1


def _observe(hide: Callable[[], object]) -> Seen:
    """Play the host in this namespace: it has a queue, and a child that shares it."""
    subprocess.run(["ipcmk", "-Q"], check=True, stdout=subprocess.DEVNULL)

    def inside() -> tuple[int, str, int]:
        hide()
        return queues(), socket.gethostname(), os.stat("/proc/self/ns/ipc").st_ino

    inner, hostname, inode = process.run_in_child(inside)
    return Seen(inner, queues(), hostname, socket.gethostname(), inode != namespaces.of("self").ipc.inode)


def _hints(seen: Seen) -> tuple[str, ...]:
    if seen.host == NAME:
        return (
            "the hostname has changed outside, too: everybody has this name now",
            "first a UTS namespace of your own, then the name",
            UNWRITTEN[2],
        )
    if not seen.outside:
        return (
            "the queue is gone, for everybody: whose was it?",
            "hide it, do not remove it: in another IPC namespace it cannot be seen",
            "syscalls.unshare(CLONE.NEWIPC)",
        )
    if seen.hostname != NAME and not seen.apart:
        return (
            "nothing has changed: the same queue, the same name, the same namespaces",
            "syscalls.unshare must be called in this process, not in a child of it",
            UNWRITTEN[2],
        )
    if not seen.apart:
        return (
            "the name is right, and the queue is still in sight: `ipc` has the inode that it has outside",
            "hostnames and queues are kept by two kinds of namespace",
            "syscalls.unshare(CLONE.NEWUTS | CLONE.NEWIPC)",
        )
    if seen.hostname != NAME:
        return (
            f"the queue is out of sight; but the hostname is {seen.hostname!r}",
            "a new UTS namespace begins with a copy of the old names",
            'syscalls.sethostname("vault"), after the unshare',
        )
    return ()
