"""The runtime-spec's other operations: start, kill, delete; and pause, resume, update.

    start(root, id); kill(root, id, signal.SIGTERM); delete(root, id)

Each may be called by another process than the one before, or than `create`. See runtime.md of the OCI runtime-spec,
"Operations".
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping

from labrt.errors import Conflict, ContainerNotFound, HookFailed, LabrtError
from labrt.linux import process, syscalls
from labrt.runtime import wire
from labrt.runtime.oci import record as records
from labrt.runtime.oci.record import CREATED, CREATING, PAUSED, RUNNING, STOPPED, Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.linux import cgroups


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
    else:
        _signal_init(root, record, sig)
    if sig == signal.SIGKILL and records.status(root, record) == PAUSED:
        cgroup = cgroup_of(record)
        if cgroup:
            cgroup.thaw()  # a process that v1 has frozen does not even die


def _signal_init(root: str, record: Record, sig: int) -> None:
    pidfd = records.open_init(record)
    if pidfd is None:
        raise Conflict(f"container not running: {record.id} is {records.status(root, record)}")
    try:
        with contextlib.suppress(ProcessLookupError):
            syscalls.pidfd_send_signal(pidfd, sig)
    finally:
        os.close(pidfd)


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
    cgroup = cgroup_of(record) if record.pid or _made_its_cgroup(record) else None
    if cgroup:
        from labrt.runtime.oci import groups

        groups.remove(cgroup, record.scope)
    if record.scope:  # systemd removes an empty scope by itself, and may have been faster
        from labrt.linux import ledger

        ledger.strike_all("cgroup", record.cgroup)
    config, state = {}, {}
    with contextlib.suppress(ContainerNotFound):  # its `create` was killed before it had read it
        config = records.config(root, id)
    if config.get("hooks"):
        state = hook_state(root, record, STOPPED)
    records.forget(records.directory_of(root, id))
    if not config.get("hooks"):
        return []
    from labrt.runtime import hooks

    return hooks.run_all(config, "poststop", state, cwd=record.bundle)


def _made_its_cgroup(record: Record) -> bool:
    """Whether a `create` that was killed came to making the cgroup that it named: it could be another container's."""
    from labrt.linux import ledger

    mine = ("cgroup", record.cgroup, record.creator[0])
    return any((entry.kind, entry.what, entry.made_by) == mine for entry in ledger.entries())


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
    from labrt.runtime.oci import groups

    wanted = said(resources)
    groups.set_limits(_group(record), record.scope, oci.resources({"linux": {"resources": wanted}}))
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
