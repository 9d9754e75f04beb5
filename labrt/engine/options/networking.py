"""Which networks a container is in, and which of its ports this machine has: --network, -p, -P, --ip and their like.

    none             a namespace with nothing but its own loopback
    host             none is made: it stays in the host's
    bridge           the default network, which it also has when nobody says anything
    pasta            the way out of who may not make a bridge: an ordinary user's default, if pasta(1) is installed
    slirp4netns      the same by slirp4netns(1): their default if only that is installed
    NAME             a network of `labrt network create`; several, when --network is given several times
    NAME,ip=…,…      with ip, ip6, alias and mac-address for this network alone
    container:X      X's is entered, with all that X has: addresses, ports, names

    -p [[HOST:]PORT:]PORT[/udp]      HOST is an address of this machine; PORT may be a range; no port: any that is free

What is wished for is written beside config.json (`wishes`); at each start it is the monitor that gives addresses and
claims ports, see runtime/networks. See network_namespaces(7); notebooks 14 and 15.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from labrt import paths
from labrt.engine.options import etc
from labrt.engine.options.model import TAPS, Options
from labrt.errors import InvalidInput
from labrt.image.config import ImageConfig

_PUBLISH = re.compile(
    r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[0-9.]*):)?(?:(?P<outer>[0-9-]*):)?(?P<inner>[0-9-]+)(?:/(?P<kind>\w+))?"
)
_ALIAS = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,62}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
PROTOCOLS = ("tcp", "udp")
_WORDS = {"ip": "ip", "ip6": "ip6", "mac-address": "mac", "alias": "aliases"}


def check(options: Options) -> None:
    """Raise InvalidInput for what is not understood, and for what contradicts itself."""
    wanted = networks(options)
    if options.network in TAPS and not paths.owner():
        raise InvalidInput(f"--network {options.network} is an ordinary user's", remedy="root has --network bridge")
    ports = [port for text in options.publish for port in parse(text)]
    own = options.given("ip", "ip6", "mac_address", "network_alias", "further_networks")
    if options.network.startswith("container:"):
        taken = {"-p": ports, "-P": options.publish_all, "--hostname": options.hostname, "--dns": options.dns,
                 "--add-host": options.add_host}  # fmt: skip
        for flag in (flag for flag, value in taken.items() if value):
            problem = f"{flag} with --network {options.network}: it would be that one's"
            raise InvalidInput(problem, remedy="set it there")
    if own and not wanted:
        raise InvalidInput(f"an address or an alias with --network {options.network}: there is no network for it",
                           remedy="--network NAME, of `labrt network create`")  # fmt: skip
    names = [one["network"] for one in wanted]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"--network {name} is given twice", remedy="leave one out")


def networks(options: Options) -> list[dict[str, Any]]:
    """Return each network that it shall be in: {network, ip, ip6, mac, aliases}. None for none, host, container:X."""
    if options.network in ("none", "host", *TAPS) or options.network.startswith("container:"):
        if options.further_networks:
            raise InvalidInput(f"--network {options.network} with other networks", remedy="leave that one out")
        return []
    wanted = [_network(text) for text in (options.network, *options.further_networks)]
    first = wanted[0]
    for field, given in (("ip", options.ip), ("ip6", options.ip6), ("mac", options.mac_address)):
        if given:
            first[field] = _checked(field, given)
    first["aliases"] += [_checked("aliases", alias) for alias in options.network_alias]
    return wanted


def _network(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {"network": "", "ip": "", "ip6": "", "mac": "", "aliases": []}
    for word in text.split(","):
        key, given, value = word.partition("=")
        if not given or key == "name":
            found["network"] = value if given else key
        elif key not in _WORDS:
            raise InvalidInput(f"--network {text}: {key!r} is not known", remedy=f"one of {', '.join(_WORDS)}")
        elif key == "alias":
            found["aliases"].append(_checked("aliases", value))
        else:
            found[_WORDS[key]] = _checked(_WORDS[key], value)
    if found["network"] == "default":
        found["network"] = "bridge"
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", found["network"]):
        remedy = "none, host, bridge, pasta, slirp4netns, container:NAME, or a network of `labrt network ls`"
        raise InvalidInput(f"--network {text!r} is not known", remedy=remedy)
    return found


def _checked(field: str, text: str) -> str:
    """Return an address, a MAC or an alias as it is written normally. Raises InvalidInput."""
    if field == "aliases":
        if not _ALIAS.fullmatch(text):
            raise InvalidInput(f"--network-alias {text!r} is no name", remedy="letters, digits, _ . -; up to 63")
        return text
    if field == "mac":
        text = text.lower().replace("-", ":")
        if not _MAC.fullmatch(text) or int(text[:2], 16) & 1:
            raise InvalidInput(f"--mac-address {text!r} is no machine's", remedy="like 02:42:ac:18:00:05")
        return text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != (4 if field == "ip" else 6):
        remedy = "like 172.24.0.5" if field == "ip" else "like fd00::5"
        raise InvalidInput(f"--{field} {text!r} is no such address", remedy=remedy)
    return str(address)


def parse(text: str) -> list[dict[str, Any]]:
    """Read one -p: {protocol, host, first, last, port} for each port inside; first and last are 0 for any port.

    Of two ranges of one length each leads to its own; of a range to one port the first is taken that is free.
    """
    match = _PUBLISH.fullmatch(text)
    if not match:
        raise _wrong(text, "not understood")
    given, outer, protocol = match["host"] or "", match["outer"], (match["kind"] or "tcp").lower()
    if outer is None and given.isdecimal():
        given, outer = "", given  # of two numbers the first is the port
    host = _host(text, given)
    if protocol not in PROTOCOLS:
        raise _wrong(text, f"{protocol} has no ports that can be published")
    first, last = _range(text, match["inner"])
    begin, end = _range(text, outer) if outer else (0, 0)
    if begin and end - begin != last - first and first != last:
        raise _wrong(text, "the two ranges are not of the same length")
    found = []
    for number in range(first, last + 1):
        spread = (begin, end) if first == last or not begin else (begin + number - first,) * 2
        found.append({"protocol": protocol, "host": host, "first": spread[0], "last": spread[1], "port": number})
    return found


def _host(text: str, host: str) -> str:
    if not host:
        return ""
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise _wrong(text, f"{host} is no address") from None
    return str(address)


def _range(text: str, numbers: str) -> tuple[int, int]:
    first, dash, last = numbers.partition("-")
    if not first or (dash and not last) or "-" in last:
        raise _wrong(text, f"{numbers!r} is no port")
    begin, end = int(first), int(last or first)
    if not 1 <= begin <= end <= 65535:
        raise _wrong(text, f"{numbers} are no ports")
    return begin, end


def _wrong(text: str, why: str) -> InvalidInput:
    return InvalidInput(f"-p {text!r}: {why}", remedy="like 8080:80, 127.0.0.1:8080:80, [::1]:53:53/udp, 8000-8010:80")


def wishes(options: Options, image: ImageConfig, hostname: str) -> dict[str, Any]:
    """Return what network.json says: all that the monitor needs to give it its networks."""
    ports = [port for text in options.publish for port in parse(text)]
    if options.publish_all:
        published = {(port["port"], port["protocol"]) for port in ports}
        exposed = [*image.exposed_ports, *_exposed(options)]
        for text in dict.fromkeys(exposed):
            ports += [port for port in parse(text) if (port["port"], port["protocol"]) not in published]
    return {
        "networks": networks(options),
        "ports": ports,
        "names": f"{hostname}.{options.domainname} {hostname}" if options.domainname else hostname,
        "hosts": etc.hosts(options),
        "dns": list(options.dns),
        "dns_search": list(options.dns_search),
        "dns_option": list(options.dns_option),
    }


def _exposed(options: Options) -> list[str]:
    if not options.expose:
        return []
    from labrt.engine.options import records

    return list(records.ports(options.expose))


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write into config.json whose network namespace it enters, if another container's."""
    from labrt.runtime import joins

    if options.network.startswith("container:"):
        config["annotations"][f"{joins.JOIN}network"] = options.network.removeprefix("container:")


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's NetworkMode, PortBindings and PublishAllPorts."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for text in options.publish:
        for port in parse(text):
            outer = f"{port['first']}-{port['last']}" if port["first"] != port["last"] else str(port["first"] or "")
            key = f"{port['port']}/{port['protocol']}"
            bindings.setdefault(key, []).append({"HostIp": port["host"], "HostPort": outer})
    wanted = networks(options)
    return {
        "NetworkMode": wanted[0]["network"] if wanted else options.network_mode,
        "PortBindings": bindings,
        "PublishAllPorts": options.publish_all,
    }


def container_config(options: Options, image: ImageConfig) -> dict[str, Any]:
    """Return docker's ExposedPorts: those of the image, of --expose, and what is published."""
    ports = {**dict.fromkeys(image.exposed_ports), **dict.fromkeys(_exposed(options))}
    for text in options.publish:
        ports |= {f"{port['port']}/{port['protocol']}": None for port in parse(text)}
    return {"ExposedPorts": {port: {} for port in ports}}
