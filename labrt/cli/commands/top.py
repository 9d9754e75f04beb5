"""`labrt top`: the processes of a container."""

from __future__ import annotations

import click

from labrt.cli import parameters, show
from labrt.engine import top


@click.command(context_settings={"ignore_unknown_options": True, **parameters.ENDS_AT_FIRST_ARGUMENT})
@parameters.container_argument("running")
@click.argument("options", metavar="[ps OPTIONS]", nargs=-1, type=click.UNPROCESSED)
def command(name: str, options: tuple[str, ...]) -> None:
    """Show the processes of a container.

    With the host's pids: this machine is who looks. Options are for this machine's ps(1), and must leave a column PID.

    \b
    Examples:
      labrt top web
      labrt top web -o pid,rss,args
    """  # noqa: D301
    container = parameters.get(name)
    if options:
        head, lines = top.ps(options, top.pids(container))
        click.echo("\n".join([head, *lines]))
        return
    click.echo(show.table(top.TITLES, [process.row() for process in container.top()]))
