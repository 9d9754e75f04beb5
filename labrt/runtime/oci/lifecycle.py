"""The runtime-spec's operations: create, start, kill, delete; and pause, resume, update.

    create(root, id, bundle, Terms(pid_file="/run/x.pid"))     built, its init waits for *start*, and we may end
    start(root, id); kill(root, id, signal.SIGTERM); delete(root, id)

Each may be called by another process than the one before. See runtime.md of the OCI runtime-spec, "Operations".
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from labrt.errors import Conflict, ContainerError, ContainerNotFound, HookFailed, InvalidInput, LabrtError
from labrt.linux import process, procfs, syscalls
from labrt.runtime import wire
from labrt.runtime.oci import record as records
from labrt.runtime.oci.record import CREATED, CREATING, PAUSED, RUNNING, STOPPED, Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from labrt.linux import cgroups
    from labrt.linux.process import Child
    from labrt.runtime.creation import Creation


class Terms(NamedTuple):
    """What the caller of `create` wants besides the bundle."""

    pid_file: str = ""  # gets init's pid, as a decimal number without a newline
    console_socket: str = ""  # gets the master of the container's terminal
    detached: bool = True  # nobody here keeps the terminal, so a console socket must
    preserve_fds: int = 0  # how many of our descriptors after 0, 1, 2 the program gets
    new_keyring: bool = True
    pivot: bool = True
    systemd_cgroup: bool = False
    rootless: bool = False  # go on without a cgroup where this user may make none


class Created(NamedTuple):
    """What `create` leaves to its caller: who is to end now lets all of it go."""

    record: Record
    init: Child
    master: int | None  # of the terminal, where no console socket took it
    warnings: list[str]


# Create ---------------------------------------------------------------------------------------------------------------


def create(root: str, id: str, bundle: str, terms: Terms) -> Created:
    """Create a container and leave its init waiting for *start*. Raises what went wrong; then nothing is left of it."""
    from labrt.runtime import config as oci

    bundle = os.path.abspath(bundle)
    config = oci.load(bundle)
    kept = preserved(terms, config.get("process") or {})
    check_terminal(bool((config.get("process") or {}).get("terminal")), terms.console_socket, terms.detached)
    directory = records.directory_of(root, id)
    os.makedirs(root, 0o700, exist_ok=True)
    with contextlib.ExitStack() as undo:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            raise Conflict(f"container with id {id!r} exists already", remedy="`labrt-oci delete` removes it") from None
        undo.callback(_forget, directory)
        records.replace(os.path.join(directory, "config.json"), json.dumps(config))
        created = _create(root, id, bundle, config, terms._replace(preserve_fds=kept), undo)
        undo.pop_all()
    return created


def _create(
    root: str, id: str, bundle: str, config: dict[str, Any], terms: Terms, undo: contextlib.ExitStack
) -> Created:
    from labrt.runtime.creation import Creation, root_of
    from labrt.runtime.oci import groups

    group = groups.Group(config, id, rootless=terms.rootless, systemd=terms.systemd_cgroup)
    made = Record(
        id=id,
        bundle=bundle,
        rootfs=root_of(config, bundle),
        boot=procfs.boot_id(),
        creator=(os.getpid(), process.start_time() or 0),
        cgroup=group.path,
        scope=group.scope,
        created=_now(),
        owner=_owner(),
        annotations=config.get("annotations") or {},
    )
    records.write(root, made)  # from here on `delete` knows what there may be, also if we are killed
    undo.push(group)
    group.__enter__()
    if group.path != made.cgroup:
        made = made._replace(cgroup=group.path, scope=group.scope)
        records.write(root, made)
    listener = undo.enter_context(_listen(records.directory_of(root, id)))
    creation = Creation(
        config,
        bundle,
        cgroup=group.cgroup,
        stdio=None if (config.get("process") or {}).get("terminal") else (0, 1, 2),
        listener=listener,
        kept=terms.preserve_fds,
        pivot=terms.pivot,
        id=id,
        new_keyring=terms.new_keyring,
    )
    undo.callback(_abandon, creation)
    creation.clone()
    group.go_home()
    creation.release()
    creation.hear_of_root()
    listener.close()  # init has its own, and that one's end says that the program runs
    master = creation.master
    if master is not None and terms.console_socket:
        send_master(terms.console_socket, master)
        os.close(master)
        master = None
    pid = creation.init.pid
    made = made._replace(pid=pid, starttime=process.start_time(pid) or 0)
    records.write(root, made)
    if terms.pid_file:
        write_pid_file(terms.pid_file, pid)
        undo.callback(os.unlink, terms.pid_file)
    creation.let_wait()
    return Created(made, creation.init, master, creation.warnings)


def _abandon(creation: Creation) -> None:
    creation.abandon()
    if creation.failed_hook:
        creation.run_hooks("poststop", STOPPED)


def preserved(terms: Terms, process: dict[str, Any]) -> int:
    """Return how many descriptors after 0, 1, 2 are handed on; systemd's sockets are, as sd_listen_fds(3) finds them.

    Refuses those that are not open: something of ours would get their numbers.
    """
    sockets = os.environ.get("LISTEN_FDS", "")
    number = terms.preserve_fds
    if sockets.isdecimal():
        process["env"] = [*(process.get("env") or ()), f"LISTEN_FDS={sockets}", "LISTEN_PID=1"]
        number += int(sockets)
    for fd in range(3, 3 + number):
        try:
            ours = not os.get_inheritable(fd)  # what we were given is, what we have opened is not
        except OSError:
            ours = True
        if ours:
            raise InvalidInput(f"--preserve-fds: descriptor {fd} is not open")
    return number


def check_terminal(terminal: bool, console_socket: str, detached: bool) -> None:
    """Refuse a terminal that nobody would hold, and a socket that nothing would be sent to."""
    if terminal and detached and not console_socket:
        remedy = "give --console-socket, or process.terminal: false"
        raise InvalidInput("a terminal is wanted, and nobody is there to hold it", remedy=remedy)
    if console_socket and not (terminal and detached):
        remedy = "take --console-socket away"
        raise InvalidInput("there is a console socket, but no terminal to send to it", remedy=remedy)


def _listen(directory: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with wire.short_path(os.path.join(directory, "start.sock")) as path:
        listener.bind(path)
    listener.listen(16)
    return listener


def send_master(console_socket: str, master: int) -> None:
    """Hand a terminal to whoever listens on the console socket, with its name as runc sends it."""
    from labrt.linux import pty

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            with wire.short_path(os.path.abspath(console_socket)) as path:
                sock.connect(path)
        except OSError as error:
            raise ContainerError(f"--console-socket {console_socket}: {error.strerror}") from error
        pty.send_fd(sock, master, "/dev/ptmx")


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid, in one step: who waits for the file never reads half a number."""
    records.replace(os.path.abspath(path), str(pid), 0o644)


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09}Z"


