"""Joining another container's namespaces: `--ipc container:X`, `--pid container:X`.

A config.json names a namespace by path, /proc/PID/ns/ipc, and that is good as long as that process lives: X may be
started again between two starts of who joins it. So config.json says by an annotation whose namespace is meant,

    "org.labrt.join.ipc": "<X's id>"

and `resolve` turns that into a path just before each start. The path is a descriptor of the monitor's, opened while X
is known to live: X's pid cannot meanwhile become somebody else's.

To share POSIX shared memory means to share a /dev/shm. X's is a mount in X's own mount namespace, where nobody outside
can bind it; so a child goes there, makes a copy that is attached nowhere, and hands over its descriptor.

See setns(2), namespaces(7), open_tree(2).
"""

from __future__ import annotations

import contextlib
import os
import socket

from labrt.errors import Conflict, ContainerNotFound
from labrt.linux import mounts, namespaces, process, rootfs, syscalls
from labrt.linux.flags import AT, CLONE, MOUNT_ATTR, OPEN_TREE
from labrt.linux.mounts import Mount
from labrt.runtime import state as states
from labrt.runtime import wire

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

JOIN = "org.labrt.join."  # annotation, and the runtime-spec's name of the namespace after it
SHM = "/dev/shm"  # noqa: S108 - the container's


def resolve(config: dict[str, Any], containers: str, keep: contextlib.ExitStack) -> dict[str, Any]:
    """Return the config with paths in place of the annotations; `keep` closes the descriptors behind these.

    `containers` is the directory that has each container's own. Raises Conflict when a container that is to be joined
    does not run.
    """
    wanted = joined(config)
    if not wanted:
        return config
    linux = dict(config["linux"])
    resolved = {**config, "linux": linux}
    kept = [entry for entry in linux.get("namespaces") or () if entry["type"] not in wanted]
    for kind, id in wanted.items():
        fd = _open(containers, id, kind)
        keep.callback(os.close, fd)
        kept.append({"type": kind, "path": f"/proc/self/fd/{fd}"})
    linux["namespaces"] = kept
    if "ipc" in wanted:
        shm = _their_shm(containers, wanted["ipc"])
        keep.callback(os.close, shm)
        resolved["mounts"] = [
            Mount(SHM, "detached", str(shm)).to_json() if mount["destination"] == SHM else mount
            for mount in config.get("mounts") or ()
        ]
    return resolved


def joined(config: dict[str, Any]) -> dict[str, str]:
    """Return {kind of namespace: id of the container whose it is}."""
    annotations = config.get("annotations") or {}
    return {key.removeprefix(JOIN): id for key, id in annotations.items() if key.startswith(JOIN)}


def _open(containers: str, id: str, kind: str) -> int:
    """Open a namespace of a container. While the pidfd says that its PID 1 lives, /proc/PID is about no other."""
    pid, pidfd = _running(containers, id)
    try:
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            fd = os.open(f"/proc/{pid}/ns/{namespaces.KIND_OF_OCI_NAME[kind]}", os.O_RDONLY | os.O_CLOEXEC)
            if not process.wait_for(pidfd, 0):
                return fd
            os.close(fd)
    finally:
        os.close(pidfd)
    raise _ended(id)


def _running(containers: str, id: str) -> tuple[int, int]:
    """Return the PID 1 of a container, and a pidfd of it. Raises Conflict when the container does not run."""
    try:
        state = states.read(os.path.join(containers, id, "state.json"))
    except ContainerNotFound:
        state = None
    runs = state is not None and state.alive and state.status not in (states.CREATING, states.CREATED)
    pidfd = process.open_pidfd(state.pid, state.starttime) if state and runs else None
    if state is None or pidfd is None:
        raise _ended(id)
    return state.pid, pidfd


def _ended(id: str) -> Conflict:
    return Conflict(
        f"container {id[:12]}, whose namespace is to be joined, is not running",
        remedy=f"`labrt start {id[:12]}` starts it; if it was removed, make this one anew",
    )


def _their_shm(containers: str, id: str) -> int:
    """Return the descriptor of a copy, attached nowhere, of the mount that a container has on /dev/shm."""
    ours, theirs = wire.pair()
    mount_namespace = _open(containers, id, "mount")
    try:
        with process.spawn(lambda: _fetch_shm(mount_namespace, theirs)):
            theirs.close()
            answer, fds = wire.receive(ours)
    finally:
        os.close(mount_namespace)
        ours.close()
    if answer is None or "error" in answer:
        raise wire.error_from_json(answer["error"]) if answer else _ended(id)
    return fds[0]


def _fetch_shm(mount_namespace: int, back: socket.socket) -> None:
    """In a child: go where their mounts are, and send a copy of one. Their links are not followed out of their root.

    What they have there may be hostile: nothing is imported from it, and nothing in it gets anybody rights.
    """
    try:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        rootfs.seal_imports()
        syscalls.setns(mount_namespace, CLONE.NEWNS)
        found = mounts.open_in_root("/", SHM)
        tree = syscalls.open_tree(found, "", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.EMPTY_PATH)
        safe = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC
        syscalls.mount_setattr(tree, "", AT.EMPTY_PATH, attr_set=safe)
        wire.send(back, {}, [tree])
    except BaseException as error:
        wire.send(back, {"error": wire.error_to_json(error)})
