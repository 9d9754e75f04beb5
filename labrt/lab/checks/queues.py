"""Notebook 05: out of sight of a message queue, and under another hostname, without anybody else noticing."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from labrt.lab import given
from labrt.lab.checks import attempt, verdict
from labrt.lab.checks.verdict import Check
from labrt.linux import namespaces, process

FLAGS = "syscalls.unshare(CLONE.NEWUTS | CLONE.NEWIPC)"


class Seen(NamedTuple):
    """What there is afterwards: queues and hostnames on both sides, and whether the inodes of `ipc` differ."""

    inside: int
    outside: int
    hostname: str
    host: str
    apart: bool


def hides(hide: Callable[[], object]) -> Check:
    """Judge `hide()`: it is called in a process that sees a queue; both sides are looked at afterwards."""
    name = given.hide().hostname
    expected = f"no queue inside, and hostname {name!r}; outside the queue and the old hostname"
    tried = attempt.run(lambda: _observe(hide))
    if tried.problem:
        return verdict.not_yet("hide", tried.problem, expected, tried.hints(_unwritten(name)))
    seen: Seen = tried.value
    saw = f"{seen.inside or 'no'} queue inside, and hostname {seen.hostname!r}; outside "
    saw += f"{'the' if seen.outside else 'no'} queue and {'the old' if seen.host != name else 'the same'} hostname"
    return verdict.judged("hide", saw, expected, _hints(seen, name))


def _unwritten(name: str) -> tuple[str, str, str]:
    return (
        "what a process sees of names and queues hangs on its namespaces: it can leave them",
        "syscalls.unshare(flags) moves the caller into new ones; CLONE.NEWUTS is the hostname's, CLONE.NEWIPC the "
        "queues'",
        f'{FLAGS}; syscalls.sethostname("{name}")',
    )


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


def _hints(seen: Seen, name: str) -> tuple[str, ...]:
    if seen.host == name:
        return (
            "the hostname has changed outside, too: everybody has this name now",
            "first a UTS namespace of your own, then the name",
            _unwritten(name)[2],
        )
    if not seen.outside:
        return (
            "the queue is gone, for everybody: whose was it?",
            "hide it, do not remove it: in another IPC namespace it cannot be seen",
            "syscalls.unshare(CLONE.NEWIPC)",
        )
    if seen.hostname != name and not seen.apart:
        return (
            "nothing has changed: the same queue, the same name, the same namespaces",
            "syscalls.unshare must be called in this process, not in a child of it",
            _unwritten(name)[2],
        )
    if not seen.apart:
        return (
            "the name is right, and the queue is still in sight: `ipc` has the inode that it has outside",
            "hostnames and queues are kept by two kinds of namespace",
            "syscalls.unshare(CLONE.NEWUTS | CLONE.NEWIPC)",
        )
    if seen.hostname != name:
        return (
            f"the queue is out of sight; but the hostname is {seen.hostname!r}, not {name!r}",
            "a new UTS namespace begins with a copy of the old names",
            f'syscalls.sethostname("{name}"), after the unshare',
        )
    return ()
