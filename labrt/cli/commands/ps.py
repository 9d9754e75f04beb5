"""`labrt ps`: the containers, in docker's columns."""

from __future__ import annotations

import contextlib
import json

import click

from labrt.cli import show
from labrt.engine import summary
from labrt.engine.containers import Container, Containers
from labrt.errors import ContainerNotFound

HEADERS = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")


@click.command
@click.option("-a", "--all", "everything", is_flag=True, help="Show those that do not run, too")
@click.option("--no-trunc", is_flag=True, help="Show everything in full length")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the ids")
def command(everything: bool, no_trunc: bool, quiet: bool) -> None:
    """Show the containers.

    \b
    Examples:
      labrt ps                       Those that run
      labrt ps -a                    All, with how they ended
      labrt rm -f $(labrt ps -aq)    Remove every one
    """  # noqa: D301
    Containers().mend()
    containers = Containers().list(all=everything)
    if quiet:
        for container in containers:
            click.echo(container.id if no_trunc else container.id[:12])
        return
    rows = []
    for container in containers:
        with contextlib.suppress(ContainerNotFound):  # removed just now
            rows.append(_row(container, no_trunc))
    click.echo(show.table(HEADERS, rows))


def _row(container: Container, no_trunc: bool) -> list[str]:
    record = container.record()
    command = summary.command(record)
    return [
        container.id if no_trunc else container.id[:12],
        record["image"],
        json.dumps(command if no_trunc else show.shortened(command, 20), ensure_ascii=False),
        show.ago(record["created"]),
        summary.status(container),
        ports(container),
        record["name"],
    ]


def ports(container: Container) -> str:
    """Say which ports lead to it, as docker does: 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp."""
    from labrt.engine import network_views

    found = network_views.published(container).items()
    pairs = ((f"[{host}]" if ":" in host else host, port, inside) for inside, outer in found for host, port in outer)
    return ", ".join(f"{host}:{port}->{inside}" for host, port, inside in pairs)
