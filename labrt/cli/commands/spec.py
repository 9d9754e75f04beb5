"""`labrt spec`: the plan of a container, written in the formats of several kernels."""

from __future__ import annotations

import os
from typing import Any

import click

from labrt.cli import parameters


@click.command
@click.option(
    "--as", "format", type=click.Choice(["oci", "jail", "jail.conf", "zone", "zonecfg"]), default="oci",
    show_default=True, help="Which format",
)  # fmt: skip
@click.argument("name", metavar="CONTAINER|IMAGE", shell_complete=parameters.container_names())
def command(format: str, name: str) -> None:
    """Write a container's plan as runc, a jail or a zone has it.

    Those for FreeBSD and Solaris are for reading: their kernels are elsewhere. Of an image it is the plan of the
    container that `labrt run IMAGE` would make.

    \b
    Examples:
      labrt spec web                     config.json of the OCI runtime-spec
      labrt spec --as jail.conf web      for jail(8)
      labrt spec --as zonecfg busybox    for zonecfg(1M)
    """  # noqa: D301
    from labrt.engine.containers import Containers
    from labrt.errors import ContainerNotFound
    from labrt.runtime import formats

    try:
        container = Containers().get(name)
    except ContainerNotFound:
        config, bundle, name = *_of_image(name), "new"
    else:
        config, bundle, name = container.runtime.config(), container.runtime.bundle, container.name
    if format != "oci":  # config.json lies in the bundle, and its paths begin there
        config["root"]["path"] = os.path.join(bundle, config["root"]["path"])
    click.echo(formats.write(config, format, name), nl=False)


def _of_image(name: str) -> tuple[dict[str, Any], str]:
    from labrt import paths
    from labrt.engine import options
    from labrt.engine.images import Images

    image = Images().find(name)
    directory = os.path.join(paths.default().containers, "new")
    return options.to_config(options.Options(name), image.config, "new", directory), directory
