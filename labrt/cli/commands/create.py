"""`labrt create`: all of `labrt run` but the start."""

from __future__ import annotations

from typing import Any

import click

from labrt.cli import parameters, programs
from labrt.cli.container_options import CREATE


@click.command(context_settings=parameters.ENDS_AT_FIRST_ARGUMENT)
@parameters.declare(CREATE)
@parameters.image_argument
@parameters.command_argument()
def command(attach: tuple[str, ...], **how: Any) -> int:
    """Make a container without starting it.

    Prints its id; `labrt start` starts it.

    \b
    Examples:
      labrt create --name later busybox echo hello
      labrt start -a later
    """  # noqa: D301
    del attach  # of `run`; `start` has its own
    click.echo(programs.create(**how).id)
    return 0