def _owner() -> str:
    uid = os.geteuid()
    if uid == 0:
        return "root"  # without pwd, and so without the host's name services
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _forget(directory: str) -> None:
    """Remove a record."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)


# Start, kill, delete --------------------------------------------------------------------------------------------------


def start(root: str, id: str) -> None:
    """Let the program begin, and return when it runs. Raises CommandNotFound and the like when it cannot."""
    record = records.read(root, id)
    caller = records.knock(root, id) if record.pid else None
    if caller is None:
        now = records.status(root, record)
        raise Conflict(f"cannot start a container that is {now}", remedy="only a created one can be started, and once")
    with caller:
        with contextlib.suppress(BrokenPipeError):
            wire.send(caller, {"start": True})
        if wire.receive(caller)[0] is None:  # somebody else was faster, or it ended
            raise Conflict(f"cannot start a container that is {records.status(root, record)}")
        _await_program(root, record, caller)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(records.directory_of(root, id), "start.sock"))
    try:
        run_hooks(root, record, "poststart", RUNNING)
    except LabrtError:
        delete(root, id, force=True)
        raise


def _await_program(root: str, record: Record, caller: socket.socket) -> None:
    """Wait until init is the program: then its end of the socket is closed, without a word."""
    from labrt.runtime import listener

    def state() -> dict[str, Any]:
        return hook_state(root, record, CREATED)

    try:
        config = records.config(root, record.id)
        answer = listener.verdict(caller, config["linux"].get("seccomp"), state)
    except LabrtError:  # nobody answers its system calls
        kill(root, record.id, signal.SIGKILL)
        raise
    if answer and "error" in answer:
        error = wire.error_from_json(answer["error"])
        if isinstance(error, HookFailed):
            delete(root, record.id, force=True)
        raise error


def hook_state(root: str, record: Record, status: str) -> dict[str, Any]:
    """Return the state as hooks and seccomp agents get it."""
    from labrt.runtime import hooks

    config = records.config(root, record.id)
    return hooks.state(config, record.id, record.bundle, status, 0 if status == STOPPED else record.pid)


def run_hooks(root: str, record: Record, kind: str, status: str) -> None:
    """Run a container's hooks of one kind. Raises HookFailed for the first that fails."""
    config = records.config(root, record.id)
    if (config.get("hooks") or {}).get(kind):
        from labrt.runtime import hooks

        hooks.run(config, kind, hook_state(root, record, status), cwd=record.bundle)


