"""`labrt images`: the images that are here, in docker's columns."""

from __future__ import annotations

import contextlib
from datetime import datetime

import click

from labrt.cli import parameters, show
from labrt.engine.images import Images
from labrt.image.image import Image, human
from labrt.image.reference import Reference

HEADERS = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE")


@click.command
@click.option("--digests", is_flag=True, help="Show the manifests' digests, too")
@click.option("--no-trunc", is_flag=True, help="Show everything in full length")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the ids")
@click.argument("name", metavar="[REPOSITORY[:TAG]]", required=False, shell_complete=parameters.image_names)
def command(digests: bool, no_trunc: bool, quiet: bool, name: str | None) -> None:
    """Show the images that are here.

    The size is that of the layers as they were sent: compressed.

    \b
    Examples:
      labrt images
      labrt images busybox
      labrt images -q
    """  # noqa: D301
    images = [image for image in Images().all() if name is None or _is_called(image, name)]
    if quiet:
        for id in dict.fromkeys(_id(image, no_trunc) for image in images):
            click.echo(id)
        return
    headers = (*HEADERS[:2], *(("DIGEST",) if digests else ()), *HEADERS[2:])
    click.echo(show.table(headers, [_row(image, digests, no_trunc) for image in images]))


def _is_called(image: Image, name: str) -> bool:
    """Whether this is its name: with a tag exactly that one, without one any."""
    wanted = Reference.parse(name)
    if wanted.name != image.reference.name:
        return False
    tagged = ":" in name.rpartition("/")[2]
    return not tagged or str(wanted) == str(image.reference)


def _row(image: Image, digests: bool, no_trunc: bool) -> list[str]:
    name = image.reference.with_tag("x").familiar.removesuffix(":x")
    digest = [str(image.reference.digest or image.descriptor.digest)] if digests else []
    return [
        name,
        image.reference.tag or "<none>",
        *digest,
        _id(image, no_trunc),
        _created(image.config.created),
        human(image.size),
    ]


def _id(image: Image, no_trunc: bool) -> str:
    return str(image.id) if no_trunc else image.id.short


def _created(text: str | None) -> str:
    """When it was built. Images that are to be the same each time say nothing, or something that cannot be."""
    with contextlib.suppress(ValueError, OverflowError):
        return show.ago(datetime.fromisoformat(text or "").timestamp())
    return "N/A"
