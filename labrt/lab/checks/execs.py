"""Notebook 17: bring one more program into a container that runs.

    lab.checks.enters(enter)        the check; in a notebook lab.check("17", enter)

`enter(state, argv)` is given a running container's state and a command; it returns the command's exit code. The command
writes down, from inside, which namespaces it is in, its cgroup and its root; that is compared with the container's own
PID 1.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, not_yet, passed
from labrt.linux import cgroups, namespaces

KINDS = ("mnt", "uts", "ipc", "net", "pid", "cgroup")
EXPECTED = "the exit code, and of inside the same root, namespaces and cgroup as the container's PID 1"
_UNWRITTEN = (
    "a child of yours goes in: cgroup, then namespaces; and only *its* child is in the PID namespace",
    'process.spawn(scout, cgroup=…); in scout namespaces.enter(state.pid, "mnt,uts,ipc,net,pid,cgroup"), then a fork',
    "in the forked one os.execvp(argv[0], argv); the scout waits for it, and gives its exit code back",
)
_HINTS = {
    "pid": (
        "it is in the container, but not in its PID namespace",
        "setns(2) does not move the caller into a PID namespace, only the children that it makes from then on",
        "fork once more after namespaces.enter(…), and exec in that child",
    ),
    "place": (
        "it is not in the container's cgroup: the limits do not hold for it",
        "a namespace decides what is seen; a cgroup is another matter, and joined from outside, before the namespaces",
        "process.spawn(scout, cgroup=cgroups.load(state.cgroup))",
    ),
}


def enters(enter: Callable[[Any, list[str]], object]) -> Check:
    """Judge `enter`, at a container that is made for it."""
    from labrt.engine import run

    container = run("busybox", "sleep", "600", detach=True)
    try:
        return _judge(enter, container.state)
    finally:
        container.remove(force=True)


def _judge(enter: Callable[[Any, list[str]], object], state: Any) -> Check:
    note = f"/tmp/labrt-{secrets.token_hex(6)}"
    with cgroups.create(f"enter-{secrets.token_hex(4)}") as group:  # what does not come back goes with it
        tried = attempt.run(lambda: (group.add(0), enter(state, _command(note)))[1], namespaces="uts")
    root = f"/proc/{state.pid}/root"
    told, outside = _read(root + note), _read(note)
    if tried.problem:
        return not_yet("enter", tried.problem, EXPECTED, tried.hints(_UNWRITTEN))
    if told is None:
        return not_yet("enter", *_never(outside is not None))
    expected = _facts(state)
    differ = [kind for kind in expected if told.get(kind) != expected[kind]]
    saw = f"exit code {tried.value}; of {len(expected)} facts from inside, others: {', '.join(differ) or 'none'}"
    if differ:
        return not_yet("enter", saw, EXPECTED, _hints(differ))
    if tried.value != 7:
        hints = (
            "the command ended with 7: what came back is something else",
            "the scout returns its child's exit code",
            "os.waitstatus_to_exitcode(status)",
        )
        return not_yet("enter", saw, EXPECTED, hints)
    return passed("enter", saw, EXPECTED)


def _command(note: str) -> list[str]:
    links = "; ".join(f"echo {kind}=$(readlink /proc/self/ns/{kind})" for kind in KINDS)
    # `read` is the shell's own: in the container's /proc, a shell from elsewhere has no "self". Its children would.
    links += "; { read number rest < /proc/self/stat; } 2>/dev/null || echo pid=elsewhere"
    return ["sh", "-c", f"{{ {links}; }} > {note}; cat /proc/self/cgroup >> {note}; exit 7"]


def _read(path: str) -> dict[str, str] | None:
    """Read what the command has written, and remove it."""
    with contextlib.suppress(OSError), open(path) as file:
        lines = file.read().splitlines()
        os.unlink(path)
        told = dict(line.split("=", 1) for line in lines if "=" in line.partition(":")[0])
        paths = {line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
        # In its own cgroup namespace, whoever is in the container's cgroup reads "/".
        return told | {"place": "/" if paths == {"/"} else max(paths, key=len, default="")}
    return None


def _facts(state: Any) -> dict[str, str]:
    there = namespaces.of(state.pid)
    return {kind: f"{kind}:[{there[kind].inode}]" for kind in KINDS} | {"place": "/"}


def _never(outside: bool) -> tuple[str, str, tuple[str, ...]]:
    if outside:
        return "the command ran, in the host's root", EXPECTED, (
            "it has not entered the container's mount namespace: it has written into the host's /tmp",
            'namespaces.enter(state.pid, "mnt,uts,ipc,net,pid,cgroup")',
        )
    return "the command never ran", EXPECTED, ("nothing was executed in the container", *_UNWRITTEN[1:])


def _hints(differ: Sequence[str]) -> tuple[str, ...]:
    kinds = [kind for kind in differ if kind not in _HINTS]
    if kinds:
        return (
            f"not entered: {', '.join(kinds)}",
            f"namespaces.enter takes several kinds at once: {','.join(KINDS)}",
            f'namespaces.enter(state.pid, "{",".join(KINDS)}")',
        )
    return _HINTS[differ[0]]
