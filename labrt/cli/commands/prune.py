"""`labrt prune`: remove what nobody needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from labrt.engine.prune import Pruned

GOES = ("all stopped containers", "all networks that no container is in", "all images without a name",
        "all layers, blobs and partial downloads that nothing leads to",
        "all build cache that no image has")  # fmt: skip
VOLUMES = "all anonymous volumes that no container has"
GOES_TOO = "all images without a container made from them, and all build cache"


@click.command
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused images, not just what has no name")
@click.option("-f", "--force", is_flag=True, help="Do not ask first")
@click.option("--volumes", is_flag=True, help="Remove the anonymous volumes that no container has, too")
def command(everything: bool, force: bool, volumes: bool) -> int:
    """Remove what nothing uses.

    Stopped containers, networks without one, images without a name, and what no image, no container and no pull in
    progress needs. While somebody pulls, nothing is removed. Volumes are data: they stay, but with --volumes those that
    nobody gave a name.

    \b
    Examples:
      labrt prune
      labrt prune --all --force
    """  # noqa: D301
    from labrt.engine.prune import prune
    from labrt.engine.volumes import Volumes

    if not force:
        click.echo("WARNING! This will remove:")
        for line in (*GOES, *((GOES_TOO,) if everything else ()), *((VOLUMES,) if volumes else ())):
            click.echo(f"  - {line}")
        if not click.confirm("\nAre you sure you want to continue?"):
            return 1
    gone = prune(all=everything)
    names, freed = Volumes().prune() if volumes else ((), 0)
    gone.freed += freed
    _tell("Deleted Volumes:", names)
    tell(gone)
    return 0


def tell(gone: Pruned) -> None:
    """Print what went."""
    from labrt.image.image import human

    _tell("Deleted Containers:", gone.containers)
    _tell("Deleted Networks:", gone.networks)
    _tell("Deleted Images:", [*(f"untagged: {name}" for name in gone.images),
                              *(f"deleted: {digest}" for digest in (*gone.layers, *gone.blobs))])  # fmt: skip
    _tell("Deleted build cache objects:", gone.caches)
    click.echo(f"Total reclaimed space: {human(gone.freed)}")


def _tell(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo("\n".join((title, *lines, "")))
