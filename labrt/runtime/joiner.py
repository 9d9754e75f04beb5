"""The joiner: brings one more program into a container that runs. What `docker exec` is about.

Three processes, as in runc. The *joiner* stays outside, waits for the program, and reports how it ended. Its child, the
*scout*, enters the container's cgroup and namespaces. Only children of the scout are in the new PID namespace, so it
makes one, the *program*, as its sibling (CLONE_PARENT): the joiner is the one who can wait for it. Then the scout ends.
The program goes the same last way as init (program.become).

While scout and program are in there with the host's power still in their hands, processes of the container can see
them in /proc. They are undumpable until the execve, so that none of those may look into them, or take their
descriptors. See PR_SET_DUMPABLE in prctl(2).

    joiner ─► caller   {"started": pid}   (with a terminal: and its master descriptor), or {"error": …}
    joiner ─► caller   {"exit": code}

Interface: `run(request, reply, pidfd, *stdio)`, called by the launcher. See setns(2), clone(2); notebook 17.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from labrt import paths
from labrt.errors import Conflict
from labrt.linux import cgroups, heldproc, namespaces, process, rootfs, syscalls
from labrt.linux.flags import CLONE
from labrt.runtime import init, program, wire

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


def run(request: dict[str, Any], reply: socket.socket, pidfd: int, *stdio: int) -> None:
    """Run one program in the container whose PID 1 is behind `pidfd`. `stdio` are its 0, 1 and 2; none: a terminal."""
    try:
        child, fds = bring_in(request, pidfd, stdio)
    except BaseException as error:
        wire.send(reply, {"error": wire.error_to_json(error)})
        return
    wire.send(reply, {"started": child.pid}, fds)
    for fd in (*fds, *stdio):
        os.close(fd)
    exit = child.wait()
    wire.send(reply, {"exit": exit.code if exit else 255})


def bring_in(request: dict[str, Any], pidfd: int, stdio: tuple[int, ...]) -> tuple[process.Child, list[int]]:
    """Start the program; return it and, with a terminal, the master's descriptor. Raises what kept it from starting.

    `labrt-oci exec` says more in its request: `kept`, how many descriptors after 0, 1, 2 the program keeps;
    `with_parent`, whether it shall end with us; `every_tree`, how its cgroup was made. `linux` is the config's, for
    what a program has of it, and `state` the container's, for a seccomp agent.
    """
    linux, seccomp = request.get("linux") or {}, request["seccomp"]
    prepared = program.prepare(request["process"], seccomp, request["user"], linux=linux)
    initial, final = _affinity(request["process"])
    if initial:
        os.sched_setaffinity(0, initial)  # whoever we make from here on begins there
    size = request.get("console_size")
    from_scout, scouts = wire.pair()
    from_program, programs = wire.pair()
    # Born in its v2 cgroup, from outside: a clone from within the container's cgroup namespace could not name it.
    cgroup = None
    if request["cgroup"]:
        cgroup = cgroups.load(request["cgroup"], parent="/", every_tree=request.get("every_tree", False))
    if cgroup and paths.owner():
        from labrt.runtime import unprivileged

        unprivileged.approach(f"exec-{os.getpid()}")
    into = cgroup.open_fd() if cgroup else None
    scout, _ = syscalls.clone3(0, exit_signal=signal.SIGCHLD, cgroup=into)
    if into is not None:
        os.close(into)
    if scout == 0:
        try:
            from_scout.close()
            from_program.close()
            if cgroup:
                cgroup.enter(cloned=into is not None)
            if final:
                os.sched_setaffinity(0, final)
            _scout(request, prepared, pidfd, stdio, tuple(size) if size else None, scouts, programs)
        except BaseException as error:
            wire.send(scouts, {"error": wire.error_to_json(error)})
        finally:
            os._exit(127)
    scouts.close()
    programs.close()
    made, _ = wire.receive(from_scout)
    os.waitpid(scout, 0)
    if made is None or "error" in made:
        raise wire.error_from_json(made["error"]) if made else Conflict("the container ended while it was joined")
    child = process.Child(made["pid"], os.pidfd_open(made["pid"]))
    ready, fds = wire.receive(from_program)
    # Once it is ready, silence and the end of the stream mean that the program runs.
    verdict = _verdict(from_program, request, child) if ready and "error" not in ready else ready
    if ready is None or (verdict and "error" in verdict):
        exit = child.wait()
        raise wire.error_from_json(verdict["error"]) if verdict else Conflict(f"the program was killed: {exit}")
    return child, fds


def _affinity(process: dict[str, Any]) -> tuple[frozenset[int], frozenset[int]]:
    """Read process.execCPUAffinity: the CPUs before and after we go over to the container's cgroup; empty: as it is."""
    wanted = process.get("execCPUAffinity")
    if not wanted:
        return frozenset(), frozenset()
    from labrt.linux import scheduler

    initial, final = (scheduler.cpus(wanted.get(name) or "") for name in ("initial", "final"))
    return initial, final


