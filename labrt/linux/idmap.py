"""Idmapped mounts: one tree of files, with other owners where it is mounted. Nothing on the disk changes.

    fd = idmap.open(Mount("/data", "bind", "/srv/data", ("rbind",)), uids=[IdMap(0, 100000, 65536)], gids=[…])

is a copy of the mount in which what belongs to 0 on the disk belongs to 100000, who in a container with that map is
root again. The kernel takes the map from a user namespace, so one is made for that, and nobody lives in it.

    fd = idmap.overlay(Mount("/", "overlay", "overlay", ("lowerdir=…", "upperdir=…", "workdir=…")), uids, gids)

is a container's root made so. An overlay itself cannot be idmapped, but what it lies on can, since Linux 5.19: all of
its layers, and the directory of upper and work. So on the disk a container's files have the owners they have without.

The mount must be made by one who has CAP_SYS_ADMIN where its file system was mounted, mostly root on the host, and so
before a container's init is in a user namespace. From Linux 5.12 on, as far as the file system can; since 6.3 tmpfs,
too. See mount_setattr(2), "ID-mapped mounts"; user_namespaces(7); notebook 07.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Sequence

from labrt.errors import kernel_error
from labrt.linux import mount_options, process, syscalls, userns
from labrt.linux.flags import AT, CLONE, MOUNT_ATTR, OPEN_TREE
from labrt.linux.mounts import Mount, attach_detached, open_bind
from labrt.linux.userns import IdMap


def open(mount: Mount, uids: Sequence[IdMap], gids: Sequence[IdMap], *, user_namespace: str = "") -> int:
    """Make a detached bind mount with these owners, and its other options; the caller closes the descriptor.

    `user_namespace` is the path of one to take the map from, in place of `uids` and `gids`. With the option `ridmap`
    the mounts below get it, too. Raises KernelError: EINVAL for a file system that cannot, or is idmapped already.
    """
    tree = open_bind(mount)
    try:
        _apply(mount, tree, mount_options.parse(mount.options), _namespace(uids, gids, user_namespace))
    except BaseException:
        os.close(tree)
        raise
    return tree


def overlay(mount: Mount, uids: Sequence[IdMap], gids: Sequence[IdMap]) -> int:
    """Make a detached overlay of idmapped layers; the caller closes the descriptor. Raises as `open` does.

    The layers must be attached somewhere while it is made (until Linux 6.15): in the mount namespace of a child.
    """
    ours, childs = socket.socketpair()
    namespace = _namespace(uids, gids, "")

    def child() -> None:
        tree = _overlay(mount, namespace, userns.to_host(uids, 0) or 0, userns.to_host(gids, 0) or 0)
        socket.send_fds(childs, [b"!"], [tree])

    try:
        process.run_in_child(child, namespaces="mnt")
        _, (tree,), _, _ = socket.recv_fds(ours, 1, 1)
    finally:
        os.close(namespace)
        ours.close()
        childs.close()
    os.set_inheritable(tree, False)
    return tree


def _overlay(mount: Mount, namespace: int, uid: int, gid: int) -> int:
    """Attach idmapped copies of all that it lies on to a tmpfs, and the overlay of these; return a copy of that.

    What overlayfs does by itself, such as to make its scratch directory, it does as whoever mounted it: and who has no
    name in the map makes no files there. So we are the container's root for that, and keep root's capabilities.
    """
    given = dict(option.partition("=")[::2] for option in mount.options)
    container = os.path.dirname(given["upperdir"])
    sources = [*given["lowerdir"].split(":"), container]
    copies = []
    for source in sources:
        copies.append(open_bind(Mount("/", "bind", source, ("bind",))))
        _apply(Mount("/", "bind", source), copies[-1], mount_options.parse(()), os.dup(namespace))
    Mount("/", "tmpfs", "tmpfs", ("mode=700",)).attach(container)  # over it, in this mount namespace only
    places = [os.path.join(container, str(number)) for number in range(len(copies))]
    for copy, place in zip(copies, places, strict=True):
        os.mkdir(place)
        target = os.open(place, os.O_PATH | os.O_CLOEXEC)
        attach_detached(copy, target)
        os.close(target)
    *lower, written = places
    given["lowerdir"] = ":".join(lower)
    for key in ("upperdir", "workdir"):
        given[key] = os.path.join(written, os.path.basename(given[key]))
    root = os.path.join(container, "root")
    os.mkdir(root)
    options = tuple(f"{key}={value}" if value else key for key, value in given.items())
    syscalls.prctl(syscalls.PR_SET_SECUREBITS, syscalls.SECBIT_NO_SETUID_FIXUP)
    os.setegid(gid)
    os.seteuid(uid)
    mount._replace(options=options).attach(root)
    return syscalls.open_tree(syscalls.AT_FDCWD, root, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC)


def _apply(mount: Mount, tree: int, options: mount_options.Options, namespace: int) -> None:
    how = AT.EMPTY_PATH | (AT.RECURSIVE if options.idmap == "ridmap" else 0)
    try:
        syscalls.mount_setattr(tree, "", how, attr_set=MOUNT_ATTR.IDMAP, userns_fd=namespace)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        remedy = "its file system cannot be idmapped on this kernel, or is so already; ext4, xfs and btrfs can"
        raise kernel_error(f"mount_setattr({mount.source!r}, MOUNT_ATTR_IDMAP)", errno.EINVAL, remedy=remedy) from error
    finally:
        os.close(namespace)


def _namespace(uids: Sequence[IdMap], gids: Sequence[IdMap], path: str) -> int:
    """Open a user namespace with these maps; it lives as long as it is open, or a mount has it."""
    if path:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    gate, opener = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = syscalls.clone3(CLONE.NEWUSER, exit_signal=signal.SIGCHLD)
    if pid == 0:
        os.close(opener)
        os.read(gate, 1)  # until the parent has what it wants, or is gone
        os._exit(0)
    try:
        userns.write_maps(pid, uids, gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for fd in (gate, opener, pidfd):
            os.close(fd)
        os.waitpid(pid, 0)
