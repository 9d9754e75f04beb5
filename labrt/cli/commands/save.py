"""`labrt save`: images to a tar archive."""

from __future__ import annotations

import click

from labrt.cli import output, parameters


@click.command
@click.option("-o", "--output", "path", metavar="FILE", help="Write a file instead of stdout")
@click.option("--format", "form", type=click.Choice(("docker", "oci")), default="docker", help="The archive's form")
@click.option("--platform", metavar="PLATFORM", help="Save only this platform's image, like linux/arm64")
@click.argument("names", metavar="IMAGE [IMAGE...]", nargs=-1, required=True, shell_complete=parameters.image_names)
def command(path: str | None, form: str, platform: str | None, names: tuple[str, ...]) -> None:
    """Write images into one tar archive, to stdout or a file.

    What docker, podman and skopeo load. Docker's form is an OCI layout, too; OCI's form is that alone.

    \b
    Examples:
      labrt save -o busybox.tar busybox
      labrt save busybox | podman load
      labrt save --format oci -o all.tar busybox alpine:3.20
    """  # noqa: D301
    from labrt.engine import archives
    from labrt.image.platform import Platform

    with output.opened(path) as stream:
        archives.save(names, stream, form=form, platform=Platform.parse(platform) if platform else None)