def _verdict(from_program: socket.socket, request: dict[str, Any], child: process.Child) -> dict[str, Any] | None:
    """Hear how it went; on the way hand a seccomp listener over to its agent."""
    from labrt.runtime import listener

    state = request.get("state") or {"ociVersion": "1.1.0", "status": "running", "pid": request["pid"]}
    try:
        return listener.verdict(from_program, request["seccomp"], lambda: state, pid=child.pid)
    except BaseException:
        child.kill()
        child.wait()
        raise


def _scout(
    request: dict[str, Any],
    prepared: program.Program,
    pidfd: int,
    stdio: tuple[int, ...],
    size: tuple[int, int] | None,
    back: socket.socket,
    programs: socket.socket,
) -> None:
    """Enter the container and make the program there."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    init.set_oom_score(request["process"])
    proc = heldproc.hold() if prepared.labelled else None
    different = CLONE(0)
    ours, theirs = namespaces.of("self"), namespaces.of(request["pid"])
    if process.wait_for(pidfd, 0):
        raise Conflict("the container has just ended", remedy="`labrt start` starts it again")
    for kind in set(ours) - set(ours.shared_with(theirs)):
        different |= namespaces.KINDS[kind][0]
    rootfs.seal_imports()
    syscalls.setns(pidfd, different)
    if CLONE.NEWUSER in different:
        with contextlib.suppress(OSError):  # there may be no root in it
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)  # we are nobody in there, and so would our terminal be
    pid, _ = syscalls.clone3(CLONE.PARENT, exit_signal=0)  # how its end is told is inherited from us
    if pid == 0:
        try:
            _become(prepared, programs, stdio, size, request, proc)
        finally:
            os._exit(127)
    wire.send(back, {"pid": pid})


def _become(
    prepared: program.Program,
    back: socket.socket,
    stdio: tuple[int, ...],
    size: tuple[int, int] | None,
    request: dict[str, Any],
    proc: int | None,
) -> None:
    try:
        os.setsid()
        first = 3 + request.get("kept", 0)
        init.close_all_but([back.fileno(), *stdio, *([proc] if proc is not None else ())], first=first)
        if stdio:
            init.set_stdio(*stdio[:3])
            wire.send(back, {"ready": True})
        else:
            master = init.open_console(size, console=False)
            wire.send(back, {"ready": True}, [master])
            os.close(master)
        syscalls.close_range(first, (1 << 32) - 1, syscalls.CLOSE_RANGE_CLOEXEC)
        program.become(
            prepared,
            with_parent=request.get("with_parent", True),
            proc=proc,
            hand_over=lambda notifications: wire.send(back, {"seccomp": True}, [notifications]),
        )
    except BaseException as error:
        wire.send(back, {"error": wire.error_to_json(error)})
