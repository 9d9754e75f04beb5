"""`labrt images`: the images that are here, in docker's columns."""

from __future__ import annotations

import contextlib
import fnmatch
from datetime import datetime

import click

from labrt.cli import filters, parameters, show, templates
from labrt.engine.images import Images
from labrt.image.image import Image, human
from labrt.image.reference import Reference

FILTERS = ("dangling", "label", "reference")
HEADERS = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
           "CreatedAt": "CREATED AT", "Size": "SIZE"}  # fmt: skip
TABLE = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
WITH_DIGESTS = TABLE.replace("{{.ID}}", "{{.Digest}}\t{{.ID}}")


@click.command
@click.option("-a", "--all", "_", is_flag=True, help="Hide nothing; labrt hides nothing anyway")
@click.option("--digests", is_flag=True, help="Show the manifests' digests, too")
@click.option("-f", "--filter", "texts", metavar="KEY=VALUE", multiple=True,
              help=f"Show only what fits: {', '.join(FILTERS)}")  # fmt: skip
@click.option("--format", "template", metavar="TEMPLATE", default="table",
              help="json, or docker's '{{.Repository}}:{{.Tag}}'")  # fmt: skip
@click.option("--no-trunc", is_flag=True, help="Show everything in full length")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the ids")
@click.argument("name", metavar="[REPOSITORY[:TAG]]", required=False, shell_complete=parameters.image_names)
def command(
    _: bool, digests: bool, texts: tuple[str, ...], template: str, no_trunc: bool, quiet: bool, name: str | None
) -> None:
    """Show the images that are here.

    The size is that of the layers as they were sent: compressed.

    \b
    Examples:
      labrt images
      labrt images busybox
      labrt images -f 'reference=*:1' --format '{{.Repository}}:{{.Tag}} {{.Size}}'
      labrt images -q
    """  # noqa: D301
    wanted = filters.read(texts, FILTERS)
    images = [image for image in Images().all() if (name is None or _is_called(image, name)) and _fits(image, wanted)]
    if quiet:
        for id in dict.fromkeys(_id(image, no_trunc) for image in images):
            click.echo(id)
        return
    if template == "table":
        template = WITH_DIGESTS if digests else TABLE
    text = templates.render(template, [_row(image, no_trunc) for image in images], HEADERS)
    if text:
        click.echo(text)


def _fits(image: Image, wanted: filters.Filters) -> bool:
    return (
        filters.some(wanted, "dangling", lambda text: image.reference.is_unnamed is (text.lower() in ("true", "1")))
        and filters.some(wanted, "reference", lambda pattern: _matches(image, pattern))
        and filters.has_labels(dict(image.config.labels), wanted)
    )


def _matches(image: Image, pattern: str) -> bool:
    """Whether its name, with its tag or without, is one of those that a shell's pattern means."""
    familiar = image.reference._replace(digest=None).familiar
    return any(fnmatch.fnmatchcase(text, pattern) for text in (familiar, _repository(image)))


def _is_called(image: Image, name: str) -> bool:
    """Whether this is its name: with a tag exactly that one, without one any."""
    wanted = Reference.parse(name)
    if wanted.name != image.reference.name:
        return False
    tagged = ":" in name.rpartition("/")[2]
    return not tagged or str(wanted) == str(image.reference)


def _repository(image: Image) -> str:
    return image.reference.with_tag("x").familiar.removesuffix(":x")


def _row(image: Image, no_trunc: bool) -> dict[str, str]:
    return {
        "Repository": _repository(image),
        "Tag": image.reference.tag or "<none>",
        "Digest": str(image.reference.digest or image.descriptor.digest),
        "ID": _id(image, no_trunc),
        "CreatedSince": _created(image.config.created),
        "CreatedAt": image.config.created or "N/A",
        "Size": human(image.size),
    }


def _id(image: Image, no_trunc: bool) -> str:
    return str(image.id) if no_trunc else image.id.short


def _created(text: str | None) -> str:
    """When it was built. Images that are to be the same each time say nothing, or something that cannot be."""
    with contextlib.suppress(ValueError, OverflowError):
        return show.ago(datetime.fromisoformat(text or "").timestamp())
    return "N/A"
