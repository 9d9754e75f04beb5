"""`labrt pause`: stop all processes of containers where they are."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@parameters.containers_argument("running")
def command(names: tuple[str, ...]) -> int:
    """Freeze all processes of containers, until `unpause`.

    They get no CPU time and notice nothing; memory, files and connections stay. `labrt stop` and `labrt kill` let them
    go on first.

    \b
    Examples:
      labrt pause web
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).pause())
