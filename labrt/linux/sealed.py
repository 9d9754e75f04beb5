"""The interpreter, out of a container's reach: what runs inside a container must not be a file that it could write to.

Init runs this very program inside the container, where an image may name /proc/self/exe as what to execute, and so get
hold of the file. On a writable mount root in the container could then overwrite it, and have the host run it next:
CVE-2019-5736, the way out of runc in 2019. So Python is executed from a copy of its mount, attached nowhere and
read-only, whatever the file system is; nobody in the container can change that.

See open_tree(2), mount_setattr(2), posix_spawn(3); notebook 18. On the way of every cold start: it imports little.
"""

from __future__ import annotations

import os
import sys

from labrt.linux import syscalls

files: tuple[int, int] | None = None  # RLIMIT_NOFILE of what is started, soft and hard; None: as ours
AT_EMPTY_PATH, OPEN_TREE_CLONE, MOUNT_ATTR_RDONLY = 0x1000, 1, 1  # flags.py has them all, and takes its time


def spawn(code: str, env: dict[str, str], fds: list[int], quiet: list[int]) -> int:
    """Start a fresh interpreter that runs `code`, in a session of its own, and return its pid.

    It inherits the descriptors `fds`, under their numbers; those of `quiet` become /dev/null. It is isolated (-I): no
    variable, no working directory decides what it imports; and it searches no site-packages (-S), `code` sets its path.
    Safe among threads.
    """
    argv = [sys.executable, "-I", "-S", "-c", code]
    # Ctrl-C at the terminal, or ■ in a notebook, is not meant for it: so a session of its own.
    actions: list[tuple[object, ...]] = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in quiet]
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds]  # onto itself: that takes close-on-exec away
    program = open_interpreter()
    try:
        path = sys.executable if program is None else f"/proc/self/fd/{program}"
        pid = os.posix_spawn(path, argv, env, file_actions=actions, setsid=True)
    finally:
        if program is not None:
            os.close(program)
    limit_files(pid)
    return pid


def limit_files(pid: int) -> None:
    """Give a process that we have started the limit that ours was, if we have raised it. See prlimit(2)."""
    if files is not None:
        import resource

        resource.prlimit(pid, resource.RLIMIT_NOFILE, files)


def open_interpreter() -> int | None:
    """Open this interpreter through a read-only mount of its own; None when one is not root.

    It is not root in the container either then, and cannot write to the file.
    """
    try:
        tree = syscalls.open_tree(
            syscalls.AT_FDCWD, os.path.realpath(sys.executable), OPEN_TREE_CLONE | os.O_CLOEXEC
        )
    except OSError:
        return None
    try:
        syscalls.mount_setattr(tree, "", AT_EMPTY_PATH, attr_set=MOUNT_ATTR_RDONLY)
    except BaseException:
        os.close(tree)
        raise
    return tree
