"""Health checks: a command that is run in a container again and again, and what its exit codes say of the container.

    health = Health(check, joiner_request, selector, alarms, changed)
    health.begin(pidfd)           the container runs: the first probe comes after an interval
    health.pause(), .resume()     it is frozen, or has ended; it goes on
    health.report                 {"Status": "starting" | "healthy" | "unhealthy", "FailingStreak": 0, "Log": […]}

The monitor is who probes: it is there as long as the container. Each probe is what `exec` does, by a fork of the
monitor that becomes a joiner (joiner.py). `check` is Docker's Healthcheck, times in nanoseconds, 0 for the default.
A failure counts when `Retries` of them come one after another; within `StartPeriod` none counts, but a success ends it.
See HEALTHCHECK of the Dockerfile reference.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from labrt.linux import process, syscalls
from labrt.runtime import wire
from labrt.runtime.alarms import Alarms

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
KEPT, LONGEST = 5, 4096  # results; bytes of each one's output
SHELL = ("/bin/sh", "-c")


def command(check: Mapping[str, Any] | None) -> list[str] | None:
    """Return the command of a check; None if there is none: no Test, or ["NONE"], which turns off the image's."""
    kind, *words = (check or {}).get("Test") or ["NONE"]
    if kind == "CMD":
        return words or None
    return [*SHELL, *words] if kind == "CMD-SHELL" and words else None


class Health:
    """One container's. `changed` is called whenever `report` is another, with whether its Status is."""

    def __init__(
        self,
        check: Mapping[str, Any],
        request: Callable[[Sequence[str]], dict[str, Any]],
        selector: selectors.BaseSelector,
        alarms: Alarms,
        changed: Callable[[bool], None],
    ) -> None:
        self.command = command(check) or []
        self.interval = _seconds(check, "Interval", 30)
        self.timeout = _seconds(check, "Timeout", 30)
        self.start_period = _seconds(check, "StartPeriod", 0)
        self.start_interval = _seconds(check, "StartInterval", 5)
        self.retries = check.get("Retries") or 3
        self.report: dict[str, Any] = {"Status": STARTING, "FailingStreak": 0, "Log": []}
        self._request, self._selector, self._alarms, self._changed = request, selector, alarms, changed
        self._began = 0.0
        self._pidfd = -1
        self._probe: Probe | None = None
        self._left: list[int] = []  # joiners that were not waited for yet

    def begin(self, pidfd: int) -> None:
        """The container behind `pidfd` runs: what was known of an earlier run is forgotten."""
        self._pidfd, self._began = pidfd, time.monotonic()
        self.report = {"Status": STARTING, "FailingStreak": 0, "Log": []}
        self._changed(True)
        self.resume()

    def resume(self) -> None:
        """Set the time of the next probe."""
        soon = self._young() and self.report["Status"] == STARTING
        self._alarms.set("probe", self.start_interval if soon else self.interval, self._begin_probe)

    def pause(self) -> None:
        """Probe no more, for now: nothing in the container would answer."""
        self._alarms.cancel("probe")
        self._alarms.cancel("probe's end")
        if self._probe:
            self._part(self._probe)

    def _young(self) -> bool:
        return time.monotonic() - self._began < self.start_period

    def _part(self, probe: Probe) -> None:
        probe.end(self._selector)
        self._probe = None
        self._left.append(probe.joiner)
        # Without waiting: the command may hang in the kernel, and who waits for it would hang as well.
        self._left = [pid for pid in self._left if not os.waitpid(pid, os.WNOHANG)[0]]

    def _begin_probe(self) -> None:
        try:
            self._probe = Probe(self._request(self.command), self._pidfd)
        except OSError as error:  # no more processes, no more descriptors: that is a failure as well
            self._conclude(time.time(), -1, str(error))
            return
        for file in self._probe.files:
            self._selector.register(file, selectors.EVENT_READ, lambda _: self._on_probe())
        self._alarms.set("probe's end", self.timeout, self._too_late)

    def _on_probe(self) -> None:
        probe = self._probe
        if probe and probe.read(self._selector):
            self._finish(probe, probe.exit_code, probe.output.decode(errors="replace"))

    def _too_late(self) -> None:
        if self._probe:
            said = f"Health check exceeded timeout ({self.timeout:g}s)"
            text = self._probe.output.decode(errors="replace")
            self._finish(self._probe, -1, f"{said}: {text}" if text else said)

    def _finish(self, probe: Probe, code: int, text: str) -> None:
        self._alarms.cancel("probe's end")
        self._part(probe)
        self._conclude(probe.began, code, text)

    def _conclude(self, began: float, code: int, text: str) -> None:
        """Note a result, and what it means."""
        before = self.report["Status"]
        log = [*self.report["Log"], {"Start": began, "End": time.time(), "ExitCode": code, "Output": text}][-KEPT:]
        status, streak = before, self.report["FailingStreak"]
        if code == 0:
            status, streak = HEALTHY, 0
        elif not (before == STARTING and self._young()):
            streak += 1
            status = UNHEALTHY if streak >= self.retries else before
        self.report = {"Status": status, "FailingStreak": streak, "Log": log}
        self._changed(status != before)
        self.resume()


