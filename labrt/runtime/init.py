"""Init: what a container's first process does between clone3 and execve.

It is born into its namespaces, enters its cgroup, builds its root and moves in, reports that it is created, waits for
*start*, and becomes the container's program. Until then it speaks with the monitor over one socket, which execve
closes: silence means success. (A FIFO would do for *start*, as in runc; but when the monitor dies, the socket says so,
and init ends, where a FIFO would leave it waiting for ever.)

    monitor ─► init   {"go": true}        the id maps are written
    init ─► monitor   {"mounted": true}   only where there are hooks for this moment: hooks.py
    monitor ─► init   {"enter": true}
    init ─► monitor   {"created": true}   (with a terminal: and its master descriptor)
    monitor ─► init   {"start": true}
    init ─► monitor   {"seccomp": true}   only where the filter has a listener: and that descriptor (listener.py)
    init ─► monitor   {"error": …}, or the end of the stream when the program runs

After the pivot nothing is imported (rootfs.seal_imports); whatever is needed has been imported by then, or fails.

See namespaces(7), pivot_root(2), runtime.md of the OCI runtime-spec ("Lifecycle"); notebook 06.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterable

from labrt.errors import InvalidConfig
from labrt.linux import cgroups, heldproc, mounts, namespaces, network, pty, rootfs, syscalls
from labrt.linux.flags import AT, CLONE, OPEN_TREE
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime import program, wire
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Birth(Record):
    """All that init is told by the monitor."""

    config: dict[str, Any]
    program: program.Program | None  # what it becomes; None: to be prepared inside, where it has other capabilities
    root: rootfs.Plan
    flags: CLONE  # namespaces made by the clone
    late: CLONE  # those that init makes itself, once it is in its cgroup
    joined: list[tuple[str, CLONE]]  # namespaces to enter instead: (path, flag)
    cgroup: cgroups.Cgroup | None  # where it belongs
    stdio: tuple[int, int, int] | None  # descriptors for 0, 1, 2; None: a terminal
    listener: socket.socket | None = None  # where *start* comes from; None: from the monitor, and init ends with it
    kept: int = 0  # how many descriptors after 0, 1, 2 the program keeps
    id: str = ""
    bundle: str = "/"  # where hooks of the host find themselves
    new_keyring: bool = True  # a session keyring of its own; without, it has ours
    own_users: bool = False  # it is in another user namespace than we are
    seen: bool = False  # by processes of another container, whose PID or user namespace it shares


def run(birth: Birth, sock: socket.socket) -> None:
    """Be init. Never returns; a failure goes to the monitor."""
    try:
        prepared = birth.program or (prepare(birth.config) if birth.config.get("process") else None)
        if not wire.receive(sock)[0]:
            return  # the monitor is gone, or has given up
        proc = heldproc.hold()  # before a mount namespace is joined, which may have anything at /proc
        master = _build(birth, sock, proc)
        if birth.listener and prepared:
            program.look_up(prepared)
        warnings = prepared.warnings if prepared else []
        wire.send(sock, {"created": True, "warnings": warnings}, [master] if master is not None else [])
        if master is not None:
            os.close(master)
        if not wire.receive(sock)[0]:
            return
        if birth.listener:
            sock = _wait_for_start(birth.listener, sock)
        # What is open besides 0, 1 and 2 is ours, not the program's.
        syscalls.close_range(3 + birth.kept, (1 << 32) - 1, syscalls.CLOSE_RANGE_CLOEXEC)
        program.become(
            prepared or prepare(birth.config),
            with_parent=birth.listener is None,
            new_keyring=birth.new_keyring,
            proc=proc,
            hand_over=lambda listener: wire.send(sock, {"seccomp": True}, [listener]),
            # With no more power than the program: these hooks are the image's.
            before_executing=lambda: _run_hooks(birth, "startContainer", "created", "/"),
        )
    except BaseException as error:
        wire.send(sock, {"error": wire.error_to_json(error)})


def _wait_for_start(listener: socket.socket, sock: socket.socket) -> socket.socket:
    """Wait for one who says *start*, and return the socket to them. Our parent is on its way out meanwhile.

    Others knock only to see that somebody still waits here: state.json cannot know it, the kernel does.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda received, _: os._exit(128 + received))  # PID 1 is deaf to what it does not handle
    sock.close()
    while True:
        caller, _ = listener.accept()
        message = wire.receive(caller)[0]
        if message and message.get("start"):
            wire.send(caller, {"starting": True})
            return caller
        caller.close()


