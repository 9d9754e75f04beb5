"""`labrt history`: how an image came to be, in docker's columns."""

from __future__ import annotations

import contextlib
from datetime import datetime

import click

from labrt.cli import parameters, show

HEADERS = ("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT")


@click.command
@click.option("--no-trunc", is_flag=True, help="Show everything in full length")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the ids")
@click.argument("name", metavar="IMAGE", shell_complete=parameters.image_names)
def command(no_trunc: bool, quiet: bool, name: str) -> None:
    """Show the steps that an image was made in.

    The newest step first; the size is that of its layer as it was sent: compressed.

    \b
    Examples:
      labrt history busybox
      labrt history --no-trunc busybox
    """  # noqa: D301
    from labrt.engine.history import history
    from labrt.engine.images import Images
    from labrt.image.image import human

    image = Images().find(name)
    ids = iter([str(image.id) if no_trunc else image.id.short])  # only the last step is an image with an id
    rows = []
    for step in history(image):
        made = " ".join(step.created_by.split())
        shown = made if no_trunc else show.shortened(made, 45)
        rows.append([next(ids, "<missing>"), _ago(step.created), shown, human(step.size), step.comment])
    if quiet:
        click.echo("\n".join(row[0] for row in rows))
        return
    click.echo(show.table(HEADERS, rows))


def _ago(text: str) -> str:
    with contextlib.suppress(ValueError, OverflowError):
        return show.ago(datetime.fromisoformat(text).timestamp())
    return "N/A"
