"""`labrt reset`: take everything down, running containers too."""

from __future__ import annotations

import sys

import click


@click.command
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all images and their layers, too")
@click.option("-f", "--force", is_flag=True, help="Do not ask first")
def command(everything: bool, force: bool) -> int:
    """Take down everything that labrt made and that is still there.

    Containers with what they wrote, their processes, cgroups and mounts: all that is in labrt's ledger, also after a
    crash. Images stay, unless --all; volumes stay. Asks first when containers run and somebody is there to answer.

    \b
    Examples:
      labrt reset
      labrt reset --all --force
    """  # noqa: D301
    from labrt.engine.containers import Containers
    from labrt.engine.images import Images
    from labrt.lab.ledger import reset

    running = [container.name for container in Containers().list()]
    if running and not force and sys.stdin.isatty() and not _agreed(running):
        return 1
    done = reset()
    click.echo(str(done))
    if everything:
        images = Images()
        for image in images.all():
            click.echo("\n".join(images.remove(str(image.reference), force=True)))
    return 0 if done.ok else 1


def _agreed(running: list[str]) -> bool:
    return click.confirm(f"Containers that run will be killed: {', '.join(running)}. Go on?", err=True)
