"""`labrt rm`: remove containers."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.option("-f", "--force", is_flag=True, help="Force the removal of a running container (uses SIGKILL)")
@parameters.containers_argument()
def command(force: bool, names: tuple[str, ...]) -> int:
    """Remove one or more containers.

    \b
    Examples:
      labrt rm nap
      labrt rm -f $(labrt ps -aq)
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).remove(force=force))
