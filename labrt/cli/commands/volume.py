"""`labrt volume`: make, show and remove volumes."""

from __future__ import annotations

import click

from labrt.cli import parameters, show
from labrt.errors import LabrtError


def _names(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    from labrt.engine.volumes import Volumes

    try:
        return [volume.name for volume in Volumes().list() if volume.name.startswith(begun)]
    except (LabrtError, OSError):  # completion is silent
        return []


_volumes = click.argument("names", metavar="VOLUME [VOLUME...]", nargs=-1, required=True, shell_complete=_names)


@click.group
def command() -> None:
    """Make, show and remove volumes.

    A volume is a directory that stays when its containers go; `labrt run -v NAME:/path` makes it and mounts it there.

    \b
    Examples:
      labrt volume ls
      labrt run --rm -v data:/data busybox touch /data/stays
      labrt volume rm data
    """  # noqa: D301


@command.command
@click.argument("name", metavar="[VOLUME]", required=False)
def create(name: str | None) -> None:
    """Make a volume, and print its name; without one, of 64 digits."""
    from labrt.engine.volumes import Volumes

    click.echo(Volumes().create(name).name)


@command.command("ls")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the names")
def list_(quiet: bool) -> None:
    """Show the volumes."""
    from labrt.engine.volumes import Volumes

    names = [volume.name for volume in Volumes().list()]
    if not quiet:
        click.echo(show.table(("DRIVER", "VOLUME NAME"), [("local", name) for name in names]))
    elif names:
        click.echo("\n".join(names))


@command.command
@parameters.template_option("{{.Mountpoint}}")
@_volumes
def inspect(template: str | None, names: tuple[str, ...]) -> int:
    """Show all that is known of volumes, as JSON."""
    from labrt.engine.volumes import Volumes

    return parameters.inspect_each(names, lambda name: Volumes().get(name).inspect(), template)


@command.command
@click.option("-f", "--force", is_flag=True, help="Let it be no error if one is not there")
@_volumes
def rm(force: bool, names: tuple[str, ...]) -> int:
    """Remove volumes, with all that is in them."""
    from labrt.engine.volumes import Volumes

    return parameters.remove_each(names, Volumes().remove, force=force)


@command.command
@click.option("-a", "--all", "everything", is_flag=True, help="Remove those that have a name, too")
@click.option("-f", "--force", is_flag=True, help="Do not ask first")
def prune(everything: bool, force: bool) -> int:
    """Remove the anonymous volumes that no container has."""
    from labrt.engine.volumes import Volumes
    from labrt.image.image import human

    what = "all volumes" if everything else "all anonymous volumes"
    if not force and not parameters.agreed(f"This will remove {what} that no container has, with what is in them."):
        return 1
    gone, freed = Volumes().prune(all=everything)
    if gone:
        click.echo("\n".join(("Deleted Volumes:", *gone, "")))
    click.echo(f"Total reclaimed space: {human(freed)}")
    return 0
