"""`labrt import`: an image from a root file system in a tar archive."""

from __future__ import annotations

import click

from labrt.cli import output


@click.command
@click.option("-c", "--change", "changes", metavar="INSTRUCTION", multiple=True, help="Apply a Dockerfile instruction")
@click.option("-m", "--message", metavar="TEXT", default="", help="What to say of it in the history")
@click.option("--platform", metavar="PLATFORM", help="Say for which platform its programs are, like linux/arm64")
@click.argument("path", metavar="FILE|-", type=click.Path(allow_dash=True))
@click.argument("reference", metavar="[REPOSITORY[:TAG]]", required=False)
def command(
    changes: tuple[str, ...], message: str, platform: str | None, path: str, reference: str | None
) -> None:
    """Make an image of a tar archive of a filesystem.

    The archive, plain, gzip or zstd, becomes the image's one layer. Prints the image's id.

    \b
    Examples:
      labrt export nap | labrt import - mine:1
      labrt import -c 'CMD ["/hello"]' hello.tar hello
    """  # noqa: D301
    from labrt.engine import archives
    from labrt.engine import changes as instructions
    from labrt.image.platform import Platform

    config = instructions.apply({}, changes)
    where = Platform.parse(platform) if platform else None
    with output.source(path) as stream:
        image = archives.import_root(
            stream, reference, message=message or f"Imported from {path}", config=config, platform=where
        )
    click.echo(str(image.id))
