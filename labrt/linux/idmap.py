"""Idmapped mounts: one tree of files, with other owners where it is mounted. Nothing on the disk changes.

    fd = idmap.open(Mount("/data", "bind", "/srv/data", ("rbind",)), uids=[IdMap(0, 100000, 65536)], gids=[…])

is a copy of the mount in which what belongs to 0 on the disk belongs to 100000, who in a container with that map is
root again. The kernel takes the map from a user namespace, so one is made for that, and nobody lives in it.

The mount must be made by one who has CAP_SYS_ADMIN where its file system was mounted, mostly root on the host, and so
before a container's init is in a user namespace. From Linux 5.12 on, as far as the file system can; since 6.3 tmpfs,
too. See mount_setattr(2), "ID-mapped mounts"; user_namespaces(7); notebook 07.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence

from labrt.errors import kernel_error
from labrt.linux import mount_options, syscalls, userns
from labrt.linux.flags import AT, CLONE, MOUNT_ATTR
from labrt.linux.mounts import Mount, open_bind
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
