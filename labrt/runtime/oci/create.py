"""The runtime-spec's create: a container is built, and its init left waiting for *start*.

    create(root, id, bundle, Terms(pid_file="/run/x.pid"))     then we may end

Whatever fails, nothing is left of it. See runtime.md of the OCI runtime-spec, "Create"; creation.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time

from labrt import shapes
from labrt.errors import Conflict, ContainerError, InvalidInput
from labrt.linux import process, procfs
from labrt.runtime import wire
from labrt.runtime.oci import record as records
from labrt.runtime.oci.record import STOPPED, Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.linux.process import Child
    from labrt.runtime.creation import Creation


class Terms(shapes.Record):
    """What the caller of `create` wants besides the bundle."""

    pid_file: str = ""  # gets init's pid, as a decimal number without a newline
    console_socket: str = ""  # gets the master of the container's terminal
    detached: bool = True  # nobody here keeps the terminal, so a console socket must
    preserve_fds: int = 0  # how many of our descriptors after 0, 1, 2 the program gets
    new_keyring: bool = True
    pivot: bool = True
    systemd_cgroup: bool = False
    rootless: bool = False  # go on without a cgroup where this user may make none


class Created(shapes.Record):
    """What `create` leaves to its caller: who is to end now lets all of it go."""

    record: Record
    init: Child
    master: int | None  # of the terminal, where no console socket took it
    warnings: list[str]


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
        undo.callback(records.forget, directory)
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
    """Hand a terminal to whoever listens on the console socket, with a name, which only people look at."""
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
