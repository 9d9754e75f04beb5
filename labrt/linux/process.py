"""Processes: run a Python function in a child, in namespaces and a cgroup of its own, and learn how it ended.

    >>> process.run_in_child(os.getpid, namespaces="pid")
    1
    >>> with process.spawn(serve, namespaces="net,uts", cgroup=group) as child: …
    >>> child.wait()
    Exit(code=0)

A child made here ends in os._exit, whatever its function does: it never returns into the caller's code, and a Jupyter
kernel never gets a twin. A process with several threads (a Jupyter kernel has a dozen) first makes a plain child by
glibc's fork, which knows how to fork among threads, and only that one calls clone3: see go_between.py.

See clone(2), fork(2), wait(2), pidfd_open(2), signal(7); notebook 01.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Callable

from labrt.errors import LabrtError
from labrt.linux import namespaces as ns
from labrt.linux import syscalls
from labrt.linux.flags import CLONE
from labrt.shapes import Protocol, Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import TypeVar

    from labrt.linux.userns import IdMap

    T = TypeVar("T")
    Maps = tuple[list[IdMap], list[IdMap]]  # of uids, of gids


class JoinsCgroup(Protocol):
    """What `spawn` asks of a cgroup; labrt.linux.cgroups has them."""

    def add(self, pid: int) -> None:
        """Move a process in."""
        ...


class ChildFailed(LabrtError):
    """The child was killed, or ended without an answer. `exit` says how."""

    def __init__(self, message: str, exit: Exit) -> None:
        super().__init__(message)
        self.exit = exit


class Exit(Record):
    """How a process ended: with an exit `code` of 0 to 255, or by a `signal` (then `code` is 128 + it, as in sh)."""

    code: int
    signal: int = 0

    @classmethod
    def from_status(cls, status: int) -> Exit:
        """Decode a wait status, see wait(2)."""
        if os.WIFSIGNALED(status):
            return cls(128 + os.WTERMSIG(status), os.WTERMSIG(status))
        return cls(os.WEXITSTATUS(status))

    def __str__(self) -> str:
        return f"killed by {signal.Signals(self.signal).name}" if self.signal else f"exit code {self.code}"


class Child:
    """A child process. As a context manager it is killed and reaped at the end of the block.

    `pid` is its number in *this* PID namespace. `pidfd` stands for the process itself, so that no signal ever reaches
    somebody else who was given its number.
    """

    def __init__(self, pid: int, pidfd: int, reaper: Child | None = None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._reaper = reaper  # the go-between that is its parent, when we are not
        self.exit: Exit | None = None

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Wait until it ends and return how; None after `timeout` seconds. May be called again."""
        if self.exit is not None:
            return self.exit
        watched = self._reaper or self
        poll = select.poll()
        poll.register(watched.pidfd, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            return None
        _, status = os.waitpid(watched.pid, 0)
        self.exit = Exit.from_status(status)
        self.close()
        return self.exit

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send a signal; harmless when it has ended already."""
        if self.exit is None:
            with contextlib.suppress(ProcessLookupError):
                syscalls.pidfd_send_signal(self.pidfd, sig)

    def close(self) -> None:
        """Close the descriptors; the process goes on."""
        for child in (self, self._reaper):
            if child is not None and child.pidfd >= 0:
                os.close(child.pidfd)
                child.pidfd = -1

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()

    def __repr__(self) -> str:
        return f"Child(pid={self.pid}, {self.exit or 'running'})"


def threads() -> int:
    """Count this process's threads, those of C libraries included (threading.active_count does not see them)."""
    return len(os.listdir("/proc/self/task"))


def spawn(
    function: Callable[[], object],
    *,
    namespaces: str | int = 0,
    cgroup: JoinsCgroup | None = None,
    propagation: str | None = "rprivate",
    maps: Maps | None = None,
) -> Child:
    """Run `function` in a child made by one clone3(2), and return the child without waiting for it.

    `namespaces` are the new ones: "pid,mnt" or CLONE flags. In a new user namespace root stands for the caller, or
    `maps` say who is who (uids and gids, as of userns.rootless_maps). In a new mount namespace all mounts are first
    made `propagation` (None: left as is), or new ones would show on the host.
    The child is in `cgroup` before `function` begins. Its exit code is what `function` returns, if that is an int, else
    0; 1 after an exception, whose traceback goes to file descriptor 2.
    """
    flags = ns.flags_of(namespaces)
    gate, opener = os.pipe2(os.O_CLOEXEC)

    def body() -> object:
        os.close(opener)
        if not os.read(gate, 1):  # until the parent has written the id maps and the cgroup, or has given up
            return 1
        if CLONE.NEWNS in flags and propagation:
            from labrt.linux import mounts

            mounts.set_propagation("/", propagation)
        return function()

    try:
        if threads() == 1:
            child = clone(body, flags)
        else:
            from labrt.linux import go_between

            child = go_between.clone(body, flags, opener)
        try:
            if cgroup is not None:
                cgroup.add(child.pid)
            if CLONE.NEWUSER in flags:
                _write_maps(child.pid, maps)
            os.write(opener, b"1")
        except BaseException:
            child.kill()
            child.wait()
            raise
    finally:
        os.close(gate)
        os.close(opener)
    return child


def _write_maps(pid: int, maps: Maps | None) -> None:
    from labrt.linux import userns

    userns.write_maps(pid, *(maps or userns.single_maps()))


def clone(body: Callable[[], object], flags: int) -> Child:
    """Let `body` be the whole life of a child in new namespaces. For a process with a single thread: `spawn`."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid, pidfd = syscalls.clone3(flags, exit_signal=signal.SIGCHLD)
    if pid == 0:
        run_and_exit(body)
    return Child(pid, pidfd)


def run_and_exit(body: Callable[[], object]) -> None:
    """Run `body` as the rest of this process's life. Never returns, whatever happens."""
    import traceback  # now: `body` may go where what is called so is somebody else's

    code = 1
    try:
        _own_standard_streams()
        result = body()
        code = result if isinstance(result, int) and not isinstance(result, bool) else 0
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else int(request.code is not None)
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def _own_standard_streams() -> None:
    """Make print() write to descriptors 1 and 2. In a notebook sys.stdout talks to the kernel's threads, not ours."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        try:
            same = stream.fileno() == fd and type(stream).__module__ == "_io"
        except (OSError, ValueError, AttributeError):
            same = False
        if not same:
            setattr(sys, name, open(fd, "w", closefd=False, buffering=1, errors="replace"))  # noqa: SIM115


def run_in_child(
    function: Callable[[], T],
    *,
    namespaces: str | int = 0,
    cgroup: JoinsCgroup | None = None,
    propagation: str | None = "rprivate",
    maps: Maps | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> T:
    """Run `function` in a child as `spawn` does, and return what it returns, or raise what it raises.

    Result and exception come back pickled. ChildFailed when the child is killed, exits, or becomes another program.
    `meanwhile` is called here as soon as the child is there: to be at the other end of a pipe. Ctrl-C kills the child.
    """
    import pickle  # late for those who only spawn, and before the child is made: it may be elsewhere by then
    import traceback

    read, write = os.pipe2(os.O_CLOEXEC)

    def body() -> int:
        os.close(read)
        try:
            answer = (True, function())
        except Exception as error:
            error.add_note(f"in the child:\n{traceback.format_exc()}")
            answer = (False, error)  # type: ignore[assignment]
        with open(write, "wb") as pipe:
            pipe.write(_dump(answer))
        return 0

    try:
        child = spawn(body, namespaces=namespaces, cgroup=cgroup, propagation=propagation, maps=maps)
    except BaseException:
        os.close(read)
        os.close(write)
        raise
    os.close(write)
    with child, open(read, "rb") as pipe:
        if meanwhile is not None:
            meanwhile()
        raw = pipe.read()
        exit = child.wait()
    if not raw:
        raise ChildFailed(f"the child ended without an answer: {exit}", exit or Exit(1))
    succeeded, value = pickle.loads(raw)
    if succeeded:
        return value  # type: ignore[no-any-return]
    raise value


def _dump(answer: tuple[bool, object]) -> bytes:
    import pickle

    try:
        raw = pickle.dumps(answer)
        pickle.loads(raw)  # an exception may pickle, and then not unpickle
        return raw
    except Exception:
        succeeded, value = answer
        if succeeded:
            return pickle.dumps((False, LabrtError(f"the child's result cannot be sent back: {value!r}")))
        return pickle.dumps((False, LabrtError(f"{type(value).__name__}: {value}")))


def wait_for(pidfd: int, timeout: float | None = None) -> bool:
    """Wait until the process behind a pidfd, not only a child, has ended. False after `timeout` seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def open_pidfd(pid: int, starttime: int | None = None) -> int | None:
    """Open a pidfd, or return None when that process is gone, or its number has been given to another.

    `starttime` is field 22 of /proc/PID/stat when the pid was noted; see proc(5).
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return None
        raise
    if starttime is not None and start_time(pid) != starttime:
        os.close(pidfd)
        return None
    return pidfd


def pid_of(pidfd: int) -> int:
    """Return the number of a pidfd's process in the PID namespace of our /proc. See pidfd_open(2)."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        lines = dict(line.split(":", 1) for line in file.read().splitlines())
    return int(lines["Pid"])


def start_time(pid: int | str = "self") -> int | None:
    """Return when a process began, in clock ticks since boot; None when it is gone. A pid and this name it for good."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None
