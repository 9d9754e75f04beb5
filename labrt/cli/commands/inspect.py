"""`labrt inspect`: everything that is known of containers and images, as one JSON array."""

from __future__ import annotations

from typing import Any

import click

from labrt.cli import parameters
from labrt.errors import ContainerNotFound, ImageNotFound, InvalidInput, NotFound


def _names(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    return [*parameters.container_names()(ctx, param, begun), *parameters.image_names(ctx, param, begun)]


@click.command
@parameters.template_option("{{.State.Pid}}")
@click.option("--type", "kind", type=click.Choice(("container", "image")), help="Look for this type only")
@click.argument("names", metavar="NAME|ID [NAME|ID...]", nargs=-1, required=True, shell_complete=_names)
def command(template: str | None, kind: str | None, names: tuple[str, ...]) -> int:
    """Show all that is known of containers and images, as JSON.

    A JSON array, in the shape of docker's; a name is first looked for among containers, then among images. What the
    runtime was given, config.json, is in "OCI".

    \b
    Examples:
      labrt inspect nap
      labrt inspect -f '{{.State.Pid}} {{.Config.Image}}' nap
      labrt inspect --type image busybox
    """  # noqa: D301
    return parameters.inspect_each(names, lambda name: _look(name, kind), template)


def _look(name: str, kind: str | None) -> dict[str, Any]:
    if kind != "image":
        try:
            return parameters.get(name).inspect()
        except ContainerNotFound:
            if kind:
                raise
    from labrt.engine.images import Images
    from labrt.engine.inspect import image_to_json

    try:
        return image_to_json(Images().find(name))
    except (ImageNotFound, InvalidInput) as error:
        if kind:
            raise
        remedy = "`labrt ps -a` and `labrt images` list them"
        raise NotFound(f"no container and no image is called {name!r}", remedy=remedy) from error
