"""`labrt stop`: ask containers to end, and end those that do not."""

from __future__ import annotations

import threading

import click

from labrt.cli import parameters
from labrt.errors import LabrtError


@click.command
@click.option("-s", "--signal", metavar="SIGNAL", help="Which signal, by name or number")
@click.option("-t", "--timeout", "--time", type=int, metavar="SECONDS",
              help="How many seconds it has to end by itself (usually 10); below zero, for ever")  # fmt: skip
@parameters.containers_argument("running", "paused", "restarting")
def command(signal: str | None, timeout: int | None, names: tuple[str, ...]) -> int:
    """Ask containers to end, and end those that do not.

    A program that is PID 1 and has no handler for SIGTERM does not notice it, and is killed when the time is up.

    \b
    Examples:
      labrt stop web
      labrt stop -t 1 $(labrt ps -q)
    """  # noqa: D301
    stops = {name: _Stop(name, timeout, signal) for name in names}
    for stop in stops.values():
        stop.start()
    return parameters.each(names, lambda name: stops[name].result())


class _Stop(threading.Thread):
    """One container's stop: they wait side by side, not one after the other."""

    def __init__(self, name: str, timeout: int | None, signal: str | None) -> None:
        super().__init__(daemon=True)
        self.container_name, self.timeout, self.signal = name, timeout, signal
        self.error: LabrtError | None = None

    def run(self) -> None:
        """Stop it."""
        try:
            parameters.get(self.container_name).stop(self.timeout, self.signal)
        except LabrtError as error:
            self.error = error

    def result(self) -> None:
        """Wait for it, and raise what went wrong."""
        self.join()
        if self.error:
            raise self.error
