"""`labrt pull`: bring an image here."""

from __future__ import annotations

import sys

import click

from labrt.cli import parameters
from labrt.cli.pulling import Pulling
from labrt.engine.images import Images
from labrt.image.platform import Platform
from labrt.image.reference import DEFAULT_TAG, Reference


@click.command
@click.option("--platform", metavar="OS/ARCH", help="Which platform's image to take where there are several")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress")
@click.argument("name", metavar="NAME[:TAG|@DIGEST]", shell_complete=parameters.image_names)
def command(platform: str | None, quiet: bool, name: str) -> None:
    """Fetch an image from a registry.

    Ctrl-C stops it; the next pull goes on where this one was.

    \b
    Examples:
      labrt pull alpine
      labrt pull --platform linux/arm64 debian:12
      labrt pull localhost:5000/team/app:1.2
    """  # noqa: D301
    reference = Reference.parse(name)
    if not quiet and reference.tag == DEFAULT_TAG and ":" not in name.rpartition("/")[2]:
        click.echo(f"Using default tag: {DEFAULT_TAG}")
    wanted = Platform.parse(platform) if platform else None
    with Pulling(sys.stdout, quiet=quiet) as heard:
        image = Images().pull(name, platform=wanted, on_event=heard)
    click.echo(str(image.reference))
