"""What `run` and `create` can be told: engine.options.Options, as one types them, and a few words of their own.

Each option has docker's name, and the field of Options that it fills is called the same; only -v is `volumes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from labrt.cli import parameters
from labrt.engine.images import POLICIES

F = TypeVar("F", bound=Callable[..., Any])
Add = Callable[[F], F]


def _one(*flags: str, value: str, say: str, kind: Any = None, **how: Any) -> Any:
    return click.option(*flags, metavar=value, type=kind, help=say, **how)


def _flag(*flags: str, say: str) -> Any:
    return click.option(*flags, is_flag=True, help=say)


def _many(*flags: str, value: str, say: str) -> Any:
    return click.option(*flags, metavar=value, multiple=True, help=say)


def container_options(command: F) -> F:
    """Add all that `run` and `create` share, in the order of the alphabet as docker lists them."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


_OPTIONS = (
    _many("--add-host", value="NAME:IP", say="One more line for its /etc/hosts"),
    _many("--annotation", value="KEY=VALUE", say="One more annotation in its config.json"),
    click.option("-a", "--attach", type=click.Choice(("stdin", "stdout", "stderr"), case_sensitive=False),
                 multiple=True, help="Be attached to this stream only"),
    _one("--blkio-weight", value="N", kind=int, default=0, say="Its part of a busy disk: 10 to 1000"),
    _many("--blkio-weight-device", value="DEVICE:N", say="The same for one disk"),
    _many("--cap-add", value="CAP", say="Give it a capability: NET_ADMIN, ALL"),
    _many("--cap-drop", value="CAP", say="Take a capability away from it"),
    _one("--cgroup-parent", value="PATH", say="Make its cgroup below this one"),
    click.option("--cgroupns", type=click.Choice(("private", "host")), default="private", show_default=True,
                 help="Which cgroup it sees as the root of the tree"),
    click.option("--cidfile", metavar="FILE", type=click.Path(), help="Write its id to a new file"),
    _one("--cpu-period", value="USEC", kind=int, default=0, say="How long --cpu-quota lasts, in microseconds"),
    _one("--cpu-quota", value="USEC", kind=int, default=0, say="How much CPU time it has in a period"),
    _one("-c", "--cpu-shares", value="N", kind=int, default=0, say="Its part of busy CPUs; 1024 is usual"),
    _one("--cpus", value="N", kind=float, say="How many CPUs' time it may use: .5, 2"),
    _one("--cpuset-cpus", value="LIST", default="", say="The CPUs that it may run on: 0-3,7"),
    _one("--cpuset-mems", value="LIST", default="", say="The memory nodes that it may use"),
    _many("--device", value="HOST[:CTR[:rwm]]", say="Let it have a device of the host"),
    _many("--device-cgroup-rule", value="RULE", say='Let it open devices, if it has a node: "c 13:* rwm"'),
    _many("--device-read-bps", value="DEVICE:RATE", say="The most bytes that it may read in a second: /dev/sda:1m"),
    _many("--device-read-iops", value="DEVICE:RATE", say="The most reads in a second"),
    _many("--device-write-bps", value="DEVICE:RATE", say="The most bytes that it may write in a second"),
    _many("--device-write-iops", value="DEVICE:RATE", say="The most writes in a second"),
    _many("--dns", value="IP", say="A name server for its resolv.conf, in place of the host's"),
    _many("--dns-option", value="WORD", say="An option for its resolv.conf"),
    _many("--dns-search", value="DOMAIN", say="A search domain for its resolv.conf"),
    _one("--domainname", value="NAME", say="The domain's name that it sees"),
    _one("--entrypoint", value="PATH", say="What to run in place of the image's entrypoint"),
    parameters.process_options,
    _many("--expose", value="PORT", say="Note a port that it listens on: 80, 53/udp, 8000-8010"),
    _many("--group-add", value="GROUP", say="One more group for its user: a name of the image's, or a number"),
    _one("--health-cmd", value="COMMAND", say="What tells, by its exit code, whether it is healthy"),
    _one("--health-interval", value="TIME", say="How long between two checks: 30s, 1m30s"),
    _one("--health-retries", value="N", kind=int, say="How many failures in a row mean unhealthy"),
    _one("--health-start-interval", value="TIME", say="How long between two checks at the beginning"),
    _one("--health-start-period", value="TIME", say="How long the beginning is, in which failures do not count"),
    _one("--health-timeout", value="TIME", say="How long a check may take"),
    _one("-h", "--hostname", value="NAME", say="The hostname that it sees"),
    _flag("--init", say="Let a small init be PID 1: it reaps, and passes signals on"),
    parameters.interactive_options,
    _one("--ip", value="IP", say="The address that it has in its network: 172.24.0.5"),
    _one("--ip6", value="IP", say="Its IPv6 address there"),
    _one("--ipc", value="MODE", default="private", show_default=True,
         say="Whose shared memory: private, shareable, none, host, container:NAME"),
    _many("-l", "--label", value="KEY=VALUE", say="Give it a label"),
    _many("--label-file", value="FILE", say="Read labels, one on each line"),
    _one("--log-driver", value="NAME", default="json-file", show_default=True, say="How its output is kept"),
    _many("--log-opt", value="KEY=VALUE", say="Rotate its log: max-size=10m, max-file=3"),
    _one("--mac-address", value="MAC", say="The hardware address of its network card: 02:42:ac:18:00:05"),
    _one("-m", "--memory", value="BYTES", say="The most memory it may use: 64m, 1g"),
    _one("--memory-reservation", value="BYTES", say="What stays to it when memory is short"),
    _one("--memory-swap", value="BYTES",
         say="The most memory and swap together (not given: twice the memory; -1: no limit)"),
    _one("--memory-swappiness", value="N", kind=int, say="How readily its memory is swapped out: 0 to 100"),
    _many("--mount", value="WORDS", say="Mount something: type=bind,source=/srv,target=/data,readonly"),
    _one("--name", value="NAME", say="What to call it"),
    parameters.network_option,
    _many("--network-alias", value="NAME", say="One more name for its neighbours to find it by"),
    _flag("--no-healthcheck", say="Forget the image's health check"),
    _flag("--oom-kill-disable", say="Let who is over the limit of memory wait"),
    _one("--oom-score-adj", value="N", kind=int, default=0, say="Kill it sooner, or later, than others: -1000 to 1000"),
    _one("--pid", value="MODE", default="private", show_default=True,
         say="Whose processes it sees: private, host, container:NAME"),
    _one("--pids-limit", value="N", kind=int, say="The most processes it may have"),
    _one("--platform", value="OS/ARCH", say="Which platform's image to take if there are several"),
    _flag("--privileged", say="Give it all capabilities and devices: root, in effect"),
    _many("-p", "--publish", value="[[IP:]PORT:]PORT", say="Let a port of this machine lead to one of its: 8080:80"),
    click.option("-P", "--publish-all", is_flag=True, help="Let a free port lead to each that it exposes"),
    click.option("--pull", type=click.Choice(POLICIES), default="missing", show_default=True,
                 help="When to fetch the image"),
    _flag("-q", "--quiet", say="Do not show what is pulled"),
    _flag("--read-only", say="Let it change nothing but its volumes"),
    _one("--restart", value="POLICY", default="no", show_default=True,
         say="Start it again at its end: always, unless-stopped, on-failure[:N]"),
    click.option("--rm", "remove", is_flag=True, help="Remove it when it has ended"),
    _one("--runtime", value="NAME", default="labrt", show_default=True, say="Which runtime starts it"),
    _many("--security-opt", value="KEY=VALUE",
          say="no-new-privileges, seccomp=FILE, systempaths=unconfined, writable-cgroups=true, …"),
    _one("--shm-size", value="BYTES", say="The size of its /dev/shm (not given: 64m)"),
    _one("--stop-signal", value="SIGNAL", say="What `stop` sends it"),
    _one("--stop-timeout", value="SECONDS", kind=int, say="How long `stop` waits before it kills"),
    _many("--sysctl", value="NAME=VALUE", say="Set a kernel parameter of one of its namespaces"),
    _many("--tmpfs", value="DST[:OPTIONS]", say="Mount memory: /run:size=64m,mode=1777"),
    _many("--ulimit", value="NAME=SOFT[:HARD]", say="Limit each of its processes: nofile=1024"),
    click.option("--userns", type=click.Choice(("host",)), default="host", help="Whose user namespace it is in"),
    click.option("--uts", type=click.Choice(("private", "host")), default="private", show_default=True,
                 help="Whose hostname it sees"),
    click.option("-v", "--volume", "volumes", metavar="SRC:DST[:ro]", multiple=True,
                 help="Show it a path of the host, or a volume by its name"),
    _many("--volumes-from", value="NAME[:ro]", say="Show it the volumes of another container"),
    click.argument("image", metavar="IMAGE", shell_complete=parameters.image_names),
    parameters.command_argument(),
)  # fmt: skip
