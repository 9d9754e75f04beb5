"""Networks that containers are in: made, listed, removed; containers connected and disconnected.

    networks = Networks()
    networks.create("web", subnet=["10.9.0.0/24"]); networks.get("web"); networks.list(); networks.prune()
    networks.connect("web", container, aliases=["db"]); networks.disconnect("web", container)

A network is a directory, /var/lib/labrt/networks/NAME, that says what it shall be. What it is made of in the kernel
comes with its first container (runtime/networks/uplink.py), and goes when it is removed. `bridge` is the default: it is
there when it is asked for. `none` and `host` are no networks here, but ways to have none. See notebooks 14 and 15.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labrt import paths
from labrt.errors import Conflict, InvalidInput, NotFound, NotSupported
from labrt.image import files
from labrt.runtime.networks import definition, uplink
from labrt.runtime.networks.definition import DEFAULT, Network, Subnet
from labrt.runtime.networks.leases import Leases

if TYPE_CHECKING:
    from labrt.engine.container import Container

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
RESERVED = ("host", "none", "default", "container")
DRIVERS = ("bridge", "macvlan")
POOL = ipaddress.IPv4Network("172.24.0.0/13")  # of which a network gets a /24 when nobody says which
KEYS = {"com.docker.network.driver.mtu": "mtu", "mtu": "mtu", "parent": "parent", "macvlan_mode": "mode",
        "com.docker.network.bridge.enable_ip_masquerade": "masquerade"}  # fmt: skip


class Networks:
    """All networks of one user's labrt."""

    def __init__(self, where: paths.Paths | None = None) -> None:
        self.where = where or paths.default()

    def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnet: Sequence[str] = (),
        gateway: Sequence[str] = (),
        ip_range: Sequence[str] = (),
        internal: bool = False,
        ipv6: bool = False,
        options: Mapping[str, str] = {},
        labels: Mapping[str, str] = {},
    ) -> Network:
        """Make a network. Without a subnet it gets one that is free here, with `ipv6` one of each kind.

        `options` are docker's: mtu; of a macvlan parent and macvlan_mode.
        Raises Conflict for a name or a subnet that is taken, InvalidInput for what cannot be.
        """
        if name in RESERVED or not NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is no network's name", remedy="letters, digits, _ . -; no mode's word")
        if driver not in DRIVERS:
            raise InvalidInput(f"--driver {driver!r} is not known", remedy=f"one of {', '.join(DRIVERS)}")
        settings = _settings(options)
        if driver == "macvlan" and "parent" not in settings:
            raise InvalidInput("a macvlan is behind a card of this machine", remedy="-o parent=eth0; see `ip link`")
        with self._locked():
            if name in self._names():
                raise Conflict(f"there is a network {name} already", remedy=f"`labrt network rm {name}`")
            return self._create(name, driver, self._subnets(subnet, gateway, ip_range, ipv6), internal, settings,
                                dict(options), dict(labels))  # fmt: skip

    def _create(
        self, name: str, driver: str, subnets: Sequence[Subnet], internal: bool, settings: Mapping[str, str],
        options: Mapping[str, str], labels: Mapping[str, str],
    ) -> Network:  # fmt: skip
        id = os.urandom(32).hex()
        house = definition.house(self.where)
        own = house.replace("labrt", "labrt0", 1) if name == DEFAULT else f"labrt-{id[:8]}"
        interface = settings["parent"] if driver == "macvlan" else own
        network = Network(
            name, id, driver, time.time(), interface, tuple(subnets), internal,
            masquerade=settings.get("masquerade", "true") != "false", mtu=int(settings.get("mtu", 0)),
            mode=settings.get("mode", "bridge") if driver == "macvlan" else "", labels=labels, options=options,
        )  # fmt: skip
        directory = os.path.join(self.where.networks, name)
        os.makedirs(directory, exist_ok=True)
        files.replace(os.path.join(directory, "network.json"), json.dumps(network.to_json()).encode())
        return network

    def get(self, text: str) -> Network:
        """Find one by its name, its id or the beginning of that. The default network is made if need be.

        Raises NotFound, and InvalidInput when several ids begin like this.
        """
        text = DEFAULT if text == "default" else text
        if text == DEFAULT and DEFAULT not in self._names():
            return self._default()
        if text in self._names():
            return definition.load(self.where.networks, text)
        found = [network for network in self.list() if text and network.id.startswith(text)]
        if len(found) > 1:
            raise InvalidInput(f"{text!r} is the beginning of {len(found)} network ids", remedy="give more digits")
        if not found:
            raise NotFound(f"no network is called {text}", remedy="`labrt network ls` lists them")
        return found[0]

    def list(self) -> list[Network]:
        """List them all, the default one too, sorted by name."""
        if DEFAULT not in self._names() and not paths.owner():
            self._default()
        found = []
        for name in self._names():
            with contextlib.suppress(NotFound):
                found.append(definition.load(self.where.networks, name))
        return found

    def remove(self, text: str) -> Network:
        """Remove a network, and what it is made of. Raises NotFound, and Conflict while a container is in it."""
        network = self.get(text)
        if network.is_default:
            raise Conflict("the default network cannot be removed", remedy="`labrt reset` takes its bridge down")
        with self._locked():
            users = self.containers(network)
            if users:
                names = ", ".join(container.name for container in users)
                raise Conflict(f"network {network.name} has containers: {names}", remedy="`labrt rm` them first")
            self._remove(network)
        return network

    def prune(self) -> Sequence[str]:
        """Remove all that no container is in, but the default one. Returns their names."""
        gone = []
        for network in self.list():
            if not network.is_default:
                with contextlib.suppress(Conflict, NotFound):
                    gone.append(self.remove(network.name).name)
        return gone

    def containers(self, network: Network, *, running: bool = False) -> Sequence[Container]:
        """Return the containers that are in it, or would be if they ran."""
        from labrt.engine.containers import Containers

        return [one for one in Containers(self.where).list(all=not running) if network.name in names_of(one)]

    def inspect(self, text: str) -> dict[str, Any]:
        """Return it in the shape of the Engine API's NetworkInspect, with the containers that run in it."""
        from labrt.engine import network_views

        return network_views.network_to_json(self.get(text), self)

    # Containers in it -------------------------------------------------------------------------------------------------

    def connect(self, text: str, container: Container, *, aliases: Sequence[str] = (), ip: str = "", ip6: str = "",
                mac: str = "") -> None:  # fmt: skip
        """Put a container into one more network: at once if it runs, else at its next start. Raises Conflict."""
        network = self.get(text)
        wish = {"network": network.name, "ip": ip, "ip6": ip6, "mac": mac, "aliases": [*aliases]}
        with self._changed(container) as wishes:
            if network.name in [one["network"] for one in wishes["networks"]]:
                raise Conflict(f"container {container.name} is in network {network.name} already")
            wishes["networks"].append(wish)
            if container.up:
                container.runtime.ask(network={"connect": wish})

    def disconnect(self, text: str, container: Container, *, force: bool = False) -> None:
        """Take a container out of a network. Raises NotFound when it is not in it."""
        name = self.get(text).name
        with self._changed(container) as wishes:
            kept = [one for one in wishes["networks"] if one["network"] != name]
            if len(kept) == len(wishes["networks"]):
                raise NotFound(f"container {container.name} is not in network {name}", remedy="see `labrt inspect`")
            wishes["networks"] = kept
            if container.up:
                try:
                    container.runtime.ask(network={"disconnect": name})
                except NotFound:
                    if not force:
                        raise

    @contextlib.contextmanager
    def _changed(self, container: Container) -> Iterator[dict[str, Any]]:
        """Yield what a container wishes for, and write it down when the block has changed it."""
        with container.locked():
            wishes = wishes_of(container)
            if wishes is None:
                mode = container.record()["options"]["network"]
                raise Conflict(f"container {container.name} was made with --network {mode}",
                               remedy="make it anew with --network bridge, or another one")  # fmt: skip
            yield wishes
            path = os.path.join(container.runtime.directory, "network.json")
            files.replace(path, json.dumps(wishes).encode())

    # Housekeeping -----------------------------------------------------------------------------------------------------

    def _default(self) -> Network:
        with self._locked():
            if DEFAULT in self._names():
                return definition.load(self.where.networks, DEFAULT)
            # Of an IPv6 network that is routed nowhere but here, every host may make up one: RFC 4193.
            subnets = self._subnets((), (), (), os.path.exists("/proc/net/if_inet6"))
            return self._create(DEFAULT, "bridge", subnets, False, {}, {}, {})

    def _subnets(
        self, subnets: Sequence[str], gateways: Sequence[str], ranges: Sequence[str], ipv6: bool
    ) -> Sequence[Subnet]:
        """Read what was given, and find what was not."""
        wanted = [_network(text, "--subnet") for text in subnets]
        if (gateways or ranges) and not subnets:
            raise InvalidInput("--gateway and --ip-range want a --subnet around them", remedy="--subnet 10.9.0.0/24")
        for one in wanted:
            self._check_free(str(one))
        if not any(one.version == 4 for one in wanted):
            wanted.insert(0, self._free())
        if ipv6 and not any(one.version == 6 for one in wanted):
            wanted.append(self._made_up())
        if len(wanted) != len({one.version for one in wanted}):
            raise NotSupported("two subnets of one kind in one network", remedy="one of IPv4, and one of IPv6")
        return [_subnet(one, gateways, ranges) for one in wanted]

    def _check_free(self, subnet: str) -> None:
        wanted = ipaddress.ip_network(subnet)
        for network in self._defined():
            for other in network.subnets:
                there = ipaddress.ip_network(other.subnet)
                if there.version == wanted.version and there.overlaps(wanted):
                    raise Conflict(f"{subnet} overlaps {other.subnet} of network {network.name}", remedy="take another")
        taken = uplink.is_free(subnet)
        if taken:
            raise Conflict(f"{subnet} overlaps {taken}", remedy="take another; see `ip route`")

    def _free(self) -> ipaddress.IPv4Network:
        """Find a /24 that nothing here is in. Other labrts of this machine begin to look elsewhere."""
        blocks = 1 << (24 - POOL.prefixlen)
        house = definition.house(self.where)
        begin = 0 if house == "labrt" else int(house[-6:], 16) % blocks
        for step in range(blocks):
            address = int(POOL.network_address) + ((begin + step) % blocks << 8)
            found = ipaddress.IPv4Network((address, 24))
            with contextlib.suppress(Conflict):
                self._check_free(str(found))
                return found
        raise Conflict(f"the address pool {POOL} is full: no /24 of it is free",
                       remedy="`labrt network prune`, or --subnet; `ip route` shows what lies in it")  # fmt: skip

    def _made_up(self) -> ipaddress.IPv6Network:
        """Make up a /64 of fd00::/8, with this labrt's own 40 bits and a network's 16."""
        own = hashlib.sha256(self.where.state.encode() + _machine()).digest()[:5]
        while True:
            prefix = b"\xfd" + own + os.urandom(2) + bytes(8)
            found = ipaddress.IPv6Network((prefix, 64))
            with contextlib.suppress(Conflict):
                self._check_free(str(found))
                return found

    def _names(self) -> Sequence[str]:
        try:
            every = sorted(filter(NAME.fullmatch, os.listdir(self.where.networks)))
        except FileNotFoundError:
            return []
        return [name for name in every if os.path.exists(os.path.join(self.where.networks, name, "network.json"))]

    def _defined(self) -> Sequence[Network]:
        return [definition.load(self.where.networks, name) for name in self._names()]

    def _remove(self, network: Network) -> None:
        uplink.take_down(network, self.where)
        directory = os.path.join(self.where.networks, network.name)
        os.unlink(os.path.join(directory, "network.json"))
        with contextlib.suppress(OSError):
            os.rmdir(directory)
        Leases(self.where.leases, network).remove()

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        if paths.owner():
            raise NotSupported("an ordinary user cannot make networks", remedy="--network none, host or pasta")
        os.makedirs(self.where.networks, 0o700, exist_ok=True)
        return files.locked(os.path.join(self.where.networks, ".lock"))

    def __repr__(self) -> str:
        return f"<Networks in {self.where.networks}: {', '.join(self._names()) or 'none yet'}>"


