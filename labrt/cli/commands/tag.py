"""`labrt tag`: one more name for an image."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.argument("source", metavar="SOURCE_IMAGE[:TAG]", shell_complete=parameters.image_names)
@click.argument("target", metavar="TARGET_IMAGE[:TAG]")
def command(source: str, target: str) -> None:
    """Give an image one more name.

    \b
    Examples:
      labrt tag busybox localhost:5000/team/tools:1
    """  # noqa: D301
    from labrt.engine import push

    push.tag(source, target)
