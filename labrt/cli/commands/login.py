"""`labrt login`: sign in to a registry, and keep it where docker keeps it."""

from __future__ import annotations

import sys

import click

from labrt.cli import exitcodes


@click.command
@click.option("-u", "--username", metavar="USER", help="Whom to log in as")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin")
@click.argument("server", metavar="[SERVER]", required=False, default="")
def command(username: str | None, password_stdin: bool, server: str) -> None:
    """Log in to a registry.

    SERVER is its host; without one it is Docker Hub. There is no option for the password: others could read it in the
    list of processes.

    \b
    Examples:
      labrt login -u learner
      labrt login ghcr.io
      aws ecr get-login-password | labrt login -u AWS --password-stdin 1234.dkr.ecr.eu-west-1.amazonaws.com
    """  # noqa: D301
    from labrt.registry import login
    from labrt.registry.credentials import Secret

    if password_stdin:
        if not username:
            raise click.UsageError("--password-stdin goes with --username")
        secret = Secret(sys.stdin.read().rstrip("\r\n"))
    elif not sys.stdin.isatty():
        raise exitcodes.NoTerminal(
            "there is no terminal to type a password at", remedy="give it with --username and --password-stdin"
        )
    else:
        username = username or click.prompt("Username", err=True)
        secret = Secret(click.prompt("Password", hide_input=True, err=True))
    assert username is not None
    done = login.login(server, username, secret)
    if not done.encrypted:
        click.echo(f"WARNING! Your credentials are stored unencrypted in {done.kept!r}.", err=True)
    click.echo("Login Succeeded")
