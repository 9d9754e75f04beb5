"""`labrt export`: a container's root as a tar archive."""

from __future__ import annotations

import click

from labrt.cli import output, parameters


@click.command
@click.option("-o", "--output", "path", metavar="FILE", help="Write a file instead of stdout")
@parameters.container_argument()
def command(path: str | None, name: str) -> None:
    """Write a container's whole filesystem as a tar archive.

    Its image's files and its own, as the container sees them; volumes are left out. It may run meanwhile.

    \b
    Examples:
      labrt export -o root.tar nap
      labrt export nap | tar tv
    """  # noqa: D301
    from labrt.engine import archives

    container = parameters.get(name)
    with output.opened(path) as stream:
        archives.export(container, stream)
