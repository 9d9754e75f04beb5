"""`labrt daemon`: the engine behind a socket, for `docker` and whatever else speaks the Docker Engine API."""

from __future__ import annotations

import click


@click.command
@click.option("-H", "--host", "hosts", metavar="URL", multiple=True,
              help="Where to listen: unix:///path, tcp://address:port, or fd:// for systemd's sockets")  # fmt: skip
@click.option("-G", "--group", default="docker", show_default=True, help="Whose group the unix socket is")
@click.option("-p", "--pidfile", metavar="FILE", default="", help="Write the process's number there")
@click.option("-D", "--debug", is_flag=True, help="Write a line for each request")
@click.option("--trace", is_flag=True,
              help="Show each request's way to the system calls, on stdout")  # fmt: skip
@click.option("--log-format", type=click.Choice(("text", "json")), default="text", show_default=True,
              help="How the log is written, on stderr")  # fmt: skip
@click.option("--tlsverify", is_flag=True, help="Serve TCP to clients with a certificate of our CA")
@click.option("--tlscacert", metavar="FILE", default="", help="The CA's certificate")
@click.option("--tlscert", metavar="FILE", default="", help="Our certificate")
@click.option("--tlskey", metavar="FILE", default="", help="Its key")
def command(
    hosts: tuple[str, ...], group: str, pidfile: str, debug: bool, trace: bool, log_format: str, tlsverify: bool,
    tlscacert: str, tlscert: str, tlskey: str,
) -> None:  # fmt: skip
    """Serve the Docker Engine API, for docker and its like.

    It listens on labrt.sock, beside labrt's other sockets, if nothing is said.
    Who may write to the socket is root on this machine: a container can be given the whole disk. Containers do not
    need the daemon: they go on when it ends, and `labrt ps` shows those that it made.

    \b
    Examples:
      labrt daemon
      labrt daemon --trace --host unix:///run/labrt/labrt.sock
      docker -H unix:///run/labrt/labrt.sock run --rm busybox echo hello
      labrt daemon -H tcp://127.0.0.1:2376 --tlsverify --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem
    """  # noqa: D301
    from labrt.errors import NotSupported

    try:
        from labrt.engine.api import serve, sockets
    except ModuleNotFoundError as error:
        raise NotSupported(f"{error.name} is not installed", remedy="sudo sh labrt/setup.sh install") from None
    serve.serve(sockets.Settings(hosts, group, pidfile, log_format, debug, tlsverify, tlscacert, tlscert, tlskey,
                                 trace))  # fmt: skip
