"""`labrt commit`: an image of a container's changes."""

from __future__ import annotations

import click

from labrt.cli import parameters


@click.command
@click.option("-a", "--author", metavar="TEXT", default="", help="Who made it: 'Ada <ada@example.org>'")
@click.option("-c", "--change", "changes", metavar="INSTRUCTION", multiple=True, help="Apply a Dockerfile instruction")
@click.option("-m", "--message", metavar="TEXT", default="", help="What to say of it in the history")
@click.option("-p", "--pause", metavar="BOOL", type=bool, is_flag=False, flag_value=True, default=True,
              help="Freeze it meanwhile, if it runs (default true; --pause=false)")  # fmt: skip
@parameters.container_argument()
@click.argument("reference", metavar="[REPOSITORY[:TAG]]", required=False)
def command(
    author: str, changes: tuple[str, ...], message: str, pause: bool, name: str, reference: str | None
) -> None:
    """Make an image of what a container changed.

    The container's image, and one more layer with what it wrote. One that runs is paused meanwhile. Prints the
    image's id.

    \b
    Examples:
      labrt commit nap mine:1
      labrt commit -c 'CMD ["httpd", "-f"]' -m "a server" nap web
    """  # noqa: D301
    from labrt.engine.commit import commit

    image = commit(parameters.get(name), reference, author=author, message=message, change=changes, pause=pause)
    click.echo(str(image.id))
