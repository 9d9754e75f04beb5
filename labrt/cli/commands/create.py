"""`labrt create`: all of `labrt run` but the start."""

from __future__ import annotations

from typing import Any

import click

from labrt.cli import parameters
from labrt.cli.commands import run
from labrt.cli.container_options import container_options


@click.command(context_settings=parameters.ENDS_AT_FIRST_ARGUMENT)
@container_options
def command(attach: tuple[str, ...], **how: Any) -> int:
    """Make a container without starting it.

    Prints its id; `labrt start` starts it.

    \b
    Examples:
      labrt create --name later busybox echo hello
      labrt start -a later
    """  # noqa: D301
    del attach  # of `run`; `start` has its own
    click.echo(run.create(**how).id)
    return 0
