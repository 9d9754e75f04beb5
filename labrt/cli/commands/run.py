"""`labrt run`: create a container, start it, and be attached to it until its end.

What it does is in ../programs.py, its options in ../container_options.py. What is plainly typed never comes here.
"""

from __future__ import annotations

from typing import Any

import click

from labrt.cli import parameters, programs
from labrt.cli.container_options import RUN


@click.command(context_settings=parameters.ENDS_AT_FIRST_ARGUMENT)
@parameters.declare(RUN)
@parameters.image_argument
@parameters.command_argument()
def command(**typed: Any) -> int:
    """Make a container from an image and run it.

    The exit code is the program's own; 125 if labrt could not start it, 126 if it cannot be executed, 127 if it is not
    there, 128 + n if signal n ended it. Ctrl-P Ctrl-Q leaves a container that was run with -it, and it goes on.

    \b
    Examples:
      labrt run --rm busybox echo hello                 Run a command, remove what is left
      labrt run --rm -it busybox                        A shell, with a terminal
      echo hello | labrt run --rm -i busybox tr a-z A-Z
      labrt run -d --name nap -m 64m --cpus .5 busybox sleep 1000
      labrt run --rm -v "$PWD:/here:ro" -w /here busybox ls
      labrt run --rm -v data:/data busybox touch /data/stays
      labrt run --rm --network host busybox ip addr
      labrt run -d --network bridge -p 8080:80 busybox httpd -f
      labrt run --rm --cap-drop ALL --security-opt no-new-privileges --tmpfs /run busybox
    """  # noqa: D301
    return programs.run(**typed)
