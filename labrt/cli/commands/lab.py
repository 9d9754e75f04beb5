"""`labrt lab`: what an instructor does before a class."""

from __future__ import annotations

import click


@click.group
def command() -> None:
    """Look after a class.

    \b
    Examples:
      labrt lab check            Is everything here that the course needs?
      labrt lab check 08 18      … that these two notebooks need?
    """  # noqa: D301


@command.command
@click.argument("notebooks", metavar="[NOTEBOOK...]", nargs=-1)
def check(notebooks: tuple[str, ...]) -> int:
    """Say whether the course, or these notebooks, can begin.

    It looks for images, Jupyter and leftovers, and starts a container. The exit code is 1 if something failed; a
    warning is no failure.

    \b
    Examples:
      labrt lab check
      labrt lab check 08 18
    """  # noqa: D301
    from labrt.lab.preflight import preflight

    report = preflight(*notebooks)
    click.echo(str(report))
    return 0 if report.ok else 1
