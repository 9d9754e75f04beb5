"""What is kept of a container between two calls of `labrt-oci`, and what the kernel says to it.

    root/ID/state.json     this record; without a pid while `create` is under way, or when that was killed
    root/ID/config.json    the config as it was at `create`: later changes in the bundle change nothing
    root/ID/start.sock     where init waits for *start*

`root` is --root, by default /run/labrt/oci, which is gone after a reboot, as the containers are.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket

from labrt import paths, shapes
from labrt.errors import ContainerNotFound, InvalidInput, LabrtError
from labrt.image import files
from labrt.linux import process, procfs
from labrt.runtime import wire

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"
_OF_IDS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")


class Record(shapes.Record):
    """One container. `created` is a time as in RFC 3339; `owner` who made it."""

    id: str
    bundle: str
    rootfs: str
    version: str = "1.1.0"  # of the runtime-spec
    pid: int = 0  # of init; 0 while it is being created
    starttime: int = 0  # of that process, see process.start_time
    boot: str = ""
    creator: tuple[int, int] = (0, 0)  # pid and start time of the `create` that is making it
    cgroup: str = ""  # from the trees' mount points; "": none
    scope: str = ""  # systemd's unit that the cgroup belongs to; "": none
    created: str = ""
    owner: str = ""
    annotations: dict[str, str] = {}


def default_root() -> str:
    """Return where records are without --root."""
    return os.path.join(paths.default().run, "oci")


def directory_of(root: str, id: str) -> str:
    """Return a container's directory. Raises InvalidInput for an id that cannot be one."""
    if not 0 < len(id) <= 1024 or not _OF_IDS.issuperset(id) or id in (".", ".."):
        raise InvalidInput(f"{id!r} is no container's id", remedy="letters, digits and any of _ + . -")
    return os.path.join(root, id)


def write(root: str, record: Record) -> None:
    """Replace the record, in one step."""
    replace(os.path.join(directory_of(root, record.id), "state.json"), json.dumps(record._asdict()))


def replace(path: str, text: str, mode: int = 0o600) -> None:
    """Replace a file in one step: a reader sees the old one or the new one."""
    files.swap(path, text.encode(), mode=mode)


def read(root: str, id: str) -> Record:
    """Read a record. Raises ContainerNotFound if there is none."""
    directory = directory_of(root, id)
    try:
        with open(os.path.join(directory, "state.json")) as file:
            return Record(**json.load(file))
    except FileNotFoundError:
        if os.path.isdir(directory):  # its `create` is under way, or was killed
            return Record(id, "", "")
        raise ContainerNotFound(f"container {id!r} does not exist", remedy="`labrt-oci list` shows which do") from None


def config(root: str, id: str) -> dict[str, Any]:
    """Read the config as it was at `create`."""
    try:
        with open(os.path.join(directory_of(root, id), "config.json")) as file:
            found: dict[str, Any] = json.load(file)
            return found
    except FileNotFoundError:
        raise ContainerNotFound(f"container {id!r} does not exist") from None


def listing(root: str) -> list[Record]:
    """Read all records, sorted by id."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        if os.path.isdir(os.path.join(root, name)):
            with contextlib.suppress(ContainerNotFound):  # deleted meanwhile
                found.append(read(root, name))
    return found


def forget(directory: str) -> None:
    """Remove a record and all beside it."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)


def open_init(record: Record) -> int | None:
    """Open a pidfd of the container's init; None when it has ended, be it a zombie or gone. The caller closes it."""
    if not record.pid or record.boot != procfs.boot_id():
        return None
    pidfd = process.open_pidfd(record.pid, record.starttime)
    if pidfd is not None and process.wait_for(pidfd, 0):
        os.close(pidfd)
        return None
    return pidfd


def status(root: str, record: Record) -> str:
    """Ask the kernel what a container is: creating, created, running, paused or stopped."""
    if not record.pid:
        return CREATING if process_alive(*record.creator) else STOPPED
    pidfd = open_init(record)
    if pidfd is None:
        return STOPPED
    os.close(pidfd)
    if _frozen(record):
        return PAUSED
    caller = knock(root, record.id)
    if caller:
        caller.close()
        return CREATED
    return RUNNING


def process_alive(pid: int, starttime: int) -> bool:
    """Whether this very process is there, and no zombie."""
    pidfd = process.open_pidfd(pid, starttime) if pid else None
    if pidfd is None:
        return False
    try:
        return not process.wait_for(pidfd, 0)
    finally:
        os.close(pidfd)


def _frozen(record: Record) -> bool:
    if not record.cgroup:
        return False
    from labrt.linux import cgroups

    try:
        return cgroups.load(record.cgroup, parent="/", every_tree=True).frozen
    except (LabrtError, OSError, KeyError):  # no freezer here, or it has just gone
        return False


def knock(root: str, id: str) -> socket.socket | None:
    """Connect to an init that waits for *start*; None if none does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with wire.short_path(os.path.join(directory_of(root, id), "start.sock")) as path:
            sock.connect(path)
    except OSError as error:
        sock.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
            return None
        raise
    return sock


def to_json(root: str, record: Record) -> dict[str, Any]:
    """Return the state as the runtime-spec has it (runtime.md, "State"), and runc's additions to it."""
    now = status(root, record)
    found: dict[str, Any] = {
        "ociVersion": record.version,
        "id": record.id,
        "pid": 0 if now == STOPPED else record.pid,
        "status": now,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": record.owner,
    }
    return found | ({"annotations": record.annotations} if record.annotations else {})
