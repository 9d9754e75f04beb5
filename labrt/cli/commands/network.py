"""`labrt network`: make, show and remove networks; put containers in and take them out."""

from __future__ import annotations

import click

from labrt.cli import parameters, show

_networks = click.argument("names", metavar="NETWORK [NETWORK...]", nargs=-1, required=True,
                           shell_complete=parameters.network_names)  # fmt: skip
_network = click.argument("network", metavar="NETWORK", shell_complete=parameters.network_names)


@click.group
def command() -> None:
    """Make, show and remove networks.

    A network is a bridge in the kernel, that containers are plugged into; on one network they find each other by name.

    \b
    Examples:
      labrt network create front
      labrt run -d --name web --network front busybox httpd -f
      labrt run --rm --network front busybox wget -qO- http://web/
      labrt network trace
    """  # noqa: D301


@command.command
@click.option("-d", "--driver", metavar="NAME", default="bridge", show_default=True, help="bridge, or macvlan")
@click.option("--gateway", metavar="IP", multiple=True, help="The address that this machine has in it")
@click.option("--internal", is_flag=True, help="Let nobody in it reach the world")
@click.option("--ip-range", metavar="SUBNET", multiple=True, help="Give containers addresses of this part of it")
@click.option("--ipv6", is_flag=True, help="Give it a subnet of IPv6, too")
@click.option("--label", metavar="KEY=VALUE", multiple=True, help="Give it a label")
@click.option("-o", "--opt", metavar="KEY=VALUE", multiple=True, help="mtu=1400; of a macvlan: parent=eth0")
@click.option("--subnet", metavar="SUBNET", multiple=True, help="Its addresses: 10.9.0.0/24, fd00:9::/64")
@click.argument("name", metavar="NETWORK")
def create(
    driver: str, gateway: tuple[str, ...], internal: bool, ip_range: tuple[str, ...], ipv6: bool,
    label: tuple[str, ...], opt: tuple[str, ...], subnet: tuple[str, ...], name: str,
) -> None:  # fmt: skip
    """Make a network, and print its id."""
    from labrt.engine.networks import Networks

    made = Networks().create(
        name, driver=driver, subnet=subnet, gateway=gateway, ip_range=ip_range, internal=internal, ipv6=ipv6,
        options=parameters.pairs("-o", opt), labels=parameters.pairs("--label", label),
    )  # fmt: skip
    click.echo(made.id)


@command.command("ls")
@click.option("--no-trunc", is_flag=True, help="Show ids in full length")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the ids")
def list_(no_trunc: bool, quiet: bool) -> None:
    """Show the networks."""
    from labrt.engine.networks import Networks

    rows = [(one.id if no_trunc else one.id[:12], one.name, one.driver, "local") for one in Networks().list()]
    if not quiet:
        click.echo(show.table(("NETWORK ID", "NAME", "DRIVER", "SCOPE"), rows))
    elif rows:
        click.echo("\n".join(row[0] for row in rows))


@command.command
@parameters.template_option("{{.Driver}}")
@_networks
def inspect(template: str | None, names: tuple[str, ...]) -> int:
    """Show all that is known of networks, as JSON."""
    from labrt.engine.networks import Networks

    return parameters.inspect_each(names, Networks().inspect, template)


@command.command
@click.option("--alias", metavar="NAME", multiple=True, help="One more name for its neighbours to find it by")
@click.option("--ip", metavar="IP", default="", help="The address that it gets")
@click.option("--ip6", metavar="IP", default="", help="The IPv6 address that it gets")
@_network
@parameters.container_argument()
def connect(alias: tuple[str, ...], ip: str, ip6: str, network: str, name: str) -> None:
    """Put a container into one more network."""
    from labrt.engine.networks import Networks

    Networks().connect(network, parameters.get(name), aliases=alias, ip=ip, ip6=ip6)


@command.command
@click.option("-f", "--force", is_flag=True, help="Let it be no error if it is not plugged in")
@_network
@parameters.container_argument()
def disconnect(force: bool, network: str, name: str) -> None:
    """Take a container out of a network."""
    from labrt.engine.networks import Networks

    Networks().disconnect(network, parameters.get(name), force=force)


@command.command
@click.option("-f", "--force", is_flag=True, help="Let it be no error if one is not there")
@_networks
def rm(force: bool, names: tuple[str, ...]) -> int:
    """Remove networks that no container is in."""
    from labrt.engine.networks import Networks

    return parameters.remove_each(names, Networks().remove, force=force)


@command.command
@click.option("-f", "--force", is_flag=True, help="Do not ask first")
def prune(force: bool) -> int:
    """Remove the networks that no container is in."""
    from labrt.engine.networks import Networks

    if not force and not parameters.agreed("This will remove all networks that no container is in."):
        return 1
    gone = Networks().prune()
    if gone:
        click.echo("\n".join(("Deleted Networks:", *gone)))
    return 0


@command.command
def trace() -> None:
    """Show the way of a packet through labrt's rules, with what went by each so far."""
    from labrt.engine import network_trace

    click.echo(str(network_trace.trace()))
