"""`labrt kill`: send a signal to containers."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.option("-s", "--signal", metavar="SIGNAL", default="KILL", show_default=True,
              help="Signal to send to the container")  # fmt: skip
@parameters.containers_argument("running")
def command(signal: str, names: tuple[str, ...]) -> int:
    """Kill one or more running containers.

    \b
    Examples:
      labrt kill nap
      labrt kill -s HUP web
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).kill(signal))
