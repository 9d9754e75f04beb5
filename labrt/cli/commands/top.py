"""`labrt top`: the processes of a container."""

from __future__ import annotations

import shutil
import subprocess
import time

import click

from labrt.cli import parameters, show
from labrt.errors import InvalidInput, NotSupported

HEADERS = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")


@click.command(context_settings={"ignore_unknown_options": True, **parameters.ENDS_AT_FIRST_ARGUMENT})
@parameters.container_argument("running")
@click.argument("options", metavar="[ps OPTIONS]", nargs=-1, type=click.UNPROCESSED)
def command(name: str, options: tuple[str, ...]) -> None:
    """Show the processes of a container.

    With the host's pids: this machine is who looks. Options are for this machine's ps(1), and must leave a column PID.

    \b
    Examples:
      labrt top web
      labrt top web -o pid,rss,args
    """  # noqa: D301
    container = parameters.get(name)
    if options:
        from labrt.engine.top import pids

        click.echo(_of_ps(options, set(pids(container))))
        return
    rows = [
        [one.user, str(one.pid), str(one.ppid), str(one.share), _began(one.started), one.tty, _clock(one.cpu),
         one.command]
        for one in container.top()
    ]  # fmt: skip
    click.echo(show.table(HEADERS, rows))


def _began(moment: float) -> str:
    """As ps: the time of day, the date of what is older than a day."""
    return time.strftime("%H:%M" if time.time() - moment < 86400 else "%b%d", time.localtime(moment))


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _of_ps(options: tuple[str, ...], wanted: set[int]) -> str:
    """Run this machine's ps, and keep the head and the lines of these processes."""
    program = shutil.which("ps")
    if program is None:
        raise NotSupported("there is no ps on this machine", remedy="apt-get install procps; or give no options")
    done = subprocess.run([program, *options], capture_output=True, text=True, check=False, errors="replace")
    head, *lines = done.stdout.splitlines() or [""]
    columns = head.split()
    if done.returncode or "PID" not in columns:
        raise InvalidInput(f"ps {' '.join(options)}: {done.stderr.strip() or 'no column is called PID'}",
                           remedy="-ef, aux, or -o pid,…")  # fmt: skip
    column = columns.index("PID")
    kept = [line for line in lines if (fields := line.split())[column:] and fields[column] in map(str, wanted)]
    return "\n".join([head, *kept])
