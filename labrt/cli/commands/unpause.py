"""`labrt unpause`: let paused containers go on."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@parameters.containers_argument("paused")
def command(names: tuple[str, ...]) -> int:
    """Let paused containers go on.

    \b
    Examples:
      labrt unpause web
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).unpause())
