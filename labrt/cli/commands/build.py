"""`labrt build`: an image from a Dockerfile."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from labrt.cli import parameters
from labrt.errors import InvalidInput

if TYPE_CHECKING:
    from labrt.builder.context import Context

_LIMITS = ("memory", "memory_swap", "shm_size", "ulimit", "cgroup_parent", "cpu_shares", "cpu_quota", "cpu_period",
           "cpuset_cpus", "cpuset_mems")  # fmt: skip


@click.command
@click.option("--add-host", metavar="NAME:IP", multiple=True, help="One more line for /etc/hosts of each RUN")
@click.option("--allow", metavar="RIGHT", multiple=True, help="What RUN may ask for: security.insecure, network.host")
@click.option("--build-arg", metavar="NAME[=VALUE]", multiple=True, help="Give an ARG a value, or ours")
@click.option("--cgroup-parent", metavar="PATH", help="Make each RUN's cgroup below this one")
@click.option("--cpu-period", metavar="USEC", type=int, default=0, help="How long --cpu-quota lasts, in microseconds")
@click.option("--cpu-quota", metavar="USEC", type=int, default=0, help="How much CPU time a RUN has in that")
@click.option("-c", "--cpu-shares", metavar="N", type=int, default=0, help="Each RUN's part of a busy CPU; 1024: usual")
@click.option("--cpuset-cpus", metavar="LIST", default="", help="CPUs that each RUN may use: 0-3,7")
@click.option("--cpuset-mems", metavar="LIST", default="", help="Memory nodes that each RUN may use")
@click.option("-f", "--file", "dockerfile", metavar="FILE|-", help="Read this Dockerfile, not PATH/Dockerfile")
@click.option("--iidfile", metavar="FILE", type=click.Path(), help="Write the image's id to a file")
@click.option("--label", metavar="KEY=VALUE", multiple=True, help="Give the image one more label")
@click.option("-m", "--memory", metavar="BYTES", help="The most memory that each RUN may have")
@click.option("--memory-swap", metavar="BYTES", help="The same with swap")
@click.option("--network", metavar="NETWORK", default="default", help="Each RUN's network, as of `labrt run`: none …")
@click.option("--no-cache", is_flag=True, help="Do every step anew")
@click.option("--platform", metavar="OS/ARCH", help="For which platform to build")
@click.option("--progress", type=click.Choice(("auto", "plain", "tty", "quiet")), default="auto", show_default=True,
              help="How to show what is done")  # fmt: skip
@click.option("--pull", is_flag=True, help="Ask the registry for newer base images")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's id alone")
@click.option("--secret", metavar="id=ID,src=FILE", multiple=True, help="A file for RUN --mount=type=secret,id=ID")
@click.option("--shm-size", metavar="BYTES", help="The size of each RUN's /dev/shm")
@click.option("--ssh", metavar="default|ID=SOCKET", multiple=True, help="An ssh-agent for RUN --mount=type=ssh")
@click.option("-t", "--tag", metavar="NAME[:TAG]", multiple=True, help="Name the image; may be given several times")
@click.option("--target", metavar="STAGE", help="Build up to this stage")
@click.option("--ulimit", metavar="NAME=SOFT[:HARD]", multiple=True, help="A limit of each RUN's processes")
@click.argument("path", metavar="PATH|-")
def command(path: str, dockerfile: str | None, iidfile: str | None, progress: str, quiet: bool, **how: Any) -> None:
    """Make an image as a Dockerfile says.

    PATH is a directory, which COPY copies from, without what its .dockerignore names. With - the context is a tar
    archive on stdin, or a Dockerfile alone. Steps that were done before are not done again.

    \b
    Examples:
      labrt build -t mine:1 .
      labrt build --build-arg VERSION=2 --target test -f docker/Dockerfile .
      echo 'FROM busybox' | labrt build -t small -
      labrt build --network none .
      labrt build --secret id=token,src=$HOME/.token -t mine .
    """  # noqa: D301
    from labrt.engine import builds
    from labrt.engine.build_progress import shown
    from labrt.image import files

    wanted = _wanted(**how)
    with _context(path, dockerfile) as context, shown("quiet" if quiet else progress) as listener:
        image = builds.build_context(context, wanted, on_event=listener)
    if iidfile:
        files.replace(os.path.abspath(iidfile), str(image.id).encode(), durable=False)
    if quiet:
        click.echo(str(image.id))


def _wanted(
    *, tag: Sequence[str], build_arg: Sequence[str], label: Sequence[str], secret: Sequence[str], ssh: Sequence[str],
    allow: Sequence[str], platform: str | None, add_host: Sequence[str], target: str | None, no_cache: bool,
    pull: bool, network: str, **limits: Any,
) -> Any:  # fmt: skip
    from labrt.builder.build import Wanted
    from labrt.engine import builds
    from labrt.image.platform import Platform

    for right in allow:
        if right not in ("security.insecure", "network.host"):
            raise InvalidInput(f"--allow {right}: not known", remedy="security.insecure or network.host")
    given = {name: limits[name] for name in _LIMITS if limits[name]}
    return Wanted(
        tags=tuple(tag), build_args=_arguments(build_arg), target=target, no_cache=no_cache, pull=pull,
        platform=Platform.parse(platform) if platform else None, labels=parameters.pairs("--label", label),
        network=network, secrets=dict(map(_secret, secret)), ssh=dict(map(_agent, ssh)), add_host=tuple(add_host),
        epoch=builds.epoch(), insecure="security.insecure" in allow,
        host_network="network.host" in allow, limits=given,
    )  # fmt: skip


def _arguments(texts: Sequence[str]) -> dict[str, str]:
    """Read NAME=value, or NAME for our own value; one that we have none for is not given."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise InvalidInput(f"--build-arg {text!r}: no name", remedy="NAME=value")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


