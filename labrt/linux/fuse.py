"""FUSE: a file system that is a program.

    fd = fuse.open_served("fuse.aufs", "none", ["x-labrt.serve=[…command…]"])    a mount that it serves

Whoever opens /dev/fuse and mounts with that descriptor gets all questions that the kernel has about the file system,
and writes the answers back. Here the mounting is ours and the answering is the command's: it is started with the
descriptor, whose number takes the place of the word {fd} in it. It ends by itself when the kernel takes the file system
down, with the last mount of it in any mount namespace. Is it killed before, everybody there gets ENOTCONN.

See the kernel's filesystems/fuse.rst, fuse(4), mount.fuse3(8). Notebook 11.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence

from labrt.errors import InvalidInput, NotSupported, kernel_error
from labrt.linux import fscontext, mount_options

SERVE = "x-labrt.serve="


def serve_option(command: Sequence[str]) -> str:
    """Return the mount option that names the program; one of its words is "{fd}"."""
    return SERVE + json.dumps([*command])


def open_device() -> int:
    """Open /dev/fuse. NotSupported when there is none or we may not."""
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        remedy = "sudo modprobe fuse, or give this container the device"
        raise NotSupported(f"/dev/fuse: {why}", remedy=remedy) from error


def open_served(fstype: str, source: str, options: Sequence[str]) -> int:
    """Make a detached mount that a new program serves, and return its descriptor. The program is nobody's child.

    `fstype` is "fuse." and what mountinfo shall call it. Of `options`, ro nosuid nodev noexec are the mount's.
    """
    commands = [option.removeprefix(SERVE) for option in options if option.startswith(SERVE)]
    if len(commands) != 1:
        raise InvalidInput(f"a mount of type {fstype} wants one option {SERVE}[…]")
    device = open_device()
    try:
        # default_permissions: the kernel judges by owner and mode. allow_other: not only for who mounts it.
        data = [f"fd={device}", f"rootmode={stat.S_IFDIR:o}", f"user_id={os.geteuid()}", f"group_id={os.getegid()}"]
        data += ["default_permissions", "allow_other", f"subtype={fstype.removeprefix('fuse.')}"]
        mount = fscontext.create("fuse", source, data, mount_options.parse(options).attr_set)
        try:
            _start(json.loads(commands[0]), device)
        except BaseException:
            os.close(mount)
            raise
        return mount
    finally:
        os.close(device)


def _start(command: list[str], device: int) -> None:
    """Start a program that outlives us, by way of a child that ends at once: so nobody has to wait for it.

    Single-threaded or not, what runs between fork and exec are system calls only.
    """
    words = [word.replace("{fd}", str(device)) for word in command]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            "/bin/sh",
            # The device keeps its number: a descriptor that is duplicated onto itself loses close-on-exec.
            ["sh", "-c", 'cd / && "$@" &', "sh", *words],
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, device, device),
            ],
            setsid=True,
        )  # fmt: skip
    except OSError as error:
        raise kernel_error(f"posix_spawn({words[0]!r})", error.errno or 0) from error
    finally:
        os.close(null)
    os.waitpid(pid, 0)
