"""`labrt spec`: the plan of a container, written in the formats of several kernels."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.option(
    "--as", "format", type=click.Choice(["oci", "jail", "jail.conf", "zone", "zonecfg"]), default="oci",
    show_default=True, help="Which format",
)  # fmt: skip
@click.argument("name", metavar="CONTAINER", shell_complete=parameters.container_names())
def command(format: str, name: str) -> None:
    """Write a container's plan as runc, a jail or a zone has it.

    Those for FreeBSD and Solaris are for reading: their kernels are elsewhere.

    \b
    Examples:
      labrt spec web                     config.json of the OCI runtime-spec
      labrt spec --as jail.conf web      for jail(8)
      labrt spec --as zonecfg web        for zonecfg(1M)
    """  # noqa: D301
    from labrt.engine.containers import Containers
    from labrt.runtime import formats

    container = Containers().get(name)
    click.echo(formats.write(container.runtime.config(), format, container.name), nl=False)
