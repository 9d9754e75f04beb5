"""`labrt generate`: containers as they stand, written for Kubernetes or for Compose."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from labrt.cli import parameters
from labrt.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from labrt.engine.generate import Written

_file = click.option("-f", "--filename", metavar="FILE", default="-", help="Write it into this file, which must be new")


def _containers_and_volumes(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    from labrt.engine.volumes import Volumes

    volumes = [volume.name for volume in Volumes().list() if volume.name.startswith(begun) and not volume.anonymous]
    return [*parameters.container_names()(ctx, param, begun), *volumes]


@click.group
def command() -> None:
    """Write containers as Kubernetes or Compose have them.

    What the other side has no word for is told on stderr, and in the file's first lines. Variables are written as they
    are: look for secrets before you hand the file on.

    \b
    Examples:
      labrt generate kube web db > pod.yaml
      labrt generate compose web -f compose.yaml
    """  # noqa: D301


@command.command
@_file
@click.argument("names", metavar="CONTAINER [CONTAINER|VOLUME...]", nargs=-1, required=True,
                shell_complete=_containers_and_volumes)  # fmt: skip
def kube(filename: str, names: tuple[str, ...]) -> None:
    """Write containers as one Pod, and volumes as the claims of it.

    Containers of a pod share their network. `kubectl apply` reads the file, and `podman play kube`, which needs no
    claims.

    \b
    Examples:
      labrt generate kube web
      labrt generate kube web db data -f pod.yaml
    """  # noqa: D301
    from labrt.engine import generate

    _hand_out(generate.kube(names), filename)


@command.command
@_file
@parameters.containers_argument()
def compose(filename: str, names: tuple[str, ...]) -> None:
    """Write containers as the services of a compose file.

    Volumes keep their names, and so their content; networks are made anew. `docker compose` and docker-compose read it.

    \b
    Examples:
      labrt generate compose web db -f compose.yaml
      labrt rm -f web db
      docker-compose -f compose.yaml up -d
    """  # noqa: D301
    from labrt.engine import generate

    _hand_out(generate.compose(names), filename)


def _hand_out(written: Written, filename: str) -> None:
    """Print or write it. A file is ours alone to read, for there may be secrets in it."""
    if filename == "-":
        click.echo(written.text, nl=False)
    else:
        try:
            fd = os.open(filename, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise Conflict(f"{filename} is there already", remedy="name another file, or remove it") from None
        except OSError as error:
            remedy = "a file in a directory that is there"
            raise InvalidInput(f"-f {filename}: {error.strerror}", remedy=remedy) from None
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(written.text)
    for line in written.left_out:
        click.echo(f"left out: {line}", err=True)
