"""`labrt completion`: what a shell has to read for the Tab key to know labrt's commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from labrt.errors import NotSupported


@click.command
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the tab completion for a shell.

    It completes commands, options, and the names of containers and images.

    \b
    Examples:
      source <(labrt completion bash)                            For this bash
      labrt completion bash > ~/.local/share/bash-completion/completions/labrt
      labrt completion zsh > "${fpath[1]}/_labrt"
      labrt completion fish > ~/.config/fish/completions/labrt.fish
    """  # noqa: D301
    from labrt.cli.group import COMPLETE, cli

    kind = get_completion_class(shell)
    if kind is None:
        raise NotSupported(f"this click has no completion for {shell}", remedy="pip install -U click")
    try:
        click.echo(kind(cli, {}, "labrt", COMPLETE).source())
    except RuntimeError as error:  # bash before 4.4
        raise NotSupported(str(error)) from error
