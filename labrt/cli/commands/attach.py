"""`labrt attach`: be at the output, and the input, of a container that runs."""

from __future__ import annotations

import click

from labrt.cli import foreground, parameters


@click.command
@click.option("--no-stdin", is_flag=True, help="Pass no input on")
@parameters.container_argument("running")
def command(no_stdin: bool, name: str) -> int:
    """Connect this terminal to a running container.

    What it wrote before is in `labrt logs`. Ctrl-P Ctrl-Q leaves a container with a terminal; the exit code is its own.

    \b
    Examples:
      labrt attach shell
      labrt attach --no-stdin web
    """  # noqa: D301
    container = parameters.get(name)
    created = container.record()["options"]
    stdin = created["interactive"] and not no_stdin
    foreground.require_terminal(stdin, created["tty"])
    return foreground.follow(container, stdin=stdin, tty=created["tty"], start=False)[0]
