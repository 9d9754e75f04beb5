"""`labrt exec`: one more program in a container that runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from labrt.cli import foreground, parameters
from labrt.engine import execs, keys
from labrt.errors import Conflict
from labrt.runtime.container import Container


@click.command(context_settings=parameters.ENDS_AT_FIRST_ARGUMENT)
@click.option("-d", "--detach", is_flag=True, help="Start it and do not wait for its end")
@parameters.detach_keys_option
@click.option("--privileged", is_flag=True, help="Give it all capabilities; the container's filter stays")
@parameters.process_options
@parameters.interactive_options
@parameters.container_argument("running")
@parameters.command_argument(required=True)
def command(
    detach: bool,
    detach_keys: str,
    privileged: bool,
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    workdir: str | None,
    user: str | None,
    interactive: bool,
    tty: bool,
    name: str,
    words: tuple[str, ...],
) -> int:
    """Run one more command in a running container.

    The exit code is the command's own; 126 if it cannot be executed, 127 if it is not there.

    \b
    Examples:
      labrt exec nap ps
      labrt exec -it nap sh
      labrt exec -e A=1 -w /tmp -u nobody nap env
      echo hello | labrt exec -i nap cat
    """  # noqa: D301
    how: dict[str, Any] = {"env": _environment(env, env_file, tty), "cwd": workdir, "user": user or ""}
    how |= {"privileged": True} if privileged else {}
    found = parameters.get(name)
    if found.status != "running":
        if found.status == "paused":
            raise Conflict(f"container {name} is paused", remedy=f"`labrt unpause {name}` lets it go on")
        raise Conflict(f"container {name} is not running", remedy=f"`labrt start {name}` starts it")
    container = found.runtime
    if detach:
        return _in_background(container, words, how)
    foreground.require_terminal(interactive, tty)
    if tty:
        execution = container.exec(words, console_size=foreground.terminal_size(), **how)
        return foreground.converse(execution, interactive=interactive, keys=keys.parse(detach_keys))
    return execs.pump(container, words, (_writer(1), _writer(2)), stdin=0 if interactive else None, **how)


def _environment(given: tuple[str, ...], files: tuple[str, ...], tty: bool) -> list[str]:
    """NAME=VALUE as it is, NAME with our own value, or not at all; those of files first, that others win over them."""
    if files:
        from labrt.engine.options import records

        given = (*records.env_files(files), *given)
    own = [entry if "=" in entry else f"{entry}={os.environ[entry]}" for entry in given if _known(entry)]
    return [*(["TERM=xterm"] if tty else []), *own]


def _known(entry: str) -> bool:
    return "=" in entry or entry in os.environ


def _writer(fd: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    return write


def _in_background(container: Container, words: tuple[str, ...], how: dict[str, Any]) -> int:
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        container.exec(words, stdio=(nothing, nothing, nothing), **how).close()
    finally:
        os.close(nothing)
    return 0
