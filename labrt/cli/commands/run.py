"""`labrt run`: create a container, start it, and be attached to it until its end.

    with -d                print its id, and leave it running
    without                output comes here, to stdout and stderr apart; with -t through a terminal of its own
    -i                     what is typed or piped goes in; the end of the pipe is the end of its input

See foreground.py for how it ends, and container_options.py for the options.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

from labrt.cli import foreground, parameters
from labrt.cli.container_options import container_options
from labrt.cli.pulling import Pulling
from labrt.engine import keys
from labrt.engine.containers import Container, Containers
from labrt.engine.options import Options
from labrt.errors import Conflict, InvalidInput


def create(
    image: str, words: tuple[str, ...], *, cidfile: str | None = None, quiet: bool = False,
    network: tuple[str, ...] = (), **how: Any,
) -> Container:  # fmt: skip
    """Create a container from what was given on the command line, and say on stderr what is pulled for it."""
    size = foreground.terminal_size() if how["tty"] else None
    if network:
        how |= {"network": network[0], "further_networks": network[1:]}
    wanted = Options(image, words, console_size=size, **how)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_cidfile(cidfile)) if cidfile else None
        heard = None if quiet else stack.enter_context(Pulling(sys.stderr, announce=wanted.pull != "always"))
        container = Containers().create(wanted, on_event=heard)
        if file is not None:
            file.write(container.id)
    return container


@contextlib.contextmanager
def _cidfile(path: str) -> Iterator[TextIO]:
    """Make a file for the id, before there is any container; it goes again when none comes of it."""
    try:
        file = open(path, "x")  # noqa: SIM115
    except FileExistsError:
        remedy = "an older container's? remove it, or choose another name"
        raise Conflict(f"--cidfile {path} is there already", remedy=remedy) from None
    except OSError as error:
        raise InvalidInput(f"--cidfile {path}: {error.strerror}", remedy="choose another place") from None
    try:
        with file:
            yield file
    except BaseException:
        os.unlink(path)
        raise


@click.command(context_settings=parameters.ENDS_AT_FIRST_ARGUMENT)
@click.option("-d", "--detach", is_flag=True, help="Leave it running, and print its id")
@parameters.detach_keys_option
@click.option("--sig-proxy", type=bool, metavar="BOOL", default=True, show_default=True,
              help="Pass the signals that we get on to it")
@container_options
def command(detach: bool, detach_keys: str, sig_proxy: bool, attach: tuple[str, ...], **how: Any) -> int:
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
      labrt run -d --network bridge -p 8080:80 busybox httpd -f
      labrt run --rm --cap-drop ALL --security-opt no-new-privileges --tmpfs /run busybox
    """  # noqa: D301
    if detach and attach:
        raise click.UsageError("--attach and --detach contradict each other")
    if detach:
        return _in_background(create(**how))
    manners = foreground.Manners(keys.parse(detach_keys), sig_proxy, _shown(attach))
    stdin = how["interactive"] and (not attach or "stdin" in attach)
    foreground.require_terminal(stdin, how["tty"])
    container = create(**how)
    return foreground.run(container, remove=how["remove"], interactive=stdin, tty=how["tty"], manners=manners)


def _shown(attach: tuple[str, ...]) -> list[int]:
    """Return the output streams that are meant; a terminal has only the first of them."""
    return [number for number, name in ((1, "stdout"), (2, "stderr")) if not attach or name in attach]


def _in_background(container: Container) -> int:
    try:
        container.start()
    except BaseException:
        if container.record_or_none("remove"):
            foreground.discard(container)
        raise
    click.echo(container.id)
    return 0
