"""`labrt kill`: send a signal to containers."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.option("-s", "--signal", metavar="SIGNAL", default="KILL", show_default=True,
              help="Which signal, by name or number")  # fmt: skip
@parameters.containers_argument("running")
def command(signal: str, names: tuple[str, ...]) -> int:
    """Send a signal to containers, SIGKILL if no other is named.

    \b
    Examples:
      labrt kill nap
      labrt kill -s HUP web
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).kill(signal))
