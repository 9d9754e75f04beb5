"""docker's long forms: `labrt image ls` is `labrt images`, `labrt container rm` is `labrt rm`.

    @click.group(cls=LongForms, words={"ls": "images", "rm": "rmi"})
    def command(): …

docker has both since 2017, and many type the long ones. A word after the noun is a command of labrt, the very same;
what a group has of its own (`image prune`) goes before it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LongForms(click.Group):
    """A group of commands that are labrt's own under other words: word and the command's name."""

    def __init__(self, *given: Any, words: Mapping[str, str], **named: Any) -> None:
        super().__init__(*given, **named)
        self.words = words

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all words, by the alphabet."""
        return sorted({*self.words, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in self.words:
            return own
        command = importlib.import_module(f"labrt.cli.commands.{self.words[cmd_name]}").command
        assert isinstance(command, click.Command)
        return command
