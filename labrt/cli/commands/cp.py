"""`labrt cp`: files between a container and this machine."""

from __future__ import annotations

import os

import click

from labrt.cli import output, parameters
from labrt.errors import InvalidInput


@click.command
@click.option("-a", "--archive", is_flag=True, help="Keep uid and gid")
@click.option("-L", "--follow-link", is_flag=True, help="Copy what a symbolic link leads to")
@click.option("-q", "--quiet", is_flag=True, help="Accepted; there is nothing to silence")
@click.argument("source", metavar="CONTAINER:SRC|SRC|-")
@click.argument("destination", metavar="DEST|-|CONTAINER:DEST")
def command(archive: bool, follow_link: bool, quiet: bool, source: str, destination: str) -> None:
    """Copy files between a container and this machine.

    It may run or not. What is copied into a directory keeps its name; DIR/. is what is in DIR. - is a tar archive, on
    standard input or output.

    \b
    Examples:
      labrt cp web:/etc/nginx .
      labrt cp site/. web:/srv
      labrt cp web:/var/log - | tar t
    """  # noqa: D301
    from labrt.engine import copy

    (there, path), (here, target) = _split(source), _split(destination)
    if there and here:
        raise InvalidInput("from one container to another is not possible", remedy="labrt cp A:/x - | labrt cp - B:/y")
    if there:
        container = parameters.get(there)
        if target == "-":
            with output.opened(None) as stream:
                copy.get(container, path, stream, follow=follow_link)
        else:
            copy.copy_out(container, path, target, follow=follow_link, owners=archive)
    elif here:
        container = parameters.get(here)
        if path == "-":
            with output.source("-") as stream:
                copy.put(container, target, stream, owners=archive)
        else:
            copy.copy_in(container, path, target, follow=follow_link, owners=archive)
    else:
        raise click.UsageError("one of the two must be CONTAINER:PATH")


def _split(text: str) -> tuple[str, str]:
    """Return container and path; no container for a local path, which may have a colon if it begins with / or ."""
    if text.startswith(("/", ".")) or ":" not in text:
        return "", text
    container, _, path = text.partition(":")
    return container, path or os.sep
