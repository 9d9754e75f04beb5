"""`labrt doctor`: the doctor's report."""

from __future__ import annotations

import click


@click.command
def command() -> int:
    """Say what this machine can do, and what to type where it cannot.

    The exit code is 1 if something failed; a warning is no failure.

    \b
    Examples:
      labrt doctor
      labrt doctor > report.txt     To send with a question
    """  # noqa: D301
    from labrt.lab.doctor import doctor

    report = doctor()
    click.echo(str(report))
    return 0 if report.ok else 1
