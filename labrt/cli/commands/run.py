"""`labrt run`: create a container, start it, and be attached to it until its end.

    with -d                print its id, and leave it running
    without                output comes here, to stdout and stderr apart; with -t through a terminal of its own
    -i                     what is typed or piped goes in; the end of the pipe is the end of its input

See foreground.py for how it ends. The options are engine.options.Options, as one types them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from labrt.cli import foreground, parameters
from labrt.cli.pulling import Pulling
from labrt.engine.containers import Container, Containers
from labrt.engine.images import POLICIES
from labrt.engine.options import NETWORKS, Options

F = TypeVar("F", bound=Callable[..., Any])


def container_options(command: F) -> F:
    """Add all that `run` and `create` share, in the order of the alphabet as docker lists them."""
    for add in reversed(
        (
            click.option("--cpus", type=float, metavar="N", help="How many CPUs' time it may use: .5, 2"),
            click.option("--entrypoint", metavar="PATH", help="What to run in place of the image's entrypoint"),
            parameters.process_options,
            click.option("-h", "--hostname", metavar="NAME", help="The hostname that it sees"),
            parameters.interactive_options,
            click.option("-m", "--memory", metavar="BYTES", help="The most memory it may use: 64m, 1g"),
            click.option("--memory-swap", metavar="BYTES",
                         help="The most memory and swap together (not given: twice the memory; -1: no limit)"),
            click.option("--name", metavar="NAME", help="What to call it"),
            click.option("--network", type=click.Choice(NETWORKS), default="none", show_default=True,
                         help="none: only its own loopback; host: this machine's"),
            click.option("--pids-limit", type=int, metavar="N", help="The most processes it may have"),
            click.option("--platform", metavar="OS/ARCH", help="Which platform's image to take if there are several"),
            click.option("--pull", type=click.Choice(POLICIES), default="missing", show_default=True,
                         help="When to fetch the image"),
            click.option("--read-only", is_flag=True, help="Let it change nothing but its volumes"),
            click.option("--rm", "remove", is_flag=True, help="Remove it when it has ended"),
            click.option("-v", "--volume", metavar="SRC:DST[:ro]", multiple=True,
                         help="Show it a path of the host, or a volume by its name"),
            click.argument("image", metavar="IMAGE", shell_complete=parameters.image_names),
            parameters.command_argument(),
        )
    ):  # fmt: skip
        command = add(command)
    return command


def create(image: str, words: tuple[str, ...], volume: tuple[str, ...], **how: Any) -> Container:
    """Create a container from what was given on the command line, and say on stderr what is pulled for it."""
    size = foreground.terminal_size() if how["tty"] else None
    wanted = Options(image, words, volumes=volume, console_size=size, **how)
    with Pulling(sys.stderr, announce=wanted.pull != "always") as heard:
        return Containers().create(wanted, on_event=heard)


@click.command(context_settings=parameters.ENDS_AT_FIRST_ARGUMENT)
@click.option("-d", "--detach", is_flag=True, help="Leave it running, and print its id")
@container_options
def command(detach: bool, **how: Any) -> int:
    """Make a container from an image and run it.

    The exit code is the program's own; 125 if labrt could not start it, 126 if it cannot be executed, 127 if it is not
    there, 128 + n if signal n ended it. Ctrl-P Ctrl-Q leaves a container that was run with -it, and it goes on.

    \b
    Examples:
      labrt run --rm busybox echo hello                 Run a command, remove what is left
      labrt run --rm -it busybox                        A shell, with a terminal
      echo hello | labrt run --rm -i busybox tr a-z A-Z
      labrt run -d --name nap -m 64m --cpus .5 busybox sleep 1000
      labrt run --rm -v "$PWD:/here:ro" -w /here busybox ls
      labrt run --rm -v data:/data busybox touch /data/stays
      labrt run --rm --network host busybox ip addr
    """  # noqa: D301
    if detach:
        return _in_background(create(**how))
    foreground.require_terminal(how["interactive"], how["tty"])
    container = create(**how)
    return foreground.run(container, remove=how["remove"], interactive=how["interactive"], tty=how["tty"])


def _in_background(container: Container) -> int:
    try:
        container.start()
    except BaseException:
        if container.record_or_none("remove"):
            foreground.discard(container)
        raise
    click.echo(container.id)
    return 0
