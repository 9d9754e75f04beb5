"""`labrt unshare`: a program among this user's containers, where the user is root."""

from __future__ import annotations

import os

import click

from labrt.cli import parameters
from labrt.errors import CommandNotExecutable, CommandNotFound


@click.command(context_settings=parameters.ENDS_AT_FIRST_ARGUMENT)
@click.argument("words", metavar="[COMMAND [ARG]...]", nargs=-1, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> None:
    """Run a program in the user namespace of this user's containers.

    There the user is root of what they own: they see files of images with their owners, may mount, and a notebook can
    make containers. Without a command it is a shell. Root on the machine stays root on the machine.

    \b
    Examples:
      labrt unshare                                A shell
      labrt unshare cat /proc/self/uid_map         Who is who
      labrt unshare jupyter lab --allow-root       The course, without root
    """  # noqa: D301
    program = list(words) or [os.environ.get("SHELL") or "/bin/sh"]
    try:
        os.execvp(program[0], program)
    except FileNotFoundError:
        raise CommandNotFound(f"{program[0]}: no such program", remedy="see $PATH") from None
    except OSError as error:
        raise CommandNotExecutable(f"{program[0]}: {error.strerror}", remedy="see its mode") from None
