"""`labrt rename`: give a container another name."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@parameters.container_argument()
@click.argument("new", metavar="NEW_NAME")
def command(name: str, new: str) -> None:
    """Give a container another name.

    It may run meanwhile. Its hostname stays what it is.

    \b
    Examples:
      labrt rename nap siesta
    """  # noqa: D301
    parameters.get(name).rename(new)
