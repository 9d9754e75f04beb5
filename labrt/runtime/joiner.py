"""The joiner: brings one more program into a container that runs. What `docker exec` is about.

It enters the container's cgroup and namespaces, and forks: only a child is in a new PID namespace. The child goes the
same last way as init (program.become). The joiner stays its parent, waits, and reports how it ended.

While it is in there, with the host's power still in its hands, processes of the container can see it in /proc. It is
made undumpable first, so that none of them may look into it, or take its descriptors. See PR_SET_DUMPABLE in prctl(2).

    joiner ─► caller   {"started": pid}   (with a terminal: and its master descriptor), or {"error": …}
    joiner ─► caller   {"exit": code}

Interface: `run(request, reply, pidfd, *stdio)`, called by the launcher. See setns(2), nsenter(1); notebook 17.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from labrt.errors import Conflict
from labrt.linux import cgroups, namespaces, process, syscalls
from labrt.linux.flags import CLONE
from labrt.runtime import init, program, wire


def run(request: dict[str, Any], reply: socket.socket, pidfd: int, *stdio: int) -> None:
    """Run one program in the container whose PID 1 is behind `pidfd`. `stdio` are its 0, 1 and 2; none: a terminal."""
    try:
        prepared = program.prepare(request["process"], request["seccomp"], request["user"])
        size = request.get("console_size")
        child, inside = _join(request, prepared, pidfd, stdio, tuple(size) if size else None)
        answer, fds = wire.receive(inside)
        if answer is not None and "error" not in answer:
            # The terminal's master is there; from here on silence means that the program runs.
            verdict, _ = wire.receive(inside)
            answer = verdict or answer
    except BaseException as error:
        wire.send(reply, {"error": wire.error_to_json(error)})
        return
    if answer is None or "error" in answer:
        exit = child.wait()
        wire.send(reply, answer or {"error": wire.error_to_json(Conflict(f"killed while it joined: {exit}"))})
        return
    wire.send(reply, {"started": child.pid}, fds)
    for fd in (*fds, *stdio):
        os.close(fd)
    exit = child.wait()
    wire.send(reply, {"exit": exit.code if exit else 255})


def _join(
    request: dict[str, Any],
    prepared: program.Program,
    pidfd: int,
    stdio: tuple[int, ...],
    size: tuple[int, int] | None,
) -> tuple[process.Child, socket.socket]:
    syscalls.prctl(program.PR_SET_DUMPABLE, 0)
    if request["cgroup"]:
        cgroups.load(request["cgroup"]).add(0)
    if process.wait_for(pidfd, 0):
        raise Conflict("the container has just ended", remedy="`labrt start` starts it again")
    different = CLONE(0)
    ours, theirs = namespaces.of("self"), namespaces.of(request["pid"])
    for kind in set(ours) - set(ours.shared_with(theirs)):
        different |= namespaces.KINDS[kind][0]
    inside, far = wire.pair()
    init.seal_imports()
    syscalls.setns(pidfd, different)
    pid, child_pidfd = syscalls.clone3(0, exit_signal=signal.SIGCHLD)
    if pid == 0:
        try:
            inside.close()
            _become(prepared, far, stdio, size)
        finally:
            os._exit(127)
    far.close()
    return process.Child(pid, child_pidfd), inside


def _become(
    prepared: program.Program, far: socket.socket, stdio: tuple[int, ...], size: tuple[int, int] | None
) -> None:
    try:
        os.setsid()
        if stdio:
            init.set_stdio(*stdio[:3])
            wire.send(far, {"ready": True})
        else:
            master = init.open_console(size, console=False)
            wire.send(far, {"ready": True}, [master])
            os.close(master)
        syscalls.close_range(3, (1 << 32) - 1, syscalls.CLOSE_RANGE_CLOEXEC)
        program.become(prepared)
    except BaseException as error:
        wire.send(far, {"error": wire.error_to_json(error)})

