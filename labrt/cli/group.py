"""The list of commands, and the way to one of them: labrt/cli/commands/NAME.py, imported when it is called.

The summaries stand here, so that `labrt --help` imports no command at all; each is the first line of its command's own
help, which a test compares.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence

import click

import labrt

COMPLETE = "_LABRT_COMPLETE"  # set by the shell's completion function: what is wanted of us

SECTIONS: dict[str, dict[str, str]] = {
    "Common Commands": {
        "run": "Make a container from an image and run it",
        "exec": "Run one more command in a running container",
        "ps": "Show the containers",
        "build": "Make an image as a Dockerfile says",
        "pull": "Fetch an image from a registry",
        "push": "Send an image to a registry",
        "images": "Show the images that are here",
        "login": "Log in to a registry",
        "logout": "Forget a registry's login",
    },
    "Commands": {
        "attach": "Connect this terminal to a running container",
        "commit": "Make an image of what a container changed",
        "cp": "Copy files between a container and this machine",
        "create": "Make a container without starting it",
        "daemon": "Serve the Docker Engine API, for docker and its like",
        "df": "Show what takes how much of the disk",
        "diff": "Show which files a container added, changed and deleted",
        "events": "Show what happens to containers and images, as it happens",
        "export": "Write a container's whole filesystem as a tar archive",
        "generate": "Write containers as Kubernetes or Compose have them",
        "history": "Show the steps that an image was made in",
        "import": "Make an image of a tar archive of a filesystem",
        "info": "Show what this labrt is like and what it can do here",
        "inspect": "Show all that is known of containers and images, as JSON",
        "kill": "Send a signal to containers, SIGKILL if no other is named",
        "load": "Take in images from an archive that `save` made",
        "logs": "Show what a container has written",
        "network": "Make, show and remove networks",
        "pause": "Freeze all processes of containers, until `unpause`",
        "port": "Show which ports of this machine lead to a container",
        "prune": "Remove what nothing uses",
        "rename": "Give a container another name",
        "restart": "Stop containers and start them again",
        "rm": "Remove containers",
        "rmi": "Remove images",
        "save": "Write images into one tar archive, to stdout or a file",
        "spec": "Write a container's plan as runc, a jail or a zone has it",
        "start": "Start containers that do not run",
        "stats": "Show what containers use of CPUs, memory, network and disks",
        "stop": "Ask containers to end, and end those that do not",
        "tag": "Give an image one more name",
        "top": "Show the processes of a container",
        "unpause": "Let paused containers go on",
        "update": "Change limits and the restart policy of containers",
        "volume": "Make, show and remove volumes",
        "wait": "Wait for containers to end and print their exit codes",
    },
    "Long Forms, as docker has them": {
        "container": "Do with containers what is done with them, by docker's long names",
        "image": "Do with images what is done with them, by docker's long names",
        "system": "Look after the whole, by docker's long names",
    },
    "Lab Commands": {
        "doctor": "Say what this machine can do, and what to type where it cannot",
        "lab": "Look after a class",
        "reset": "Take down everything that labrt made and that is still there",
        "unshare": "Run a program in the user namespace of this user's containers",
        "completion": "Print the tab completion for a shell",
    },
}


class LazyGroup(click.Group):
    """A group that imports a command only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, in the order of the help."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"labrt.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; a usage error names those that begin alike."""
        if args and args[0] not in self.list_commands(ctx) and not ctx.resilient_parsing and args[0][:1] != "-":
            alike = [name for name in self.list_commands(ctx) if name[:2] == args[0][:2]]
            hint = f", did you mean {' or '.join(alike)}?" if alike else ""
            ctx.fail(f"no command is called {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the summaries in their sections."""
        for title, summaries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(summaries.items()), col_spacing=3)
        formatter.write("\nRun 'labrt COMMAND --help' for more information on a command.\n")


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND",
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
)
@click.version_option(labrt.__version__, "-v", "--version", message="labrt version %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A container lab you can read: typed as docker is.

    \b
    Examples:
      labrt doctor                              What can this machine do?
      labrt run --rm -it busybox                A shell in a container
      labrt run -d --name web busybox httpd -f  One in the background
      labrt reset                               Take everything down
    """  # noqa: D301 - click's own mark for a paragraph that is not to be filled
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def call(arguments: Sequence[str]) -> int:
    """Do what the arguments say, and return the exit code. Whatever goes wrong is raised."""
    instruction = os.environ.get(COMPLETE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "labrt", COMPLETE, instruction)
    # Not cli(): that would exit, and have its own idea of exit codes.
    with cli.make_context("labrt", list(arguments)) as ctx:
        return cli.invoke(ctx) or 0
