"""`labrt container`: docker's long forms of what is done to containers."""

from __future__ import annotations

import click

from labrt.cli import parameters
from labrt.cli.commands import prune as whole
from labrt.cli.longforms import LongForms

_SAME = ("attach", "commit", "cp", "create", "diff", "exec", "export", "inspect", "kill", "logs", "pause", "port",
         "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait")  # fmt: skip


@click.group(cls=LongForms, words={**{word: word for word in _SAME}, "ls": "ps", "ps": "ps", "list": "ps"})
def command() -> None:
    """Do with containers what is done with them, by docker's long names.

    `labrt container ls` is `labrt ps`; the other words are commands of the same name.

    \b
    Examples:
      labrt container ls --all
      labrt container prune
    """  # noqa: D301


@command.command
@click.option("-f", "--force", is_flag=True, help="Do not ask first")
def prune(force: bool) -> int:
    """Remove all stopped containers."""
    from labrt.engine.prune import prune_containers

    if not force and not parameters.agreed("This will remove all stopped containers."):
        return 1
    whole.tell(prune_containers())
    return 0
