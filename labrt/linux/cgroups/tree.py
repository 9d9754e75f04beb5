"""Directories and processes of cgroups, on any version: make, list, kill, remove.

A cgroup is a directory: mkdir makes it, rmdir removes it once no process and no child is in it. Moving a process into
one is writing its number to `cgroup.procs`. See cgroups(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator

from labrt.errors import Conflict, KernelError, NotFound, kernel_error
from labrt.linux.cgroups import files

WAIT = 10.0  # seconds that killed processes have to go: they may be writing out a core, or in a slow disk's queue


def make(directory: str, *, parents: bool = True) -> None:
    """Make one cgroup, and its parents if they are not there. Raises Conflict if it exists already.

    Without `parents`, FileNotFoundError says that they are missing.
    """
    try:
        os.mkdir(directory)
    except FileExistsError:
        raise Conflict(
            f"the cgroup {directory} exists already",
            remedy="take another name, re-open it with cgroups.load, or take it down with cgroups.remove_recorded",
        ) from None
    except FileNotFoundError:
        if not parents:
            raise
        make_parents(os.path.dirname(directory))
        make(directory)
    except OSError as error:
        remedy = "be root, or work in a cgroup that is delegated to you: see cgroups.detect()"
        raise kernel_error(f"mkdir({directory!r})", error.errno or 0, remedy=remedy) from None


def make_parents(directory: str) -> None:
    """Make a cgroup with all above it; what exists is left as it is."""
    with contextlib.suppress(Conflict):
        make(directory)


def below(directory: str) -> Iterator[str]:
    """Every cgroup in and below a directory, children before their parents. Nothing, if it is gone."""
    try:
        with os.scandir(directory) as entries:
            children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for child in children:
        yield from below(child)
    yield directory


def processes(directory: str) -> list[int]:
    """Return the pids in a cgroup and all below it, in rising order. 0 stands for those of a foreign PID namespace."""
    found: set[int] = set()
    for cgroup in below(directory):
        with contextlib.suppress(NotFound):
            found.update(map(int, files.read(f"{cgroup}/cgroup.procs").split()))
    return sorted(found)


def signal_all(directory: str, sig: int = signal.SIGKILL) -> int:
    """Signal every process in and below a cgroup; return how many there were.

    The numbers are held as pidfds and read a second time before the signal: a process that ended in between may have
    left its number to a stranger, who is not in this cgroup.
    """
    pids = processes(directory)
    with contextlib.ExitStack() as held:
        pidfds = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, OSError):
                pidfds[pid] = os.pidfd_open(pid)
                held.callback(os.close, pidfds[pid])
        for pid in pidfds.keys() & set(processes(directory)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfds[pid], sig)
    return len(pids)


def remove(directories: Iterable[str], kill: Callable[[], None], wait: float = WAIT) -> None:
    """Remove cgroups with all below them, killing what is left in them, for at most `wait` seconds.

    An ended container leaves them empty, and one rmdir each is all; only a refused one asks for `kill`. rmdir says
    EBUSY until the last process is through the kernel's exit path, some time *after* it was killed. v2 tells when that
    is; v1 tells nobody, so there this looks again and again. Raises Conflict, with the pids, if some stay.
    """
    deadline = time.monotonic() + wait
    for directory in directories:
        pause = 0.0005
        while not _rmdir(directory) and not all([_rmdir(child) for child in below(directory)]):
            if time.monotonic() > deadline:
                raise Conflict(
                    f"the cgroup {directory} still has processes: {processes(directory)}",
                    remedy="a process that ignores SIGKILL hangs in the kernel: see /proc/PID/stack",
                )
            kill()
            signal_all(directory)  # a process may be in this tree and not in the one that `kill` looks at
            empty = wait_event(directory, "populated 0", pause)
            time.sleep(0.0005 if empty else pause)
            pause = min(pause * 2, 0.05)


def prune(directories: Iterable[str]) -> None:
    """Remove those of the cgroups that nothing is in."""
    for directory in dict.fromkeys(directories):
        with contextlib.suppress(KernelError):
            _rmdir(directory)


def _rmdir(directory: str) -> bool:
    """Remove one cgroup. False if it is busy: it has processes or children."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):  # the second is how an ordinary directory says it
            raise kernel_error(f"rmdir({directory!r})", error.errno or 0) from None
        return False
    return True


def wait_event(directory: str, wanted: str, seconds: float) -> bool:
    """Wait until a line of v2's cgroup.events is `wanted`. False: not within `seconds`, or there is no such file."""
    try:
        fd = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)  # kernfs reports a changed file as an urgent event
        deadline = time.monotonic() + seconds
        while True:
            if wanted in os.pread(fd, 4096, 0).decode().splitlines():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
    except OSError as error:
        if error.errno == errno.ENODEV:  # removed meanwhile
            return False
        raise
    finally:
        os.close(fd)


DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")  # where the kernel does not say


def delegate(directory: str, uid: int, *, listed: str = "/sys/kernel/cgroup/delegate") -> None:
    """Give a v2 cgroup to a user: to make children and move processes between them, and not to change its limits."""
    try:
        with open(listed) as stream:
            names = stream.read().split()
    except OSError:
        names = list(DELEGATED)
    os.chown(directory, uid, -1)
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # of a controller that this one does not have
            os.chown(os.path.join(directory, name), uid, -1)
