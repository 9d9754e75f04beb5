"""`labrt wait`: the exit codes of containers, when they have them."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@parameters.containers_argument("running")
def command(names: tuple[str, ...]) -> int:
    """Wait for containers to end and print their exit codes.

    \b
    Examples:
      labrt wait nap
      labrt run -d --name job busybox sh -c 'exit 3'; labrt wait job
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).wait() or 0)
