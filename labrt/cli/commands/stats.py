"""`labrt stats`: what containers use, once or again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click

from labrt.cli import parameters, templates
from labrt.engine.containers import Container, Containers
from labrt.engine.stats import Sample
from labrt.errors import Conflict, ContainerNotFound, NotSupported
from labrt.image.image import human

HEADERS = {"ID": "CONTAINER ID", "Container": "CONTAINER", "Name": "NAME", "CPUPerc": "CPU %",
           "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O",
           "PIDs": "PIDS"}  # fmt: skip
TABLE = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
SHORT = 0.5  # seconds between the two looks that a rate takes
EVERY = 1.0
_HOME_AND_CLEAR = "\033[H\033[J"


@click.command
@click.option("-a", "--all", "everything", is_flag=True, help="Show those that do not run, too")
@click.option("--format", "template", metavar="TEMPLATE", default="table",
              help="json, or docker's '{{.Name}} {{.CPUPerc}}'")  # fmt: skip
@click.option("--no-stream", is_flag=True, help="Look once")
@click.option("--no-trunc", is_flag=True, help="Show everything in full length")
@click.argument("names", metavar="[CONTAINER...]", nargs=-1, shell_complete=parameters.container_names(("running",)))
def command(everything: bool, template: str, no_stream: bool, no_trunc: bool, names: tuple[str, ...]) -> None:
    """Show what containers use of CPUs, memory, network and disks.

    Of those that run, if none is named; anew each second until Ctrl-C.

    \b
    Examples:
      labrt stats
      labrt stats --no-stream --format '{{.Name}}: {{.MemUsage}}' web
    """  # noqa: D301
    template = TABLE if template == "table" else template
    named = [parameters.get(name) for name in names]
    before: dict[str, Sample | None] = {}
    looked = False
    while True:
        containers = named or Containers().list(all=everything)
        now = {container.id: _look(container) for container in containers}
        if looked or not containers:
            rows = [_row(one, now[one.id], before.get(one.id), no_trunc) for one in containers]
            text = templates.render(template, [row for row in rows if row], HEADERS)
            click.echo(text if no_stream or not sys.stdout.isatty() else f"{_HOME_AND_CLEAR}{text}")
            if no_stream:
                return
        time.sleep(EVERY if looked else SHORT)
        before, looked = now, True


def _look(container: Container) -> Sample | None:
    try:
        return container.stats()
    except (Conflict, ContainerNotFound, NotSupported):
        return None


def _row(container: Container, now: Sample | None, before: Sample | None, no_trunc: bool) -> dict[str, str]:
    try:
        name = container.name
    except ContainerNotFound:
        return {}
    id = container.id if no_trunc else container.id[:12]
    row = dict.fromkeys(HEADERS, "--") | {"ID": id, "Container": name, "Name": name}
    if now is None:
        return row
    return row | {
        "CPUPerc": f"{now.cpu_percent(before) if before else 0.0:.2f}%",
        "MemUsage": f"{_binary(now.memory)} / {_binary(now.limit)}",
        "MemPerc": f"{now.memory_percent:.2f}%",
        "NetIO": _pair(now.received, now.sent),
        "BlockIO": _pair(now.read, now.written),
        "PIDs": str(now.pids),
    }


def _pair(*sizes: int) -> str:
    return " / ".join(map(human, sizes))


def _binary(size: int) -> str:
    """Write it in powers of 1024, four digits: 3.875MiB. Limits of memory are given so."""
    value = float(size)
    units: Sequence[str] = ("B", "KiB", "MiB", "GiB")
    for unit in units:
        if value < 1024:
            return f"{value:.4g}{unit}"
        value /= 1024
    return f"{value:.4g}TiB"
