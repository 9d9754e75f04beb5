"""`labrt logout`: forget who we are to a registry."""

from __future__ import annotations

import click


@click.command
@click.argument("server", metavar="[SERVER]", required=False, default="")
def command(server: str) -> None:
    """Forget a registry's login.

    SERVER is its host; without one it is Docker Hub. Only this machine forgets: a token stays good until its end.

    \b
    Examples:
      labrt logout
      labrt logout ghcr.io
    """  # noqa: D301
    from labrt.registry import login

    host = login.registry_host(server)
    if login.logout(server):
        click.echo(f"Removing login credentials for {host}")
    else:
        click.echo(f"Not logged in to {host}")