def prepare(config: dict[str, Any]) -> program.Program:
    """Check and prepare the program that a config asks for."""
    linux = config["linux"]
    return program.prepare(config.get("process") or {}, linux.get("seccomp"), oci.user_annotation(config), linux=linux)


def _build(birth: Birth, sock: socket.socket, proc: int) -> int | None:
    """Make the container around ourselves; return the terminal's master, if there is to be one."""
    process, linux = birth.config.get("process") or {}, birth.config["linux"]
    if birth.cgroup:
        birth.cgroup.enter(cloned=True)  # while we are still who we were on the host: it takes the right to write there
    for path, flag in birth.joined:
        join(path, flag)
    if birth.seen:
        # Until execve nobody in there may look into us, or take our descriptors, with the host's power: CVE-2016-9962.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    os.setsid()
    if birth.own_users:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    if birth.config.get("hostname"):
        syscalls.sethostname(birth.config["hostname"])
    if birth.config.get("domainname"):
        syscalls.setdomainname(birth.config["domainname"])
    if CLONE.NEWNET in birth.flags:
        network.loopback_up()
    for name, value in (linux.get("sysctl") or {}).items():
        heldproc.write(proc, f"sys/{oci.sysctl_path(name)}", value, f"linux.sysctl.{name}")
    if birth.late:
        _unshare_late(birth, proc)
    rootfs.execute(birth.root, before_entering=lambda: _before_entering(birth, sock))
    ends = (end.fileno() for end in (sock, birth.listener) if end)
    close_all_but([*ends, *(birth.stdio or ()), proc], first=3 + birth.kept)
    if birth.stdio is not None:
        set_stdio(*birth.stdio)
        return None
    size = process.get("consoleSize")
    return open_console((size["height"], size["width"]) if size else None)


def close_all_but(keep: Iterable[int], *, first: int) -> None:
    """Close all descriptors from `first` on, but for these: before anything in the container's root is looked at.

    A directory of the host's among them would be a way out: a working directory /proc/self/fd/7 leads to it, also where
    close-on-exec would close it in a moment (CVE-2024-21626).
    """
    for fd in sorted(keep):
        if fd >= first:
            if fd > first:
                syscalls.close_range(first, fd - 1)
            first = fd + 1
    syscalls.close_range(first, (1 << 32) - 1)


def set_oom_score(process: dict[str, Any], pid: int | str = "self") -> None:
    """Say how soon the kernel shall kill a process when memory is short: proc_pid_oom_score_adj(5).

    From -1000 (never) to 1000; less than it has needs CAP_SYS_RESOURCE, and that not only in its user namespace.
    """
    if process.get("oomScoreAdj") is not None:
        proc = heldproc.hold()
        try:
            heldproc.write(proc, f"{pid}/oom_score_adj", str(process["oomScoreAdj"]), "process.oomScoreAdj")
        finally:
            os.close(proc)


def join(path: str, flag: CLONE) -> None:
    """Enter a namespace of linux.namespaces by its path. Raises InvalidConfig if there is none of this kind."""
    kind = next(name for name, known in namespaces.FLAG_OF_OCI_NAME.items() if known == flag)
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        problem = f"linux.namespaces: {path}: {error.strerror}"
        raise InvalidConfig(problem, remedy=f"it shall be a {kind} namespace to join") from error
    try:
        syscalls.setns(namespace, flag)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise InvalidConfig(f"linux.namespaces: {path} is no {kind} namespace", remedy="see /proc/PID/ns") from error
    finally:
        os.close(namespace)


def _unshare_late(birth: Birth, proc: int) -> None:
    # A cgroup namespace takes its root from where we are *now*; at the clone we were not in our v1 cgroups yet.
    syscalls.unshare(birth.late & ~CLONE.NEWTIME)
    if CLONE.NEWTIME in birth.late:
        from labrt.linux import timens

        offsets = birth.config["linux"].get("timeOffsets") or {}
        wanted = {clock: (at.get("secs") or 0, at.get("nanosecs") or 0) for clock, at in offsets.items()}
        timens.enter_new(wanted, proc)


