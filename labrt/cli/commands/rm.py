"""`labrt rm`: remove containers."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes, too")
@parameters.containers_argument()
def command(force: bool, volumes: bool, names: tuple[str, ...]) -> int:
    """Remove containers.

    \b
    Examples:
      labrt rm nap
      labrt rm -f $(labrt ps -aq)
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).remove(force=force, volumes=volumes))
