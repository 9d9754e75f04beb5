"""`labrt rmi`: remove images."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.option("-f", "--force", is_flag=True, help="Remove it also while a container is made from it")
@click.argument(
    "names", metavar="IMAGE [IMAGE...]", nargs=-1, required=True, shell_complete=parameters.image_names
)  # fmt: skip
def command(force: bool, names: tuple[str, ...]) -> int:
    """Remove images.

    \b
    Examples:
      labrt rmi busybox
      labrt rmi -f $(labrt images -q)
    """  # noqa: D301
    from labrt.engine.images import Images

    return parameters.each(names, lambda name: "\n".join(Images().remove(name, force=force)))
