"""What labrt asks of the kernel, told while it happens: the far end of `labrt daemon --trace`.

    with tracing.channel(path) as fd: …     the reader's: a FIFO, one JSON object a line, in the order of telling
    tracing.join(path, "launcher")          a teller's: from now on its system calls are told, and its children's

Every process of the runtime is a teller: they inherit the FIFO by fork, and lose it at execve. Told is each call of
syscalls.py, after it came back, with its result or its error; and of what Python itself calls kill and execve, and
making, removing and writing to cgroups. Left out is what only looks (QUIET), what python-prctl and libseccomp ask,
what is said over netlink (interfaces, addresses), and what comes after init has closed all that is not the
container's. A line that finds the FIFO full is not waited for: the next one says how many are
lost. Who never calls `join` pays nothing: no function is replaced.

An event: {"kind": "call", "text": "sethostname('box')", "role": "init", "pid": 1, "request": 3, "result": …}. The
`pid` is what the process itself takes for its number. See fifo(7), sys.addaudithook; notebook 19.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FunctionType
from typing import Any

from labrt.linux import syscalls

VARIABLE = "LABRT_TRACE"  # in the environment of who is to join: the FIFO's path
QUIET = {"socketpair", "fstatfs_type", "openat2"}  # they change nothing, and there are many
PRCTL_READS = {2, 3, 7, 16, 21, 23, 27, 30, 37, 39}  # PR_GET_*, PR_CAPBSET_READ
WHOLE = 4096  # bytes that a pipe takes whole or not at all: PIPE_BUF, pipe(7)
ROOMY = 1 << 20  # bytes that wait for the reader; an unprivileged user's limit
OUT_OF_THE_WAY = 200  # the least number of our descriptor: low ones are handed to containers

_FLAGS = {
    "unshare": {0: "CLONE"}, "setns": {1: "CLONE"}, "clone3": {0: "CLONE"}, "mount": {3: "MS"}, "umount2": {1: "MNT"},
    "open_tree": {2: "OPEN_TREE"}, "move_mount": {4: "MOVE_MOUNT"},
}  # fmt: skip
_FSCONFIG = {0: "FSCONFIG_SET_FLAG", 1: "FSCONFIG_SET_STRING", 5: "FSCONFIG_SET_FD", 6: "FSCONFIG_CMD_CREATE"}
_TOLD_OF_PYTHON = {"os.mkdir": "mkdir", "os.rmdir": "rmdir", "os.kill": "kill", "os.exec": "execve"}

request: ContextVar[int] = ContextVar("request", default=0)  # whose work this is; 0: nobody's
role = ""
_fd = -1
_lost = 0
_lock = threading.Lock()


@contextlib.contextmanager
def channel(path: str) -> Iterator[int]:
    """Make the FIFO, and yield the end to be read from, which does not block. Who has the path may tell: 0600."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a daemon that was killed
    os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # a writer, too: it never ends while we are here
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, ROOMY)
        yield fd
    finally:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def join(path: str, name: str, *, python: bool = True) -> bool:
    """Tell from now on, as `name`. False where nobody reads. `python`: also what Python itself calls."""
    global _fd, role
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # ENXIO, ENOENT: the daemon is gone
        return False
    _fd, role = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY), name
    os.close(fd)
    for called, function in list(vars(syscalls).items()):
        own = isinstance(function, FunctionType) and function.__module__ == syscalls.__name__
        if own and not called.startswith("_") and called not in QUIET:
            setattr(syscalls, called, _told(called, function))
    if python:
        sys.addaudithook(_hear_python)
    return True


def tell(kind: str, text: str, **more: Any) -> None:
    """Tell one thing. It never waits and never fails."""
    global _fd, _lost
    if _fd < 0:
        return
    event = {"kind": kind, "text": text, "role": role, "pid": os.getpid(), "request": request.get(), **more}
    with _lock:
        if _lost:
            event["lost"] = _lost
        try:
            os.write(_fd, _line(event))
            _lost = 0
        except BlockingIOError:
            _lost += 1
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EBADF):
                _fd = -1


def _line(event: dict[str, Any]) -> bytes:
    line = json.dumps(event).encode() + b"\n"
    while len(line) > WHOLE:
        longest = max((name for name in event if isinstance(event[name], str)), key=lambda name: len(event[name]))
        event[longest] = event[longest][: len(event[longest]) * 2 // 3] + "…"
        line = json.dumps(event).encode() + b"\n"
    return line


# System calls ---------------------------------------------------------------------------------------------------------


def _told(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        global _fd, role
        if _fd < 0 or (name == "prctl" and args[0] in PRCTL_READS):
            return function(*args, **kwargs)
        if name == "close_range" and not any(args[2:]) and args[0] <= _fd <= args[1]:
            tell("call", _call(name, args, kwargs), last=True)
            _fd = -1  # the number may be another's soon
        if name == "seccomp":
            # A filter may kill who writes: so this one is told before, and nothing after.
            tell("call", "seccomp(SECCOMP_SET_MODE_FILTER, …)", last=True)
            _fd = -1
        try:
            result = function(*args, **kwargs)
        except OSError as error:
            tell("call", _call(name, args, kwargs), error=errno.errorcode.get(error.errno or 0, str(error.errno)))
            raise
        if name == "clone3" and result[0] == 0:
            role = {"monitor": "init", "joiner": "program"}.get(role, role)  # this is the child
        else:
            tell("call", _call(name, args, kwargs), **({} if result is None else {"result": _result(result)}))
        return result

    call.__doc__, call.__name__, call.__wrapped__ = function.__doc__, name, function  # type: ignore[attr-defined]
    return call


def _call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    from labrt.linux import flags

    named = _FLAGS.get(name, {})
    shown = [str(getattr(flags, named[at])(arg)) if at in named and isinstance(arg, int) else _show(arg)
             for at, arg in enumerate(args)]  # fmt: skip
    if name == "fsconfig" and len(args) > 1:
        shown[1] = _FSCONFIG.get(args[1], shown[1])
    return f"{name}({', '.join([*shown, *(f'{key}={_show(value)}' for key, value in kwargs.items())])})"


def _show(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    text = repr(os.fspath(value)) if isinstance(value, os.PathLike) else repr(value)
    if isinstance(value, int):
        text = str(int(value))
    return text if len(text) <= 160 else text[:159] + "…"


def _result(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _hear_python(event: str, args: tuple[Any, ...]) -> None:
    """Hear what Python's own functions are about to do: sys.addaudithook."""
    if _fd < 0:
        return
    if event == "open":
        path, flags = args[0], args[2]
        wants_to_write = isinstance(flags, int) and flags & os.O_ACCMODE != os.O_RDONLY
        if wants_to_write and isinstance(path, str) and path.startswith(("/sys/fs/cgroup/", "/proc/")):
            tell("write", f"open({path!r}, O_WRONLY)")
    elif event in _TOLD_OF_PYTHON and ("dir" not in event or str(args[0]).startswith("/sys/fs/cgroup/")):
        shown = ", ".join(_show(arg) for arg in args[:2])
        tell("call", f"{_TOLD_OF_PYTHON[event]}({shown})")