def _seconds(check: Mapping[str, Any], name: str, default: float) -> float:
    return (check.get(name) or 0) / 1e9 or default


class Probe:
    """One run of the command: a joiner of our own, its answers, and what the command writes."""

    def __init__(self, request: dict[str, Any], pidfd: int) -> None:
        self.began = time.time()
        self.exit_code = -1
        self.output = b""
        self._program: int | None = None  # a pidfd of the command, once it runs
        self._answers, theirs = wire.pair()
        self._pipe, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        quiet = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.set_blocking(write, True)
            self.joiner = os.fork()
            if self.joiner == 0:
                _be_joiner(request, theirs.fileno(), pidfd, quiet, write)
        except BaseException:
            self._answers.close()
            os.close(self._pipe)
            raise
        finally:
            theirs.close()
            os.close(write)
            os.close(quiet)

    @property
    def files(self) -> tuple[Any, int]:
        """What to watch."""
        return self._answers, self._pipe

    def read(self, selector: selectors.BaseSelector) -> bool:
        """Read what has come; True when it has ended."""
        self._read_output(selector)
        self._answers.setblocking(False)
        try:
            message = wire.receive(self._answers)[0]
        except BlockingIOError:
            return False
        if message and "started" in message:
            self._program = process.open_pidfd(message["started"])
            return False
        if message and "exit" in message:
            self.exit_code = message["exit"]
        elif message:
            self.output = str(wire.error_from_json(message["error"])).encode()
        self._read_output(selector)
        return True

    def _read_output(self, selector: selectors.BaseSelector) -> None:
        """Keep the beginning; the rest is read, too, or the command would wait for ever."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe, 1 << 16):
                self.output = (self.output + data)[:LONGEST]
            with contextlib.suppress(KeyError):
                selector.unregister(self._pipe)

    def end(self, selector: selectors.BaseSelector) -> None:
        """Kill the command if it still runs, and leave nothing."""
        for file in self.files:
            with contextlib.suppress(KeyError):
                selector.unregister(file)
        if self._program is not None:
            with contextlib.suppress(ProcessLookupError):
                syscalls.pidfd_send_signal(self._program, signal.SIGKILL)
            os.close(self._program)
        else:
            os.kill(self.joiner, signal.SIGKILL)  # it has not come so far; it is our child, the number its own
        self._answers.close()
        os.close(self._pipe)


def _be_joiner(request: dict[str, Any], answer: int, pidfd: int, quiet: int, write: int) -> None:
    """Be the process that brings the command in. Never returns. What else the monitor has open is not for here."""
    import socket

    from labrt.runtime import init, joiner

    try:
        init.close_all_but((answer, pidfd, quiet, write), first=3)
        joiner.run(request, socket.socket(fileno=answer), pidfd, quiet, write, os.dup(write))
    finally:
        os._exit(0)
