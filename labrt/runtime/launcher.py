"""The launcher: a warm process with a single thread, which forks monitors and joiners for those who must not fork.

A Jupyter kernel has a dozen threads, a daemon as well; after a fork among threads anything may be locked for ever. So
nobody forks a container from their own process. They have one launcher, which has imported everything already and does
nothing but fork, and send it messages: a JSON object, with file descriptors beside it (wire.py).

It is executed, not just forked, and from a read-only copy of the interpreter's mount. Init runs this very program
inside the container, where an image may name /proc/self/exe as what to execute, and so get hold of the file. On a
writable mount root in the container could then overwrite it, and have the host run it next: CVE-2019-5736, the way out
of runc in 2019.

    launcher = launcher.default()
    launcher.call({"op": "create", …}, fds)     → the answer, or the error that it carries, raised

It ends when its socket is closed: with its owner, however that one ends. Monitors live on.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import labrt
from labrt.errors import ContainerError, LabrtError
from labrt.linux import process, syscalls
from labrt.linux.flags import AT, MOUNT_ATTR, OPEN_TREE
from labrt.runtime import wire


class Launcher:
    """A launcher and the way to talk to it. Thread-safe: each call has a socket of its own for the answer."""

    def __init__(self) -> None:
        import threading  # of no use to the launcher itself

        self._lock = threading.Lock()
        self.owner = os.getpid()
        self.sock, theirs = wire.pair()
        try:
            self.child = process.spawn(lambda: _become_launcher(theirs.fileno()))
        finally:
            theirs.close()
        atexit.register(self.sock.close)  # its end is the launcher's end

    def call(self, request: dict[str, Any], fds: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        """Send a request, wait for its answer and the descriptors that come with it. Raises what went wrong there."""
        with self.begin(request, fds) as answer:
            return read_answer(answer)

    def begin(self, request: dict[str, Any], fds: Sequence[int] = ()) -> socket.socket:
        """Send a request and return the socket on which its answers will come. The caller closes it."""
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
        self.sock.close()
        if self.owner == os.getpid():
            self.child.wait(5)
            self.child.close()

    @property
    def usable(self) -> bool:
        """Whether it still runs, and is this process's own and not one inherited by a fork."""
        return self.owner == os.getpid() and self.child.wait(0) is None

    def __repr__(self) -> str:
        return f"Launcher(pid={self.child.pid})"


def read_answer(answer: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Wait for the next answer on a socket of `Launcher.begin`. Raises the error that it carries."""
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


# The launcher's own life ----------------------------------------------------------------------------------------------


def _become_launcher(fd: int) -> None:
    """Turn this forked child into a fresh interpreter that runs `serve`."""
    os.setsid()  # Ctrl-C at the terminal, or ■ in a notebook, is not meant for it
    os.set_inheritable(fd, True)
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1) if os.environ.get("LABRT_DEBUG") else (0, 1, 2):
        os.dup2(quiet, number)
    os.chdir("/")
    # This very labrt, however it was found, then what is installed; never a path relative to where one happens to be.
    path = [os.path.dirname(os.path.dirname(labrt.__file__)), *(entry for entry in sys.path if os.path.isabs(entry))]
    code = f"import gc; gc.disable()\nimport sys; sys.path[:] = {path!r}\n"
    code += f"from labrt.runtime import launcher; launcher.serve({fd})"
    # -I: nothing from the environment or the working directory; -S: no search for site-packages, they are in `path`.
    argv = [sys.executable, "-I", "-S", "-c", code]
    env = {key: value for key, value in os.environ.items() if key in ("PATH", "LABRT_ROOT", "LABRT_DEBUG", "HOME")}
    env |= {key: os.environ[key] for key in ("XDG_DATA_HOME", "XDG_RUNTIME_DIR") if key in os.environ}
    try:
        program = _read_only_copy(os.path.realpath(sys.executable))
    except OSError:
        # Not root: then it is not root in the container either who could write to the interpreter.
        os.execve(sys.executable, argv, env)
    syscalls.execveat(program, "", argv, env, AT.EMPTY_PATH)


def _read_only_copy(path: str) -> int:
    """Open a file through a mount of its own, attached nowhere and read-only, whatever the file system is."""
    tree = syscalls.open_tree(syscalls.AT_FDCWD, path, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC)
    syscalls.mount_setattr(tree, "", AT.EMPTY_PATH, attr_set=MOUNT_ATTR.RDONLY)
    return tree


def serve(fd: int) -> None:
    """Answer requests until the socket is closed. This is the launcher's main function."""
    import gc

    import prctl

    from labrt.runtime import joiner, monitor

    prctl.set_name("labrt-launcher")
    _warm_up()
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    gc.freeze()  # what is not touched is not copied; collecting is off since our first line
    works: dict[str, Callable[..., None]] = {"create": monitor.run, "exec": joiner.run}
    sock = socket.socket(fileno=fd)
    spare = _fork_spare(sock, works)
    while True:
        message, fds = wire.receive(sock)
        if message is None:
            return
        wire.send(spare, message, fds)
        spare.close()
        for received in fds:
            os.close(received)
        spare = _fork_spare(sock, works)


def _fork_spare(sock: socket.socket, works: dict[str, Callable[..., None]]) -> socket.socket:
    """Fork the process for the next request before that comes; return the socket on which to hand it over.

    So nobody waits for the fork. A spare that is never needed ends when the launcher does: its socket is closed then.
    """
    ours, theirs = wire.pair()
    if os.fork() == 0:
        ours.close()
        sock.close()
        _serve_one(theirs, works)
    theirs.close()
    return ours


def _warm_up() -> None:
    """Do once what every fork will do: what is then loaded, compiled and cached, each of them has from its birth."""
    from labrt.linux import cgroups
    from labrt.runtime import config, init, program

    usual = config.default(["true"])
    with contextlib.suppress(LabrtError, OSError):  # whoever asks for a container will be told
        cgroups.detect()
        program.ignored_signals()
        program.prepare(usual["process"], usual["linux"]["seccomp"])
        init.root_plan(usual, "/", [])


def _serve_one(spare: socket.socket, works: dict[str, Callable[..., None]]) -> None:
    """Wait for one request and do it. Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        if not select.select([spare], [], [], 0.005)[0]:
            # Nobody waits, so once more: what it writes to is then a copy of our own, which a fork's memory is not yet.
            _warm_up()
        message, fds = wire.receive(spare)
        spare.close()
        if message:
            works[message["op"]](message, socket.socket(fileno=fds[0]), *fds[1:])
        code = 0
    except BaseException:
        if os.environ.get("LABRT_DEBUG"):
            import traceback

            traceback.print_exc()
    finally:
        os._exit(code)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
