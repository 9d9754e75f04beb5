"""`labrt ps`: the containers, in docker's columns."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from typing import Any

import click

from labrt.cli import filters, show, templates
from labrt.engine import summary
from labrt.engine.containers import Container, Containers
from labrt.errors import ContainerNotFound, InvalidInput, LabrtError

FILTERS = ("ancestor", "exited", "health", "id", "label", "name", "status")
TABLE = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
HEADERS = {"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "Status": "STATUS",
           "Ports": "PORTS", "Names": "NAMES", "State": "STATE", "Labels": "LABELS"}  # fmt: skip


@click.command
@click.option("-a", "--all", "everything", is_flag=True, help="Show those that do not run, too")
@click.option("-f", "--filter", "texts", metavar="KEY=VALUE", multiple=True,
              help=f"Show only what fits: {', '.join(FILTERS)}")  # fmt: skip
@click.option("--format", "template", metavar="TEMPLATE", default="table",
              help="json, or docker's '{{.Names}} {{.Status}}'")  # fmt: skip
@click.option("-n", "--last", metavar="N", type=click.IntRange(1), help="Show the N that were created last")
@click.option("-l", "--latest", is_flag=True, help="Show the one that was created last")
@click.option("--no-trunc", is_flag=True, help="Show everything in full length")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the ids")
def command(
    everything: bool, texts: tuple[str, ...], template: str, last: int | None, latest: bool, no_trunc: bool, quiet: bool
) -> None:
    """Show the containers.

    \b
    Examples:
      labrt ps                           Those that run
      labrt ps -a                        All, with how they ended
      labrt ps -f status=exited --format '{{.Names}}: {{.Status}}'
      labrt rm -f $(labrt ps -aq)        Remove every one
    """  # noqa: D301
    wanted = filters.read(texts, FILTERS)
    _check_patterns(wanted.get("name", ()))
    most = 1 if latest else last
    Containers().mend()
    rows = []
    for container in Containers().list(all=everything or bool(most) or bool({"status", "exited"} & wanted.keys())):
        with contextlib.suppress(ContainerNotFound):  # removed just now
            if _fits(container, wanted):
                rows.append(_row(container, no_trunc))
    if most:
        rows = rows[:most]
    if quiet:
        template = "{{.ID}}"
    text = templates.render(TABLE if template == "table" else template, rows, HEADERS)
    if rows or template == "table":
        click.echo(text)


def _fits(container: Container, wanted: filters.Filters) -> bool:
    if not wanted:
        return True
    record = container.record()
    health = container.health
    return (
        filters.some(wanted, "id", container.id.startswith)
        and filters.some(wanted, "name", lambda pattern: re.search(pattern, record["name"]))
        and filters.some(wanted, "status", container.status.__eq__)
        and filters.some(wanted, "health", (health["Status"] if health else "none").__eq__)
        and filters.some(wanted, "exited", lambda code: str(container.state.exit_code) == code and not container.up)
        and filters.some(wanted, "ancestor", lambda image: _is_of(container, image))
        and filters.has_labels(_labels(record), wanted)
    )


def _labels(record: dict[str, Any]) -> dict[str, str]:
    return (record.get("Config") or {}).get("Labels") or {}


def _check_patterns(patterns: Sequence[str]) -> None:
    """Raise InvalidInput for a name that is no regular expression: that is how docker looks for names."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InvalidInput(f"--filter name={pattern}: {error}", remedy="it is a regular expression") from None


def _is_of(container: Container, image: str) -> bool:
    from labrt.engine.images import Images

    with contextlib.suppress(LabrtError):
        return Images().find(image).id == container.image_id
    return False


def _row(container: Container, no_trunc: bool) -> dict[str, str]:
    record = container.record()
    command = summary.command(record)
    return {
        "ID": container.id if no_trunc else container.id[:12],
        "Image": record["image"],
        "Command": json.dumps(command if no_trunc else show.shortened(command, 20), ensure_ascii=False),
        "RunningFor": show.ago(record["created"]),
        "Status": summary.status(container),
        "Ports": ports(container),
        "Names": record["name"],
        "State": container.status,
        "Labels": ",".join(f"{key}={value}" for key, value in _labels(record).items()),
    }


def ports(container: Container) -> str:
    """Say which ports lead to it, as docker does: 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp."""
    from labrt.engine import network_views

    found = network_views.published(container).items()
    pairs = ((f"[{host}]" if ":" in host else host, port, inside) for inside, outer in found for host, port in outer)
    return ", ".join(f"{host}:{port}->{inside}" for host, port, inside in pairs)
