"""`labrt load`: images from a tar archive."""

from __future__ import annotations

import click

from labrt.cli import output


@click.command
@click.option("-i", "--input", "path", metavar="FILE", help="Read a file instead of stdin")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress")
def command(path: str | None, quiet: bool) -> None:
    """Take in images from an archive that `save` made.

    Archives of docker, podman and skopeo, in Docker's form or OCI's, plain, gzip or zstd. An image without a name is
    called localhost/loaded:<the first digits of its id>.

    \b
    Examples:
      labrt load -i busybox.tar
      podman save busybox | labrt load
    """  # noqa: D301
    from labrt.engine import archives

    with output.source(path) as stream:
        loaded = archives.load(stream)
    for image in loaded:
        if not quiet:
            click.echo(f"Loaded image: {image.reference.familiar}")
