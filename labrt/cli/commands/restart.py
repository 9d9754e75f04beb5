"""`labrt restart`: stop containers and start them again."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.option("-s", "--signal", metavar="SIGNAL", help="Which signal asks it to end, by name or number")
@click.option("-t", "--timeout", "--time", type=int, metavar="SECONDS",
              help="How many seconds it has to end by itself; below zero, for ever")  # fmt: skip
@parameters.containers_argument("running", "exited", "paused")
def command(signal: str | None, timeout: int | None, names: tuple[str, ...]) -> int:
    """Stop containers and start them again.

    One that does not run is started.

    \b
    Examples:
      labrt restart web
      labrt restart -t 1 web
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).restart(timeout, signal))
