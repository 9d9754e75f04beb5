"""`labrt wait`: the exit codes of containers, when they have them."""

from __future__ import annotations

import click

from labrt.cli import parameters
from labrt.engine.lifecycle import CONDITIONS


@click.command
@click.option("--condition", type=click.Choice(CONDITIONS), default="not-running", show_default=True,
              help="What to wait for")  # fmt: skip
@parameters.containers_argument("running")
def command(condition: str, names: tuple[str, ...]) -> int:
    """Wait for containers to end and print their exit codes.

    One that its restart policy starts again has ended, too.

    \b
    Examples:
      labrt wait nap
      labrt run -d --name job busybox sh -c 'exit 3'; labrt wait job
    """  # noqa: D301
    return parameters.each(names, lambda name: parameters.get(name).wait(condition=condition) or 0)
