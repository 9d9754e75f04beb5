"""How a container's run comes to its end: kill, stop, wait.

A restart policy would start it again. Who ends it by hand therefore says so to its monitor first (runtime/monitor.py);
the monitor of one that is between two runs has nobody to kill, and just ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from labrt.engine.signal_names import parse_signal
from labrt.errors import Conflict, ContainerNotFound, InvalidInput
from labrt.runtime import state as states
from labrt.runtime.attachment import Attachment

if TYPE_CHECKING:
    from labrt.engine.container import Container

CONDITIONS = ("not-running", "next-exit", "removed")
GRACE = 10  # seconds between asking and killing, as Docker's
_PAUSE = 0.05  # seconds between two looks, where there is nothing to wait for


def kill(container: Container, sig: int | str = signal.SIGKILL) -> None:
    """Signal PID 1. SIGKILL, and what its image calls the signal to stop, are meant to end it for good.

    One that is paused goes on then, for else it would not even hear of it.
    """
    number = parse_signal(sig)
    ends = number in (signal.SIGKILL, stop_signal(container))
    between = container.state.status == states.RESTARTING
    if ends:
        with contextlib.suppress(Conflict):
            container.runtime.ask(stop=True)
    if not (ends and between):
        paused = container.state.status == states.PAUSED
        container.runtime.kill(number)
        if ends and paused:
            with contextlib.suppress(Conflict):
                container.unpause()
    container.note("kill", signal=str(number))


def stop(container: Container, timeout: float | None = None, sig: int | str | None = None) -> int | None:
    """Ask, wait, kill; return the exit code. See Container.stop."""
    if not (container.state.pid and container.state.kept):
        return container.state.exit_code
    record = container.record()
    if timeout is None:
        own = (record.get("Config") or {}).get("StopTimeout")
        timeout = GRACE if own is None else own
    number = parse_signal(sig) if sig is not None else stop_signal(container)
    with contextlib.suppress(Conflict):
        container.runtime.ask(stop=True)
    with contextlib.suppress(Conflict, ContainerNotFound):  # it ends by itself just now
        kill(container, number)
        if container.state.status == states.PAUSED:
            container.unpause()
        code = container.runtime.wait(timeout if timeout >= 0 else None)
        if code is None:
            kill(container, signal.SIGKILL)
    with contextlib.suppress(ContainerNotFound):
        code = container.runtime.wait()
        container.note("stop", record)
        return code
    return None


def stop_signal(container: Container) -> int:
    """Return what asks it to end: what it was made with, what its image names, or SIGTERM."""
    record = container.record()
    return parse_signal((record.get("Config") or {}).get("StopSignal") or record.get("stop_signal") or "TERM")


def wait(container: Container, timeout: float | None = None, condition: str = "not-running") -> int | None:
    """Wait for an end, and return the exit code. See Container.wait."""
    if condition not in CONDITIONS:
        raise InvalidInput(f"no condition is called {condition!r}", remedy=f"one of {', '.join(CONDITIONS)}")
    deadline = None if timeout is None else time.monotonic() + timeout
    if condition == "removed":
        return _wait_removed(container, deadline)
    if condition == "next-exit":
        while not (container.state.pid and container.state.kept):
            if not _sleep(deadline):
                return None
    if not container.state.pid:
        return None
    return _next_exit(container, deadline)


def _next_exit(container: Container, deadline: float | None) -> int | None:
    """Hear it from the monitor, whose last word it is: one that restarts goes on, one that `--rm` removes is gone."""
    while container.state.kept:
        try:
            attached = Attachment.connect(container.runtime.sockets, output=False)
        except Conflict:  # it ends, or its monitor was killed, just now
            if not _sleep(deadline):
                return None
            continue
        with attached:
            while attached.exit_code is None:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not select.select([attached], [], [], left)[0]:
                    return None
                if not attached.receive():
                    break
            if attached.exit_code is not None:
                _let_go(container)
                return attached.exit_code
    return container.runtime.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))


def _let_go(container: Container) -> None:
    """Its monitor has told us; let it have put everything away, if this was its end."""
    with contextlib.suppress(ContainerNotFound, FileNotFoundError):
        if container.state.status == states.STOPPED and not os.path.exists(container.runtime.sockets):
            container.runtime.wait(GRACE)


def _wait_removed(container: Container, deadline: float | None) -> int | None:
    code: int | None = None
    with contextlib.suppress(ContainerNotFound):
        while True:
            state = container.state
            if state.pid and state.kept:  # one that `--rm` removes may be gone before we look again: so be told
                code = _next_exit(container, deadline)
            elif state.exit_code is not None:
                code = state.exit_code
            if not _sleep(deadline):
                return None
    return code


def _sleep(deadline: float | None) -> bool:
    """Wait a moment; False when the time is up."""
    if deadline is not None and time.monotonic() >= deadline:
        return False
    time.sleep(_PAUSE)
    return True
