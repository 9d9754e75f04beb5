"""`labrt push`: send an image to a registry."""

from __future__ import annotations

import sys

import click

from labrt.cli import parameters
from labrt.cli.pushing import Pushing


@click.command
@click.option("-a", "--all-tags", is_flag=True, help="Send every tag that this repository has here")
@click.option("--platform", metavar="OS/ARCH", help="Push one platform's image of those that the name stands for")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress")
@click.argument("name", metavar="NAME[:TAG]", shell_complete=parameters.image_names)
def command(all_tags: bool, platform: str | None, quiet: bool, name: str) -> None:
    """Send an image to a registry.

    The registry is what the name begins with; sign in with `labrt login` where it wants that. What the registry has is
    not sent again.

    \b
    Examples:
      labrt tag busybox localhost:5000/team/tools:1
      labrt push localhost:5000/team/tools:1
    """  # noqa: D301
    from labrt.engine import push
    from labrt.image.platform import Platform
    from labrt.image.reference import Reference

    if all_tags and ":" in name.rpartition("/")[2]:
        raise click.UsageError("--all-tags goes with a name without a tag")
    wanted = Platform.parse(platform) if platform else None
    for one in push.tags_here(name) if all_tags else [name]:
        with Pushing(sys.stdout, quiet=quiet) as heard:
            push.push(one, platform=wanted, on_event=heard)
        if quiet:
            click.echo(str(Reference.parse(one)))