def _secret(text: str) -> tuple[str, bytes]:
    """Read id=ID,src=FILE, or id=ID,env=NAME."""
    words = parameters.pairs("--secret", text.split(","))
    path, id = words.get("src") or words.get("source"), words.get("id", "")
    unknown = set(words) - {"id", "src", "source", "env", "type"}
    if unknown or not (id or path):
        raise InvalidInput(f"--secret {text}: not understood", remedy="id=NAME,src=FILE or id=NAME,env=NAME")
    if path:
        with open(os.path.expanduser(path), "rb") as file:
            return id or os.path.basename(path), file.read()
    name = words.get("env") or id
    if name not in os.environ:
        raise InvalidInput(f"--secret {text}: {name} is no variable here", remedy="id=NAME,src=FILE")
    return id, os.environb[os.fsencode(name)]


def _agent(text: str) -> tuple[str, str]:
    id, equals, path = text.partition("=")
    path = path if equals else os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise InvalidInput(f"--ssh {text}: SSH_AUTH_SOCK is not set", remedy="start an ssh-agent, or give its socket")
    return id or "default", os.path.abspath(path)


@contextlib.contextmanager
def _context(path: str, dockerfile: str | None) -> Iterator[Context]:
    from labrt.builder import adding
    from labrt.builder.context import NAME, Context

    if path != "-":
        adding.refuse_git(path)
        if adding.is_url(path):
            raise InvalidInput(f"{path} is a URL", remedy="fetch it, or `curl … | labrt build -`")
        text = sys.stdin.read() if dockerfile == "-" else None
        with Context.of_directory(path, dockerfile=None if text is not None else dockerfile, text=text) as context:
            yield context
        return
    if dockerfile == "-":
        raise InvalidInput("stdin cannot be Dockerfile and context at once", remedy="give a directory, or a -f")
    if sys.stdin.isatty():
        raise InvalidInput("no context comes from a terminal", remedy="give a directory, or a pipe")
    with Context.of_stream(sys.stdin.buffer, dockerfile or NAME) as context:
        yield context
