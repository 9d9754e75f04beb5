"""`labrt image`: docker's long forms of what is done to images."""

from __future__ import annotations

import click

from labrt.cli import parameters
from labrt.cli.commands import prune as whole
from labrt.cli.longforms import LongForms

_SAME = ("build", "history", "import", "inspect", "load", "pull", "push", "save", "tag")


@click.group(cls=LongForms, words={**{word: word for word in _SAME}, "ls": "images", "list": "images", "rm": "rmi"})
def command() -> None:
    """Do with images what is done with them, by docker's long names.

    `labrt image ls` is `labrt images`, `labrt image rm` is `labrt rmi`; the other words are commands of the same name.

    \b
    Examples:
      labrt image ls
      labrt image prune --all
    """  # noqa: D301


@command.command
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused images, not just what has no name")
@click.option("-f", "--force", is_flag=True, help="Do not ask first")
def prune(everything: bool, force: bool) -> int:
    """Remove images that no container is made from."""
    from labrt.engine.prune import prune_images

    what = "all images without a container" if everything else "all images without a name and a container"
    if not force and not parameters.agreed(f"This will remove {what}."):
        return 1
    whole.tell(prune_images(all=everything))
    return 0
