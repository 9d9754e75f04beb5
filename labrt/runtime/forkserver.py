"""The launcher's own life: be warm, and fork a process for each request, before that comes.

    serve(fd)       the main function of the process that launcher.py starts; `fd` is its end of the socket

See launcher.py for who asks and why, fork(2), and notebook 17.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
from collections.abc import Callable

from labrt.errors import LabrtError
from labrt.runtime import monitor, wire

# Seconds without a request, after which nobody is waiting for one that went before, who would need the CPU.
SOON = 0.05


def serve(fd: int) -> None:
    """Answer requests until the socket is closed. This is the launcher's main function."""
    import prctl

    os.chdir("/")
    prctl.set_name("labrt-launcher")
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    if "LABRT_TRACE" in os.environ:
        from labrt.runtime import traced

        traced.join()
    sock = socket.socket(fileno=fd)
    warm, served = False, 0
    while True:
        # Who waits already, as a cold `labrt run` does by now, gets what will be warm only by their own work; and has
        # the CPUs for a while. Not so who wants many.
        if not warm and (served > 1 or not select.select([sock], [], [], SOON if served else 0)[0]):
            _warm_up()
            warm = True
        gc.freeze()  # what is not touched is not copied; collecting is off since our first line
        spare = _fork_spare(sock)
        message, fds = wire.receive(sock)
        if message is None:
            return
        wire.send(spare, message, fds)
        spare.close()
        for received in fds:
            os.close(received)
        served += 1


def _fork_spare(sock: socket.socket) -> socket.socket:
    """Fork the process for the next request before that comes; return the socket on which to hand it over.

    So nobody waits for the fork. A spare that is never needed ends when the launcher does: its socket is closed then.
    """
    ours, theirs = wire.pair()
    if os.fork() == 0:
        ours.close()
        sock.close()
        _serve_one(theirs)
    theirs.close()
    return ours


def _warm_up() -> None:
    """Do once what every fork will do: what is then loaded, compiled and cached, each of them has from its birth.

    And shares with the others. A module that each would import by itself were a megabyte or three in each of them.
    """
    from labrt.linux import cgroups, fscontext, mount_options, rootfs
    from labrt.runtime import config, init, joiner, orders, program, restarting  # noqa: F401
    from labrt.runtime.networks import attachment  # noqa: F401 - most containers have a network

    usual = config.default(["true"])
    with contextlib.suppress(LabrtError, OSError):  # whoever asks for a container will be told
        cgroups.detect()
        fscontext.takes_single_layers()
        program.ignored_signals()
        config.validate(usual)
        program.prepare(usual["process"], usual["linux"]["seccomp"])
        init.root_plan(usual, "/", [])
        for mount in rootfs.DEFAULT_MOUNTS:
            mount_options.parse(mount.options)


def _serve_one(spare: socket.socket) -> None:
    """Wait for one request and do it. Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        if not select.select([spare], [], [], SOON)[0]:
            # Nobody waits, so once more: what it writes to is then a copy of our own, which a fork's memory is not yet.
            _warm_up()
        message, fds = wire.receive(spare)
        spare.close()
        if message and "LABRT_TRACE" in os.environ:
            from labrt.runtime import traced

            traced.begin(message)
        if message:
            _work(message["op"])(message, socket.socket(fileno=fds[0]), *fds[1:])
        code = 0
    except BaseException:
        if os.environ.get("LABRT_DEBUG"):
            import traceback

            traceback.print_exc()
    finally:
        os._exit(code)


def _work(op: str) -> Callable[..., None]:
    if op == "create":
        return monitor.run
    from labrt.runtime import joiner

    return joiner.run


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
