"""`labrt diff`: what a container changed."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@parameters.container_argument()
def command(name: str) -> None:
    """Show which files a container added, changed and deleted.

    A is added, C changed, D deleted.

    \b
    Examples:
      labrt diff nap
    """  # noqa: D301
    from labrt.engine.commit import changes

    for change in changes(parameters.get(name)):
        click.echo(str(change))
