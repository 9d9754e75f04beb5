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
        "run": "Create and run a new container from an image",
        "exec": "Execute a command in a running container",
        "ps": "List containers",
        "pull": "Download an image from a registry",
        "push": "Upload an image to a registry",
        "images": "List images",
        "login": "Authenticate to a registry",
        "logout": "Log out from a registry",
    },
    "Commands": {
        "attach": "Attach local standard input, output, and error streams to a running container",
        "commit": "Create a new image from a container's changes",
        "create": "Create a new container",
        "df": "Show disk usage",
        "diff": "Inspect changes to files or directories on a container's filesystem",
        "export": "Export a container's filesystem as a tar archive",
        "history": "Show the history of an image",
        "import": "Import the contents from a tarball to create a filesystem image",
        "info": "Display what this labrt is like and what it can do here",
        "inspect": "Return low-level information on containers and images",
        "kill": "Kill one or more running containers",
        "load": "Load images from a tar archive or STDIN",
        "logs": "Fetch the logs of a container",
        "prune": "Remove unused data",
        "rm": "Remove one or more containers",
        "rmi": "Remove one or more images",
        "save": "Save one or more images to a tar archive (streamed to STDOUT by default)",
        "start": "Start one or more stopped containers",
        "stop": "Stop one or more running containers",
        "tag": "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        "wait": "Block until one or more containers stop, then print their exit codes",
    },
    "Lab Commands": {
        "doctor": "Say what this machine can do, and what to type where it cannot",
        "reset": "Take down everything that labrt made and that is still there",
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
