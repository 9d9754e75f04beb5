"""`labrt df`: what labrt takes on disk, in the columns of `docker system df`."""

from __future__ import annotations

import click

from labrt.cli import show

HEADERS = ("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")


@click.command
def command() -> None:
    """Show what takes how much of the disk.

    Images are their blobs as they were sent, layers are unpacked; `labrt prune --all` frees what is reclaimable.

    \b
    Examples:
      labrt df
    """  # noqa: D301
    from labrt.engine.prune import usage
    from labrt.image.image import human

    rows = []
    for each in usage():
        share = f" ({100 * each.reclaimable // each.size}%)" if each.size else ""
        rows.append([each.kind, str(each.total), str(each.active), human(each.size), human(each.reclaimable) + share])
    click.echo(show.table(HEADERS, rows))
