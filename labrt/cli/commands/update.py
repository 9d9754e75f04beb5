"""`labrt update`: change the limits of containers, also while they run."""

from __future__ import annotations

from typing import Any

import click

from labrt.cli import parameters


@click.command
@click.option("--blkio-weight", type=int, metavar="N", help="Its part of a busy disk, 10 to 1000")
@click.option("--cpu-period", type=int, metavar="MICROSECONDS", help="With --cpu-quota, in place of --cpus")
@click.option("--cpu-quota", type=int, metavar="MICROSECONDS", help="How much CPU time it has in each period")
@click.option("-c", "--cpu-shares", type=int, metavar="N", help="Its part of busy CPUs; 1024 is usual")
@click.option("--cpus", type=float, metavar="N", help="How many CPUs' time it may use: 0.5, 2")
@click.option("--cpuset-cpus", metavar="LIST", help="The CPUs that it may run on: 0-3,7")
@click.option("--cpuset-mems", metavar="LIST", help="The NUMA nodes that its memory may come from")
@click.option("-m", "--memory", metavar="BYTES", help="The most memory it may use: 64m, 1g")
@click.option("--memory-reservation", metavar="BYTES", help="Memory that stays its own when there is little")
@click.option("--memory-swap", metavar="BYTES", help="The most memory and swap together; -1: no limit")
@click.option("--pids-limit", type=int, metavar="N", help="The most processes it may have; -1: no limit")
@click.option("--restart", metavar="POLICY", help="no, always, unless-stopped, on-failure[:N]")
@parameters.containers_argument()
def command(names: tuple[str, ...], **changes: Any) -> int:
    """Change limits and the restart policy of containers.

    Also while they run: the kernel looks at the new limit from then on.

    \b
    Examples:
      labrt update -m 128m --memory-swap 128m --cpus 0.5 web
      labrt update --restart unless-stopped web
    """  # noqa: D301
    wanted = {name: value for name, value in changes.items() if value is not None}
    if not wanted:
        raise click.UsageError("nothing is to be changed: give at least one option")
    return parameters.each(names, lambda name: parameters.get(name).update(**wanted))
