"""The launcher: a warm process with a single thread, which forks monitors and joiners for those who must not fork.

A Jupyter kernel has a dozen threads, a daemon as well; after a fork among threads anything may be locked for ever. So
nobody forks a container from their own process. They have one launcher, which has imported everything already and does
nothing but fork (forkserver.py), and send it messages: a JSON object, with file descriptors beside it (wire.py). It is
executed, not just forked, and so that no container can write to it: linux/sealed.py.

    launcher = launcher.default()
    launcher.call({"op": "create", …}, fds)     → the answer, or the error that it carries, raised

It ends when its socket is closed: with its owner, however that one ends. Monitors live on.

A cold `labrt run` begins here, and this process goes on reading its own modules while the launcher reads its. So that
it can begin early, this file imports next to nothing at its top.
"""

from __future__ import annotations

import os
import sys

import labrt
from labrt.errors import ContainerError
from labrt.linux import sealed, syscalls

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from labrt.linux import process

HANDED_ON = (  # variables
    "PATH", "HOME", "LABRT_ROOT", "LABRT_DEBUG", "LABRT_TRACE", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
)  # fmt: skip


class Launcher:
    """A launcher and the way to talk to it. Thread-safe: each call has a socket of its own for the answer."""

    def __init__(self) -> None:
        import _thread  # what threading's locks are made of, without the rest of threading
        import atexit

        self._lock = _thread.allocate_lock()
        self._sock: socket.socket | None = None
        self._child: process.Child | None = None
        self.owner = os.getpid()
        self._fd, theirs = syscalls.socketpair()
        try:
            self.pid = _spawn(theirs)
        except BaseException:
            os.close(self._fd)
            raise
        finally:
            os.close(theirs)
        self._pidfd = os.pidfd_open(self.pid)
        atexit.register(self._hang_up)

    @property
    def sock(self) -> socket.socket:
        """Our end of the socket. Its end is the launcher's end."""
        if self._sock is None:
            import socket

            self._sock = socket.socket(fileno=self._fd)
        return self._sock

    @property
    def child(self) -> process.Child:
        """The process."""
        if self._child is None:
            from labrt.linux import process

            self._child = process.Child(self.pid, self._pidfd)
        return self._child

    def call(self, request: dict[str, Any], fds: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        """Send a request, wait for its answer and the descriptors that come with it. Raises what went wrong there."""
        with self.begin(request, fds) as answer:
            return read_answer(answer)

    def begin(self, request: dict[str, Any], fds: Sequence[int] = ()) -> socket.socket:
        """Send a request and return the socket on which its answers will come. The caller closes it."""
        from labrt.runtime import wire

        ours, theirs = wire.pair()
        with theirs:
            try:
                with self._lock:
                    wire.send(self.sock, request, [theirs.fileno(), *fds])
            except OSError as error:
                ours.close()
                raise ContainerError(f"the launcher is gone: {error.strerror}", remedy="try again") from error
        return ours

    def close(self) -> None:
        """End it. Its monitors, and so the containers, live on."""
        self._hang_up()
        if self.owner == os.getpid():
            self.child.wait(5)
            self.child.close()

    def _hang_up(self) -> None:
        self.sock.close()

    @property
    def usable(self) -> bool:
        """Whether it still runs, and is this process's own and not one inherited by a fork."""
        return self.owner == os.getpid() and self.child.wait(0) is None

    def __repr__(self) -> str:
        return f"Launcher(pid={self.pid})"


def read_answer(answer: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Wait for the next answer on a socket of `Launcher.begin`. Raises the error that it carries."""
    from labrt.runtime import wire

    message, fds = wire.receive(answer)
    if message is None:
        raise ContainerError("a process of the runtime was killed before it could answer", remedy="try again")
    if "error" in message:
        raise wire.error_from_json(message["error"])
    return message, fds


_default: Launcher | None = None


def default() -> Launcher:
    """Return this process's launcher; the first call starts it, and does not wait until it is ready."""
    global _default
    if _default is None or not _default.usable:
        _default = Launcher()
    return _default


def _spawn(fd: int) -> int:
    """Start a fresh interpreter that is a launcher, with `fd` as its end of the socket; return its pid."""
    # This very labrt, however it was found, then what is installed; never a path relative to where one happens to be.
    path = [os.path.dirname(os.path.dirname(labrt.__file__)), *(entry for entry in sys.path if os.path.isabs(entry))]
    code = f"import gc; gc.disable()\nimport sys; sys.path[:] = {path!r}\n"
    code += f"from labrt.runtime import forkserver; forkserver.serve({fd})"
    env = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    return sealed.spawn(code, env, [fd], quiet=[0, 1] if "LABRT_DEBUG" in env else [0, 1, 2])
