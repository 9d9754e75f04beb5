"""`labrt start`: start containers that were created, or that have ended."""

from __future__ import annotations

import click

from labrt.cli import exitcodes, foreground, parameters
from labrt.cli.session import Outcome


@click.command
@click.option("-a", "--attach", is_flag=True, help="Show its output here, and pass our signals on")
@click.option("-i", "--interactive", is_flag=True, help="Pass our input on")
@parameters.containers_argument("created", "exited")
def command(attach: bool, interactive: bool, names: tuple[str, ...]) -> int:
    """Start containers that do not run.

    With -a or -i, the exit code is that of the program.

    \b
    Examples:
      labrt start nap
      labrt start -a later
      labrt start -ai shell
    """  # noqa: D301
    if not attach and not interactive:
        return parameters.each(names, _start)
    if len(names) > 1:
        raise click.UsageError("you cannot start and attach multiple containers at once")
    return _attached(names[0], interactive)


def _start(name: str) -> None:
    container = parameters.get(name)
    if container.status != "running":  # one that runs is as it was asked for
        container.start()


def _attached(name: str, interactive: bool) -> int:
    container = parameters.get(name)
    created = container.record()["options"]
    stdin = interactive and created["interactive"]
    foreground.require_terminal(stdin, created["tty"])
    if container.status == "running":
        exitcodes.say(f"{name} runs already: attached to it")
    else:
        container.prepare()
    start = container.status != "running"
    code, outcome = foreground.follow(container, stdin=stdin, tty=created["tty"], start=start)
    if created["remove"] and outcome is Outcome.ENDED:
        foreground.discard(container)
    return code
