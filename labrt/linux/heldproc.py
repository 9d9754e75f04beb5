"""The kernel's own /proc, held by a descriptor, for what must not go astray: writing to it.

    proc = heldproc.hold()                                   while the host's /proc is still where it was
    heldproc.write(proc, "sys/net/ipv4/ip_forward", "1", "linux.sysctl.net.ipv4.ip_forward")

What a runtime writes there has the host's power: a sysctl, a security label. An image, or a mount namespace that is
joined, can have anything at the path /proc, and a mount on top of one of its files makes the write go to another one:
then a label is never set (CVE-2019-16884), or a container's sysctl lands in /proc/sysrq-trigger (CVE-2025-52881). So
the descriptor must be the root of a proc file system, and nothing below it may be a link of the kernel's or a mount.

See proc(5), openat2(2); notebook 18.
"""

from __future__ import annotations

import os

from labrt.errors import NotSupported, kernel_error
from labrt.linux import syscalls
from labrt.linux.flags import RESOLVE

PROC_SUPER_MAGIC, PROC_ROOT_INO = 0x9FA0, 1  # linux/magic.h, linux/proc_fs.h
_BELOW = int(RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS | RESOLVE.NO_XDEV)


def hold(path: str = "/proc") -> int:
    """Open it; the caller closes the descriptor. Raises NotSupported where it is another file system, or a part."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if syscalls.fstatfs_type(fd) == PROC_SUPER_MAGIC and os.fstat(fd).st_ino == PROC_ROOT_INO:
        return fd
    os.close(fd)
    raise NotSupported(f"{path} is not the kernel's proc file system", remedy=f"mount -t proc proc {path}")


def open_below(proc: int, name: str, flags: int) -> int:
    """Open a file of it, such as "self/attr/exec". Raises KernelError: EXDEV where something is mounted on the way."""
    return syscalls.openat2(proc, name, flags | os.O_CLOEXEC, resolve=_BELOW)


def write(proc: int, name: str, value: str, what: str) -> None:
    """Write a value to a file of it, in one call. Raises KernelError, which begins with `what` this is about."""
    try:
        fd = open_below(proc, name, os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise kernel_error(f"{what}: write('/proc/{name}', {value!r})", error.errno or 0) from error
