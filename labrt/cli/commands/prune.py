"""`labrt prune`: remove what nobody needs."""

from __future__ import annotations

from collections.abc import Sequence

import click

GOES = ("all stopped containers", "all networks that no container is in",
        "all layers, blobs and partial downloads that nothing leads to",
        "all build cache that no image has")  # fmt: skip
GOES_TOO = "all images without a container made from them, and all build cache"


@click.command
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused images, not just what has no name")
@click.option("-f", "--force", is_flag=True, help="Do not ask first")
def command(everything: bool, force: bool) -> int:
    """Remove what nothing uses.

    Stopped containers, networks without one, and what no image, no container and no pull in progress needs. While
    somebody pulls, nothing is removed.

    \b
    Examples:
      labrt prune
      labrt prune --all --force
    """  # noqa: D301
    from labrt.engine.prune import prune
    from labrt.image.image import human

    if not force:
        click.echo("WARNING! This will remove:")
        for line in (*GOES, *((GOES_TOO,) if everything else ())):
            click.echo(f"  - {line}")
        if not click.confirm("\nAre you sure you want to continue?"):
            return 1
    gone = prune(all=everything)
    _tell("Deleted Containers:", gone.containers)
    _tell("Deleted Networks:", gone.networks)
    _tell("Deleted Images:", [*(f"untagged: {name}" for name in gone.images),
                              *(f"deleted: {digest}" for digest in (*gone.layers, *gone.blobs))])  # fmt: skip
    _tell("Deleted build cache objects:", gone.caches)
    click.echo(f"Total reclaimed space: {human(gone.freed)}")
    return 0


def _tell(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo("\n".join((title, *lines, "")))