def kill(root: str, id: str, sig: int, *, all: bool = False) -> None:
    """Signal a container's init, or with `all` every process in its cgroup. Conflict if there is none any more."""
    record = records.read(root, id)
    if all and record.cgroup:
        from labrt.linux.cgroups import tree

        cgroup = cgroup_of(record)
        if cgroup:
            tree.signal_all(next(reversed(cgroup.paths.values())), sig)
        if sig == signal.SIGKILL and cgroup and records.status(root, record) == PAUSED:
            cgroup.thaw()
        return
    pidfd = records.open_init(record)
    if pidfd is None:
        raise Conflict(f"container not running: {id} is {records.status(root, record)}")
    try:
        with contextlib.suppress(ProcessLookupError):
            syscalls.pidfd_send_signal(pidfd, sig)
    finally:
        os.close(pidfd)
    if sig == signal.SIGKILL and records.status(root, record) == PAUSED:
        cgroup = cgroup_of(record)
        if cgroup:
            cgroup.thaw()  # a process that v1 has frozen does not even die


def delete(root: str, id: str, *, force: bool = False) -> list[str]:
    """Take down what `create` made. Only a stopped container can be deleted; with `force` it is killed first.

    Returns what went wrong in hooks: that stops nothing any more.
    """
    try:
        record = records.read(root, id)
    except ContainerNotFound:
        if force:
            return []
        raise
    now = records.status(root, record)
    if now != STOPPED and not force:
        raise Conflict(f"cannot delete container {id}: it is {now}, not stopped", remedy="kill it first, or --force")
    pidfd = records.open_init(record)
    if pidfd is not None:
        _end(record, pidfd)
    cgroup = cgroup_of(record)
    if cgroup:
        from labrt.runtime.oci import groups

        groups.remove(cgroup, record.scope)
    config, state = {}, {}
    with contextlib.suppress(ContainerNotFound):  # its `create` was killed before it had read it
        config = records.config(root, id)
    if config.get("hooks"):
        state = hook_state(root, record, STOPPED)
    _forget(records.directory_of(root, id))
    if not config.get("hooks"):
        return []
    from labrt.runtime import hooks

    return hooks.run_all(config, "poststop", state, cwd=record.bundle)


def _end(record: Record, pidfd: int) -> None:
    """Kill a container's init and wait until it has ended. Whoever is its parent reaps it."""
    try:
        with contextlib.suppress(ProcessLookupError):
            syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
        cgroup = cgroup_of(record)
        if cgroup:
            cgroup.kill()
        if not process.wait_for(pidfd, 10):
            remedy = "it hangs in the kernel: see /proc/PID/stack"
            raise Conflict(f"container {record.id} does not end", remedy=remedy)
    finally:
        os.close(pidfd)


def cgroup_of(record: Record) -> cgroups.Cgroup | None:
    """Open a container's cgroup; None when it has none (any more)."""
    from labrt.errors import NotFound
    from labrt.linux import cgroups

    if not record.cgroup:
        return None
    try:
        return cgroups.load(record.cgroup, parent="/", every_tree=True)
    except NotFound:
        return None


# Pause, resume, update ------------------------------------------------------------------------------------------------


def pause(root: str, id: str) -> None:
    """Freeze all processes of a container. Returns when they stand still."""
    record = records.read(root, id)
    now = records.status(root, record)
    if now not in (RUNNING, CREATED):
        raise Conflict(f"cannot pause container {id}: it is {now}")
    _group(record).freeze()


def resume(root: str, id: str) -> None:
    """Let them go on."""
    record = records.read(root, id)
    now = records.status(root, record)
    if now != PAUSED:
        raise Conflict(f"cannot resume container {id}: it is {now}, not paused")
    _group(record).thaw()


def update(root: str, id: str, resources: Mapping[str, Any]) -> None:
    """Change the limits of a container that lives. `resources` as linux.resources; 0 and "" leave a thing as it is."""
    record = records.read(root, id)
    now = records.status(root, record)
    if now in (STOPPED, CREATING):
        raise Conflict(f"cannot update container {id}: it is {now}")
    from labrt.runtime import config as oci

    wanted = said(resources)
    _group(record).apply(oci.resources({"linux": {"resources": wanted}}))
    config = records.config(root, id)
    known = config.setdefault("linux", {}).setdefault("resources", {})
    for section, values in wanted.items():
        known[section] = {**known.get(section, {}), **values} if isinstance(values, dict) else values
    path = os.path.join(records.directory_of(root, id), "config.json")
    records.replace(path, json.dumps(config))


def said(value: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what says nothing: docker and containerd send each field, and 0 where no change is meant."""
    found = {}
    for name, item in value.items():
        item = said(item) if isinstance(item, Mapping) else item
        if item not in (None, 0, "", {}, []) or item is False:
            found[name] = item
    return found


def _group(record: Record) -> cgroups.Cgroup:
    cgroup = cgroup_of(record)
    if cgroup is None:
        raise Conflict(f"container {record.id} has no cgroup", remedy="it was created without: rootless")
    return cgroup