def _before_entering(birth: Birth, sock: socket.socket) -> None:
    """Do what is to be done when all mounts stand, and the host's root is still there: hooks."""
    if not birth.config.get("hooks"):
        return
    from labrt.runtime import hooks

    if hooks.wanted(birth.config, "prestart", "createRuntime"):
        wire.send(sock, {"mounted": True})
        if not wire.receive(sock)[0]:
            os._exit(1)  # one of them has failed: our parent says so
    _run_hooks(birth, "createContainer", "creating", birth.bundle)


def _run_hooks(birth: Birth, kind: str, status: str, cwd: str) -> None:
    if birth.config.get("hooks"):
        from labrt.runtime import hooks  # since before the root was entered, where there are hooks

        hooks.run(birth.config, kind, hooks.state(birth.config, birth.id, birth.bundle, status, os.getpid()), cwd=cwd)


def open_console(size: tuple[int, int] | None, *, console: bool = True) -> int:
    """Take a terminal of the container's own devpts as stdio, and as controlling terminal; return its master.

    The host's terminals stay on the host. With `console` it shows as /dev/console too, as the runtime-spec wants.
    """
    terminal = pty.open_in("/dev/pts")
    if size:
        pty.set_size(terminal.master, *size)
    if console:
        _show_as_console(terminal.peer)
    pty.make_controlling(terminal.peer)
    set_stdio(terminal.peer, terminal.peer, terminal.peer)
    os.close(terminal.peer)
    return terminal.master


def _show_as_console(terminal: int) -> None:
    """Bind a terminal on /dev/console: this one, and not what a path leads to by now (CVE-2025-52565)."""
    tree = syscalls.open_tree(terminal, "", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.EMPTY_PATH)
    try:
        Mount("/dev/console", "detached", str(tree)).attach("/")
    finally:
        os.close(tree)


def set_stdio(stdin: int, stdout: int, stderr: int) -> None:
    """Make three descriptors the standard ones; these survive execve, whatever they were before."""
    for fd, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
        os.dup2(fd, number, inheritable=True)


def births(config: dict[str, Any]) -> tuple[CLONE, CLONE, list[tuple[str, CLONE]]]:
    """Sort linux.namespaces of a config: those of the clone, those made late, and those to join."""
    flags, late, joined = CLONE(0), CLONE(0), []
    for entry in config["linux"].get("namespaces") or ():
        flag = namespaces.FLAG_OF_OCI_NAME[entry["type"]]
        if entry.get("path"):
            joined.append((entry["path"], flag))
        elif flag in (CLONE.NEWCGROUP, CLONE.NEWTIME):
            late |= flag
        else:
            flags |= flag
    # With a user namespace to join, that comes first: it gives the right to enter the others. See setns(2).
    return flags, late, sorted(joined, key=lambda pair: pair[1] != CLONE.NEWUSER)


def root_plan(
    config: dict[str, Any],
    root: str,
    root_mounts: list[Mount],
    config_mounts: list[Mount] | None = None,
    *,
    cgroup: cgroups.Cgroup | None = None,
    pivot: bool = True,
    place: str = "",
) -> rootfs.Plan:
    """Plan the root that a config asks for at `root`. `config_mounts` are its mounts; None: read them from it.

    `place` is where the root's mounts are attached, if that has another name.

    `cgroup` is the container's: without a cgroup namespace of its own, it is all that the container shall see of them.
    """
    linux = config["linux"]
    if oci.namespaces_of(config).get("mount") != "":
        return rootfs.plan_without_mounts(root, linux.get("devices") or ())
    if config_mounts is None:
        config_mounts = [mounts.Mount.from_json(entry) for entry in config.get("mounts") or ()]
    return rootfs.plan(
        root,
        root_mounts=root_mounts,
        place=place or root,
        mounts=config_mounts,
        devices=linux.get("devices") or (),
        masked=linux.get("maskedPaths") or (),
        readonly=linux.get("readonlyPaths") or (),
        read_only_root=bool(config["root"].get("readonly")),
        propagation=linux.get("rootfsPropagation") or "rslave",
        label=linux.get("mountLabel") or "",
        cgroup_paths=cgroup.paths if cgroup else None,
        cgroup_bound="cgroup" not in oci.namespaces_of(config),
        pivot=pivot,
    )
