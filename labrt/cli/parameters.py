"""Options and arguments that several commands share, and tab completion of names.

A command takes every container that it is given, goes on after one that it cannot do, and says so at the end: `each`.
The groups of commands, `volume` and `network`, do so by `remove_each` and `inspect_each`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from labrt.cli import exitcodes
from labrt.cli.typed import Option
from labrt.errors import InvalidInput, LabrtError, NotFound

if TYPE_CHECKING:
    from labrt.engine.containers import Container

F = TypeVar("F", bound=Callable[..., Any])
# What comes after IMAGE or CONTAINER is the program's, whatever it looks like.
ENDS_AT_FIRST_ARGUMENT = {"allow_interspersed_args": False}


def container_names(statuses: Sequence[str] = ()) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Make a completer that offers the names of containers, of these statuses only (none given: of all)."""

    def complete(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
        from labrt.engine.containers import Containers

        try:
            found = [(one.name, one.status) for one in Containers().list(all=True)]
        except (LabrtError, OSError):  # completion is silent
            return []
        return [name for name, status in found if name.startswith(begun) and (not statuses or status in statuses)]

    return complete


def image_names(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """Offer the names of images that are here. Without `:latest`: a shell takes a colon for the end of a word."""
    from labrt.engine.images import Images
    from labrt.image.reference import Reference

    try:
        names = [Reference.parse(name).familiar.removesuffix(":latest") for name in Images().layout.references()]
    except (LabrtError, OSError):
        return []
    return [name for name in names if name.startswith(begun)]


def containers_argument(*statuses: str) -> Callable[[F], F]:
    """One or more containers, by name, id, or the beginning of an id."""
    return click.argument(
        "names", metavar="CONTAINER [CONTAINER...]", nargs=-1, required=True, shell_complete=container_names(statuses)
    )


def container_argument(*statuses: str) -> Callable[[F], F]:
    """One container."""
    return click.argument("name", metavar="CONTAINER", shell_complete=container_names(statuses))


def command_argument(required: bool = False) -> Callable[[F], F]:
    """Everything else: the command and its arguments."""
    metavar = "COMMAND [ARG...]" if required else "[COMMAND] [ARG...]"
    return click.argument("words", metavar=metavar, nargs=-1, required=required, type=click.UNPROCESSED)


def network_names(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """Offer the names of networks, and what stands in their place."""
    from labrt.engine.networks import Networks

    try:
        names = [network.name for network in Networks().list()]
    except (LabrtError, OSError):
        names = ["bridge"]
    return [name for name in ("none", "host", *names) if name.startswith(begun)]


def image_argument(command: F) -> F:
    """One image."""
    return click.argument("image", metavar="IMAGE", shell_complete=image_names)(command)


def declare(options: Sequence[Option]) -> Callable[[F], F]:
    """Give a command these options, in their order; see typed.py."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = _for_click(option)(command)
        return command

    return add


def _for_click(option: Option) -> Callable[[F], F]:
    if option.is_flag:
        return click.option(*option.flags, option.field, is_flag=True, help=option.say)
    kind = click.Choice(option.choices, case_sensitive=not option.any_case) if option.choices else option.kind
    complete = globals()[option.complete] if option.complete else None
    return click.option(
        *option.flags, option.field, metavar=option.value or None, type=kind, multiple=option.many, help=option.say,
        default=option.default, show_default=option.show_default, shell_complete=complete,
    )  # fmt: skip


def get(name: str) -> Container:
    """Find a container. Raises ContainerNotFound."""
    from labrt.engine.containers import Containers

    return Containers().get(name)


def each(names: Sequence[str], act: Callable[[str], object]) -> int:
    """Do something with each, print what came of it (None: the name), and go on after an error; 1 if there was one."""
    code = 0
    for name in names:
        try:
            came = act(name)
        except LabrtError as error:
            exitcodes.say(error)
            code = exitcodes.FAILED
        else:
            click.echo(name if came is None else came)
    return code


def remove_each(names: Sequence[str], remove: Callable[[str], object], *, force: bool) -> int:
    """Remove each, and print its name; with `force` one that is not there is no error. Returns what `each` does."""

    def act(name: str) -> None:
        try:
            remove(name)
        except NotFound:
            if not force:
                raise

    return each(names, act)


def template_option(example: str) -> Callable[[F], F]:
    """Make `-f, --format`, for `inspect_each`; `example` is a template that says something."""
    return click.option("-f", "--format", "template", metavar="TEMPLATE", help=f"json, or docker's '{example}'")


def inspect_each(names: Sequence[str], look: Callable[[str], dict[str, Any]], template: str | None = None) -> int:
    """Print what `look` finds of each as one JSON array, without those that it cannot find; 1 if there was one.

    With a `template` a line is printed for each, as it says.
    """
    import json

    found, code = [], 0
    for name in names:
        try:
            found.append(look(name))
        except LabrtError as error:
            exitcodes.say(error)
            code = exitcodes.FAILED
    if template is None:
        click.echo(json.dumps(found, indent=4, ensure_ascii=False))
    else:
        from labrt.cli import templates

        for one in found:
            click.echo(templates.fill(template, one))
    return code


def agreed(warning: str) -> bool:
    """Say what is going to be removed, and ask whether it may be."""
    click.echo(f"WARNING! {warning}")
    return click.confirm("Are you sure you want to continue?")


def pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """Read KEY=value, as often as it was given. Raises InvalidInput, which names `flag`, where there is no key."""
    found = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise InvalidInput(f"{flag} {text!r}: no key", remedy="KEY=value")
        found[key] = value
    return found
