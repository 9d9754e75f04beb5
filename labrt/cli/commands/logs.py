"""`labrt logs`: what a container wrote, to the stream that it wrote it to."""

from __future__ import annotations

import contextlib
import sys

import click

from labrt.cli import parameters
from labrt.engine import moments
from labrt.errors import ContainerNotFound, InvalidInput


@click.command
@click.option("--details", is_flag=True, help="Leave room for attributes of log drivers: a space")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until it ends")
@click.option("-n", "--tail", metavar="N", default="all", help="Show only the last N lines")
@click.option("--since", metavar="TIME", help="Show only what is not older: 10m, 2026-11-24T05:22:13")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written")
@click.option("--until", metavar="TIME", help="Show only what is not newer")
@parameters.container_argument()
def command(
    details: bool, follow: bool, tail: str, since: str | None, timestamps: bool, until: str | None, name: str
) -> None:
    """Show what a container has written.

    \b
    Examples:
      labrt logs nap
      labrt logs -f --tail 10 web     The last ten lines, and what comes
      labrt logs --since 10m web      What it wrote within the last ten minutes
      labrt logs -t web 2>/dev/null   Only what it wrote to stdout, with the time
    """  # noqa: D301
    first, last = (moments.parse(text) if text else None for text in (since, until))
    entries = parameters.get(name).logs(tail=_lines(tail), follow=follow, since=first, until=last)
    with contextlib.suppress(*((ContainerNotFound,) if follow else ())):  # a `--rm` container that has ended
        for entry in entries:
            stream = sys.stderr if entry.stream == "stderr" else sys.stdout
            before = (f"{entry.time} " if timestamps else "") + (" " if details else "")
            stream.buffer.write(f"{before}{entry.text}".encode())
            if follow:
                stream.flush()


def _lines(text: str) -> int | None:
    """Read `--tail`: a number, or `all`, which anything below zero means, too."""
    if text == "all":
        return None
    try:
        return int(text) if int(text) >= 0 else None
    except ValueError:
        remedy = "--tail 10 shows ten lines"
        raise InvalidInput(f"--tail {text!r} is neither a number nor 'all'", remedy=remedy) from None