def wishes_of(container: Container) -> dict[str, Any] | None:
    """Return what networks and ports a container wants; None for one that was made without any."""
    from labrt.runtime.networks import attachment

    with contextlib.suppress(FileNotFoundError):
        return attachment.read_wishes(container.runtime.directory)
    return None


def names_of(container: Container) -> Sequence[str]:
    """Name the networks that a container is in, or would be if it ran."""
    wishes = wishes_of(container)
    return [one["network"] for one in wishes["networks"]] if wishes else []


def _settings(options: Mapping[str, str]) -> dict[str, str]:
    for key in options:
        if key not in KEYS:
            raise InvalidInput(f"-o {key}: not known", remedy=f"one of {', '.join(KEYS)}")
    found = {KEYS[key]: value for key, value in options.items()}
    if not found.get("mtu", "1500").isdecimal() or not 68 <= int(found.get("mtu", "1500")) <= 65535:
        raise InvalidInput(f"-o mtu={found['mtu']}: no MTU", remedy="bytes, from 68 (IPv6: 1280) to 65535")
    return found


def _network(text: str, flag: str) -> Any:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidInput(f"{flag} {text!r}: {error}", remedy="like 10.9.0.0/24 or fd00:9::/64") from None


def _subnet(network: Any, gateways: Sequence[str], ranges: Sequence[str]) -> Subnet:
    """Make a Subnet, with the gateway and the range among those given that lie in it."""
    if network.num_addresses < 4:
        raise InvalidInput(f"--subnet {network} has no room for containers", remedy="a /29 (IPv6: /64) or larger")
    gateway = str(network.network_address + 1)
    for text in gateways:
        address = _network(text, "--gateway").network_address
        if address in network:
            gateway = str(address)
    chosen = ""
    for text in ranges:
        pool = _network(text, "--ip-range")
        if pool.version == network.version:
            if not pool.subnet_of(network):
                raise InvalidInput(f"--ip-range {text} is not in {network}", remedy="a part of --subnet")
            chosen = str(pool)
    return Subnet(str(network), gateway, chosen)


def _machine() -> bytes:
    """Something that this machine has and others do not: two of them may be on one cable some day."""
    try:
        with open("/etc/machine-id", "rb") as file:
            return file.read()
    except OSError:
        return os.uname().nodename.encode()
