"""A child of a process with several threads: made by a go-between, which has one.

    child = go_between.clone(body, flags, opener)      process.spawn does, where it must

clone3 as a bare system call takes none of malloc's locks, so another thread may hold one in the very moment, and the
child would wait for it forever. glibc's fork takes them first. So we fork a go-between, which makes the child, sends
back its pid and descriptor, then stands in for it as the process that we can wait for, and ends as it ended. When we
die before the child does, it kills the child.

All is imported before the fork: in the child another root may be in the place of ours. See fork(2), clone(2).
"""

from __future__ import annotations

import array
import contextlib
import os
import pickle
import resource
import select
import signal
import socket
import sys
import warnings
from collections.abc import Callable

from labrt.linux import process, syscalls
from labrt.linux.process import Child, ChildFailed, Exit


def clone(body: Callable[[], object], flags: int, opener: int) -> Child:
    """Make a child as process.clone does. `opener` is the end of a pipe that only the caller is to keep open."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    maker = os.pidfd_open(os.getpid())
    with here, there:
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # From 3.12 on os.fork warns of threads; what the child may do among them is just what the docstring says.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                middle = os.fork()
                if middle == 0:
                    process.run_and_exit(lambda: _go_between(body, flags, there, opener, maker))
            finally:
                os.close(maker)
        reaper = Child(middle, os.pidfd_open(middle))
        there.close()
        answer, ancillary, _, _ = here.recvmsg(4096, socket.CMSG_SPACE(4))
    if not ancillary:
        reaper.wait()
        raise pickle.loads(answer) if answer else ChildFailed("the go-between died", reaper.exit or Exit(1))
    pidfd = array.array("i", ancillary[0][2])[0]
    return Child(int(answer), pidfd, reaper)


def _go_between(body: Callable[[], object], flags: int, there: socket.socket, opener: int, maker: int) -> int:
    os.setsid()  # a notebook's ■ signals the kernel's whole process group: the child decides for itself
    try:
        child = process.clone(body, flags)
        os.close(opener)  # or the child would wait for us when the caller dies
    except OSError as error:
        there.send(pickle.dumps(OSError(error.errno, str(error))))
        return 1
    there.sendmsg([str(child.pid).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [child.pidfd]))])
    # Whatever else is open here is a copy: a pipe or socket that the caller and the child have closed would seem open.
    ends = os.dup(child.pidfd), os.dup(maker)
    os.dup2(ends[0], 0)
    os.dup2(ends[1], 1)
    child.pidfd = 0
    syscalls.close_range(2, (1 << 32) - 1)
    _outlive(maker=1, child=0)
    exit = child.wait() or Exit(1)
    if exit.signal:  # end just as it ended
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            signal.signal(exit.signal, signal.SIG_DFL)
        os.kill(os.getpid(), exit.signal)
    return exit.code


def _outlive(*, maker: int, child: int) -> None:
    """Wait for the child; when its maker dies first, kill it, so that kill -9 of a notebook's Python leaves nobody.

    PR_SET_PDEATHSIG is no help: that looks at the thread that made us, and a notebook's widgets have threads that end.
    """
    poll = select.poll()
    poll.register(maker, select.POLLIN)
    poll.register(child, select.POLLIN)
    if maker in dict(poll.poll()):
        with contextlib.suppress(OSError):
            syscalls.pidfd_send_signal(child, signal.SIGKILL)
