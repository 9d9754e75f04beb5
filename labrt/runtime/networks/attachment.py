"""Plugging one container into its networks, and unplugging it: what its monitor does at each start and each end.

    attachment = Attachment(request, id)
    attachment.attach(pid)          the container's init is born, and waits: its network namespace is there, and empty
    attachment.connect({…}); attachment.disconnect("web")          while it runs
    attachment.detach()

For each network: bring it up, take addresses, and lay a cable with one end in the container, called eth0, eth1, …; then
claim the published ports and lead them to the first network's address; start the helper where one is needed; write
hosts and resolv.conf. All or nothing. `request` says where what is wished for lies (engine/networks.py wrote it), and
`endpoints.json` beside the container's sockets says what has come of it, for `inspect` and for whoever must mend.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping

from labrt.errors import Conflict, LabrtError, NotFound
from labrt.image import files
from labrt.linux import process, rtnetlink
from labrt.linux.network import addresses, links, ports, resolver, routes
from labrt.linux.network.firewall import Firewall, Publication
from labrt.paths import Paths
from labrt.runtime.networks import definition, etc, helper, uplink
from labrt.runtime.networks.definition import Network
from labrt.runtime.networks.leases import Endpoint, Leases
from labrt.runtime.networks.publishing import Published
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Plug(Record):
    """One network that a container is in: what it is called there and here, and what it has."""

    network: Network
    endpoint: Endpoint
    inside: str  # eth0
    outside: str  # the other end of the cable, a port of the bridge; "" for a macvlan


class Attachment:
    """One container's networks, from its birth to its end. For the process that is its monitor."""

    def __init__(self, request: Mapping[str, Any], id: str) -> None:
        self.id = id
        self.where = Paths(*request["where"])
        self.directory: str = os.path.join(self.where.containers, id)
        self.report: str = os.path.join(self.where.sockets, id, "endpoints.json")
        self.plugs: list[Plug] = []
        self.published = Published(self.where)
        self.resolver: list[socket.socket] = []
        self.helper: process.Child | None = None
        self.namespace = -1
        self.wishes: dict[str, Any] = {}

    # At its start and its end

    def attach(self, pid: int, name: str) -> None:
        """Plug it into all of its networks. Raises what went wrong; then nothing is left of it."""
        self.wishes = {**read_wishes(self.directory), "name": name}
        self.namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for wish in self.wishes["networks"]:
                self._plug(wish)
            self._route()
            self._publish()
            self._help()
            self._write_etc()
            self._write_report()
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Take all of it back: ports, helper, cables, addresses. Harmless when there is nothing."""
        with contextlib.suppress(LabrtError):
            self.published.unpublish()
        self._end_helper()
        self.published.release()
        for sock in self.resolver:
            sock.close()
        self.resolver = []
        for plug in self.plugs:
            self._unplug(plug)
        self.plugs = []
        if self.namespace >= 0:
            os.close(self.namespace)
            self.namespace = -1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.report)
        with contextlib.suppress(OSError):  # there may be more in it
            os.rmdir(os.path.dirname(self.report))

    # Cables and addresses

    def _plug(self, wish: Mapping[str, Any]) -> Plug:
        """Plug it into one network."""
        network = definition.load(self.where.networks, wish["network"])
        uplink.bring_up(network, self.where)
        book = Leases(self.where.leases, network)
        names = self._names(wish)
        endpoint = book.take(self.id, names=names, ipv4=wish["ip"], ipv6=wish["ip6"], mac=wish["mac"])
        inside = f"eth{len(self.plugs)}"
        while any(plug.inside == inside for plug in self.plugs):
            inside = f"eth{int(inside[3:]) + 1}"
        plug = Plug(network, endpoint, inside, "" if network.driver == "macvlan" else f"lab{os.urandom(5).hex()}")
        self.plugs.append(plug)
        self._lay(plug)
        return plug

    def _names(self, wish: Mapping[str, Any]) -> tuple[str, ...]:
        """What it is called in a network: its name, its aliases, the beginning of its id, its hostname."""
        names = (self.wishes["name"], *wish["aliases"], self.id[:12], *self.wishes["names"].split()[-1:])
        return tuple(dict.fromkeys(names))

    def _lay(self, plug: Plug) -> None:
        network, endpoint, mtu = plug.network, plug.endpoint, plug.network.mtu or None
        if network.driver == "macvlan":
            links.macvlan(plug.inside, network.interface, mode=network.mode or "bridge", namespace=self.namespace,
                          mac=endpoint.mac, mtu=mtu)  # fmt: skip
        else:
            links.veth(plug.outside, plug.inside, namespace=self.namespace, mac=endpoint.mac, mtu=mtu)
            links.change(plug.outside, master=network.interface, up=True)
            if uplink.sees_frames():
                links.reflect(plug.outside)
        with rtnetlink.entered(self.namespace):
            links.change(plug.inside, up=True)
            for version in (4, 6):
                subnet = network.of(version)
                if subnet:
                    addresses.add(plug.inside, f"{endpoint.address(version)}/{subnet.prefix}")

    def _route(self) -> None:
        """Send what is for nobody in its networks to the gateway of the first one that leads out."""
        with rtnetlink.entered(self.namespace):
            there = [route for route in routes.listed() if route.destination in ("0.0.0.0/0", "::/0")]
            for version, everything in ((4, "0.0.0.0/0"), (6, "::/0")):
                plug = self._way_out(version)
                for route in there:
                    if route.destination == everything:
                        routes.delete(route.interface, via=route.via)
                if plug:
                    routes.add(plug.inside, via=plug.network.of(version).gateway)  # type: ignore[union-attr]

    def _way_out(self, version: int) -> Plug | None:
        for plug in self.plugs:
            subnet = plug.network.of(version)
            if subnet and subnet.gateway and not plug.network.internal:
                return plug
        return None

    def _unplug(self, plug: Plug) -> None:
        with contextlib.suppress(LabrtError):
            if plug.outside:
                links.delete(plug.outside)
            else:
                with rtnetlink.entered(self.namespace):
                    links.delete(plug.inside)
        Leases(self.where.leases, plug.network).give_back(self.id)

    # Ports

    def _publish(self) -> None:
        """Claim the published ports, and lead them to it."""
        targets = self._targets()
        if not self.wishes["ports"]:
            return
        if not targets:
            raise Conflict("a port can be published only from a network that leads out of this machine",
                           remedy="--network bridge, or one that was made without --internal")  # fmt: skip
        self.published.publish(self.wishes["ports"], targets, self._repair)

    def _targets(self) -> dict[int, str]:
        """Return the addresses, by IP version, that published ports are led to."""
        return {version: plug.endpoint.address(version) for version in (4, 6) if (plug := self._way_out(version))}

    def _repair(self) -> None:
        for plug in self.plugs:
            uplink.repair(plug.network, self.where)

    # The helper, and files

    def _help(self) -> None:
        """Start the helper, or a new one with what is there now; none, if there is nothing for it to do."""
        self._end_helper()
        named = [plug.network for plug in self.plugs if not plug.network.is_default]
        if (named or etc.needs_resolver(self.wishes)) and not self.resolver:
            self.resolver = _listen(self.namespace)
        if not self.published.claims and not self.resolver:
            return
        outward = self._way_out(4) or self._way_out(6)
        upstream = etc.upstream(self.wishes) if outward else []  # what is internal asks nobody outside
        self.helper = helper.start(
            relays=self.published.claims, resolver=self.resolver, upstream=upstream, leases=self.where.leases,
            networks=[network.name for network in named],
        )  # fmt: skip

    def _end_helper(self) -> None:
        if self.helper:
            self.helper.kill()
            self.helper.wait()
            self.helper.close()
            self.helper = None

    def _write_etc(self) -> None:
        mine = [plug.endpoint.address(version) for plug in self.plugs for version in (4, 6)]
        first = next((plug.network.of(4) for plug in self.plugs if plug.network.of(4)), None)
        gateway = first.gateway if first else ""
        etc.write(self.directory, self.wishes, [one for one in mine if one], gateway, bool(self.resolver))

    def _write_report(self) -> None:
        """Write down what it has, for `inspect` and for who must mend."""
        os.makedirs(os.path.dirname(self.report), 0o700, exist_ok=True)
        report = {
            "networks": [
                {"network": plug.network.name, "inside": plug.inside, "outside": plug.outside,
                 **plug.endpoint._asdict()} for plug in self.plugs
            ],
            **self.published.report(),
        }  # fmt: skip
        files.replace(self.report, json.dumps(report).encode(), durable=False)

    # While it runs

    def rename(self, name: str) -> None:
        """Let it be found by another name."""
        before, self.wishes["name"] = self.wishes["name"], name
        for plug in self.plugs:
            names = [name, *(other for other in plug.endpoint.names if other not in (before, name))]
            Leases(self.where.leases, plug.network).rename(self.id, names)

    def connect(self, wish: Mapping[str, Any]) -> None:
        """Plug it into one more network. Raises Conflict when it is in that one."""
        if any(plug.network.name == wish["network"] for plug in self.plugs):
            raise Conflict(f"the container is in network {wish['network']} already")
        before = len(self.plugs)
        try:
            self._plug(wish)
            self._refresh()
        except BaseException:
            for plug in self.plugs[before:]:
                self._unplug(plug)
            del self.plugs[before:]
            raise

    def disconnect(self, network: str) -> None:
        """Unplug it from a network. Ports that are published from there are so no more. Raises NotFound."""
        plug = next((plug for plug in self.plugs if plug.network.name == network), None)
        if plug is None:
            raise NotFound(f"the container is in no network {network}", remedy="`labrt inspect` says which it is in")
        self._unplug(plug)
        self.plugs.remove(plug)
        self._refresh()

    def _refresh(self) -> None:
        """Lead routes and ports by the networks that are there now."""
        self._route()
        targets, published = self._targets(), self.published
        if published.publications and {one.to for one in published.publications} != set(targets.values()):
            published.unpublish()
            self._end_helper()
            published.release()
            if targets:
                self._publish()
        self._help()
        self._write_etc()
        self._write_report()


def read_wishes(directory: str) -> dict[str, Any]:
    """Read what networks and ports a container wants: see engine/networks.py."""
    with open(os.path.join(directory, "network.json")) as file:
        wishes: dict[str, Any] = json.load(file)
        return wishes


def mend(where: Paths, id: str) -> None:
    """After the death of a monitor: take back what it would have. Its helper, cables and claims have died with it."""
    report = os.path.join(where.sockets, id, "endpoints.json")
    try:
        with open(report) as file:
            about = json.load(file)
    except (FileNotFoundError, ValueError):
        return
    firewall = Firewall(definition.house(where))
    with contextlib.suppress(LabrtError):
        stale = {Publication(*one) for one in about["publications"]}
        firewall.unpublish(stale & set(firewall.published()))
    for entry in about["networks"]:
        if entry["outside"]:
            with contextlib.suppress(LabrtError):
                links.delete(entry["outside"])
        with contextlib.suppress(LabrtError):
            Leases(where.leases, definition.load(where.networks, entry["network"])).give_back(id)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(report)


def _listen(namespace: int) -> list[socket.socket]:
    """Make the resolver's sockets in the container's network namespace, and lead port 53 of 127.0.0.11 to them.

    They have ports of their own, so that a name server in the container can have port 53 on all addresses.
    """
    from labrt.linux.network import loopback_up, nft

    with rtnetlink.entered(namespace):
        loopback_up()  # init would, too, but perhaps later
        sockets = [ports.claim(protocol, resolver.ADDRESS, 0) for protocol in ("udp", "tcp")]
        udp, tcp = (sock.getsockname()[1] for sock in sockets)
        try:
            nft.run(
                "table ip labrt-resolver {\n chain output { type nat hook output priority -100; policy accept;\n"
                f"  ip daddr {resolver.ADDRESS} udp dport 53 dnat to {resolver.ADDRESS}:{udp}\n"
                f"  ip daddr {resolver.ADDRESS} tcp dport 53 dnat to {resolver.ADDRESS}:{tcp}\n }}\n}}"
            )
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
    return sockets
