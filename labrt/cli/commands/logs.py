"""`labrt logs`: what a container wrote, to the stream that it wrote it to."""

from __future__ import annotations

import contextlib
import sys

import click

from labrt.cli import parameters
from labrt.errors import ContainerNotFound, InvalidInput


@click.command
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until it ends")
@click.option("-n", "--tail", metavar="N", default="all", help="Show only the last N lines")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written")
@parameters.container_argument()
def command(follow: bool, tail: str, timestamps: bool, name: str) -> None:
    """Show what a container has written.

    \b
    Examples:
      labrt logs nap
      labrt logs -f --tail 10 web     The last ten lines, and what comes
      labrt logs -t web 2>/dev/null   Only what it wrote to stdout, with the time
    """  # noqa: D301
    entries = parameters.get(name).logs(tail=_lines(tail), follow=follow)
    with contextlib.suppress(*((ContainerNotFound,) if follow else ())):  # a `--rm` container that has ended
        for entry in entries:
            stream = sys.stderr if entry.stream == "stderr" else sys.stdout
            stream.buffer.write(f"{entry.time} {entry.text}".encode() if timestamps else entry.text.encode())
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
