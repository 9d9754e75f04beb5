"""A file system described option by option, and mounted nowhere yet: the mount API of Linux 5.2.

    fd = fscontext.create("ext4", "/dev/dm-3", ["discard"])      a detached mount, seen by nobody
    mounts.attach_detached(fd, target)                           now it is at `target`, an open directory

mount(2) takes all options as one string of at most a page, and a path to put the result at. Here each option is a call
of its own, layers of an overlay too, and the result is a descriptor: it can be used through /proc/self/fd/N, handed to
another process, or attached in another mount namespace. When the last descriptor is closed before, it is gone.

See fsopen(2), fsconfig(2), fsmount(2), move_mount(2). Notebook 11.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Sequence

from labrt.errors import KernelError, NotSupported, kernel_error
from labrt.linux import syscalls

FSCONFIG_SET_FD = 5
_MOST = 255  # bytes of a string that fsconfig(2) takes


def create(fstype: str, source: str | None, options: Iterable[str], attributes: int = 0) -> int:
    """Make a detached mount of a file system; the caller closes the descriptor.

    `options` are `key` or `key=value`, as in fstab, and `lowerdir+=PATH` as often as there are layers. `attributes` are
    MOUNT_ATTR flags of the mount. Raises KernelError, with what the file system said about it as remedy.
    """
    context = syscalls.fsopen(fstype)
    try:
        if source is not None:
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "source", source)
        for option in options:
            _set(context, *option.partition("=")[::2])
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(context, attr=attributes)
    except KernelError as error:
        told = _messages(context)
        if told and error.errno:
            raise kernel_error(error.call, error.errno, remedy=f"the kernel says: {told}") from error
        raise
    finally:
        os.close(context)


def _set(context: int, key: str, value: str) -> None:
    if not value:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, key)
    elif len(os.fsencode(value)) <= _MOST:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, key, value)
    else:  # too long for a name, so by the thing itself (for overlay from Linux 6.13 on)
        fd = os.open(value, os.O_PATH | os.O_CLOEXEC)
        try:
            syscalls.fsconfig(context, FSCONFIG_SET_FD, key, None, fd)
        finally:
            os.close(fd)


def _messages(context: int) -> str:
    """Read what the file system wrote about its options: `e overlay: …`, one message per read(2)."""
    told = []
    with contextlib.suppress(OSError):
        while line := os.read(context, 4096):
            told.append(line.decode(errors="replace").strip().removeprefix("e "))
    return "; ".join(told)


def overlay(source: str, options: Sequence[str], attributes: int = 0) -> int | None:
    """Make a detached overlay, each layer by a call of its own: up to 500 of them, and any character in their paths.

    None where the kernel only takes all layers in one string (before Linux 6.7). The options are mount(2)'s.
    """
    single: list[str] = []
    for option in options:
        key, _, value = option.partition("=")
        single += [f"lowerdir+={path}" for path in value.split(":")] if key == "lowerdir" else [option]
    if not takes_single_layers():
        return None
    try:
        return create("overlay", source, single, attributes)
    except KernelError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None  # a seccomp filter around us knows mount(2) only
        raise


_single_layers: bool | None = None


def takes_single_layers() -> bool:
    """Ask the kernel: fsconfig looks a layer up at once, and knows or does not know the word.

    Before Linux 6.5 overlay had no parser of its own for fsconfig, which then takes any word and refuses it only when
    the mount is created: so a word that nobody knows must be refused, too.
    """
    global _single_layers
    if _single_layers is None:
        try:
            context = syscalls.fsopen("overlay")
        except (KernelError, NotSupported):
            return False  # asked again next time: the module may be loaded by then
        try:
            _single_layers = _takes(context, "lowerdir+") and not _takes(context, "labrt-asks")
        finally:
            os.close(context)
    return _single_layers


def _takes(context: int, word: str) -> bool:
    try:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, word, "/")
    except KernelError:
        return False
    return True


def known(fstype: str) -> bool:
    """Whether the kernel has this file system; its module is loaded if there is one. False too when we may not ask."""
    try:
        os.close(syscalls.fsopen(fstype))
    except (KernelError, NotSupported):
        return False
    return True
