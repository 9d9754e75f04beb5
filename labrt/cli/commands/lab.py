"""`labrt lab`: what an instructor does before, in and after a class."""

from __future__ import annotations

import sys

import click


@click.group
def command() -> None:
    """Look after a class.

    \b
    Examples:
      labrt lab check                       Is everything here that the course needs?
      labrt lab learner "Ada Lovelace"      Say whose exercises these are
      labrt lab export ada.json             One learner's progress, as a file
      labrt lab export --class in out.csv   … and a class's, as a table
      labrt lab reset                       As new, for the next class
    """  # noqa: D301


@command.command
@click.option("--pull", is_flag=True, help="Fetch and unpack the images that are not here")
@click.argument("notebooks", metavar="[NOTEBOOK...]", nargs=-1)
def check(pull: bool, notebooks: tuple[str, ...]) -> int:
    """Say whether the course, or these notebooks, can begin.

    It looks for images, Jupyter, networks and leftovers, and starts a container. The exit code is 1 if something
    failed; a warning is no failure.

    \b
    Examples:
      labrt lab check
      labrt lab check --pull 08 18
    """  # noqa: D301
    from labrt.lab.preflight import preflight

    report = preflight(*notebooks, pull=pull)
    click.echo(str(report))
    return 0 if report.ok else 1


@command.command
@click.argument("name", metavar="[NAME]", default="")
def learner(name: str) -> None:
    """Say who learns here, or ask.

    Some exercises ask something else of each learner, made of the name: a hostname, a limit, a range of ids.

    \b
    Examples:
      labrt lab learner "Ada Lovelace"
    """  # noqa: D301
    from labrt.lab import given

    who = given.learner(name or None)
    click.echo(f"{who.name or 'nobody so far'} ({who.id})")


@command.command
@click.option("--class", "directory", metavar="DIR", default="", help="Gather the files of this directory into a table")
@click.argument("file", metavar="FILE")
def export(directory: str, file: str) -> int:
    """Write a learner's progress into FILE, or a class's.

    One learner: JSON, with attempts, hints, when each exercise passed, and the functions' source. A class: CSV, or JSON
    where FILE ends in .json; it shows in whose attempts another's numbers stood.

    \b
    Examples:
      labrt lab export ada.json
      labrt lab export --class handed-in/ class.csv
    """  # noqa: D301
    from labrt.lab import roster

    if not directory:
        click.echo(f"{roster.export(file)} exercises in {file}")
        return 0
    gathered = roster.gather(directory)
    roster.write_class(gathered, file)
    click.echo(f"{len(gathered.learners)} learners, {len(gathered.rows)} rows in {file}")
    for why in gathered.unreadable.values():
        click.echo(f"left out: {why}", err=True)
    return 1 if gathered.unreadable else 0


@command.command
@click.option("-f", "--force", is_flag=True, help="Do not ask first")
@click.option("--notebooks", is_flag=True, help="Take back, too, what was typed into the notebooks; wants git")
def reset(force: bool, notebooks: bool) -> int:
    """Make this machine as new for the next class.

    Removes containers, volumes and networks, and all progress of this user. Images stay. JupyterLab goes on: restart
    it, so that no kernel remembers.

    \b
    Examples:
      labrt lab export ada.json && labrt lab reset
      labrt lab reset --force --notebooks
    """  # noqa: D301
    from labrt import paths
    from labrt.lab import handover, preflight

    if not force:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is there to be asked: --force")
        what = "containers, volumes, networks, and what was learned"
        what += ", and typed into notebooks" if notebooks else ""
        if not click.confirm(f"Gone for good: {what} ({paths.progress()}). Go on?", err=True):
            return 1
    done = handover.hand_over(preflight.NOTEBOOKS if notebooks else None)
    click.echo(str(done))
    return 0 if done.ok else 1
