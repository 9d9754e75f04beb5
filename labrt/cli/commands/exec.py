"""`labrt exec`: one more program in a container that runs. What it does is in ../programs.py."""

from __future__ import annotations

from typing import Any

import click

from labrt.cli import parameters, programs
from labrt.cli.container_options import EXEC


@click.command(context_settings=parameters.ENDS_AT_FIRST_ARGUMENT)
@parameters.declare(EXEC)
@parameters.container_argument("running")
@parameters.command_argument(required=True)
def command(**typed: Any) -> int:
    """Run one more command in a running container.

    The exit code is the command's own; 126 if it cannot be executed, 127 if it is not there.

    \b
    Examples:
      labrt exec nap ps
      labrt exec -it nap sh
      labrt exec -e A=1 -w /tmp -u nobody nap env
      echo hello | labrt exec -i nap cat
    """  # noqa: D301
    return programs.execute(**typed)
