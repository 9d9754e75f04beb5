"""`labrt port`: which ports of this machine lead to a container."""

from __future__ import annotations

import click

from labrt.cli import parameters
from labrt.errors import NotFound


@click.command
@parameters.container_argument("running")
@click.argument("port", metavar="[PORT[/PROTOCOL]]", required=False)
def command(name: str, port: str | None) -> None:
    """Show which ports of this machine lead to a container.

    \b
    Examples:
      labrt port web
      labrt port web 80
    """  # noqa: D301
    from labrt.engine import network_views

    found = network_views.published(parameters.get(name))
    if port is None:
        for inside, outer in found.items():
            for host, number in outer:
                click.echo(f"{inside} -> {_shown(host, number)}")
        return
    key = port if "/" in port else f"{port}/tcp"
    if key not in found:
        raise NotFound(f"no port leads to {key} of container {name}", remedy=f"`labrt port {name}` shows those that do")
    click.echo("\n".join(_shown(host, number) for host, number in found[key]))


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
