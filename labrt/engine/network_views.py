"""Networks as the Engine API shows them: a network with its containers, a container with its networks and ports.

    network_to_json(network, networks)       NetworkInspect
    settings(container)                      the NetworkSettings of ContainerInspect
    published(container)                     {"80/tcp": [("0.0.0.0", 8080), …]}, what `labrt port` prints
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from labrt.engine.inspect import rfc3339
from labrt.errors import ContainerNotFound, NotFound
from labrt.runtime.networks import definition
from labrt.runtime.networks.definition import Network
from labrt.runtime.networks.leases import Leases

if TYPE_CHECKING:
    from labrt.engine.container import Container
    from labrt.engine.networks import Networks


def network_to_json(network: Network, networks: Networks) -> dict[str, Any]:
    """Return a network, with those containers that run in it."""
    endpoints = Leases(networks.where.leases, network).endpoints()
    within = {}
    for container in networks.containers(network, running=True):
        endpoint = endpoints.get(container.id)
        if endpoint:
            addresses = {
                f"IPv{version}Address": f"{endpoint.address(version)}/{subnet.prefix}"
                if (subnet := network.of(version)) else "" for version in (4, 6)
            }  # fmt: skip
            with contextlib.suppress(ContainerNotFound):  # removed just now
                within[container.id] = {"Name": container.name, "MacAddress": endpoint.mac, **addresses}
    ranges = [{"Subnet": one.subnet, "Gateway": one.gateway, **({"IPRange": one.ip_range} if one.ip_range else {})}
              for one in network.subnets]  # fmt: skip
    return {
        "Name": network.name, "Id": network.id, "Created": rfc3339(network.created), "Scope": "local",
        "Driver": network.driver, "EnableIPv4": bool(network.of(4)), "EnableIPv6": bool(network.of(6)),
        "IPAM": {"Driver": "default", "Options": None, "Config": ranges}, "Internal": network.internal,
        "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
        "Containers": within, "Options": dict(network.options), "Labels": dict(network.labels),
    }  # fmt: skip


def report(container: Container) -> dict[str, Any]:
    """Return what its monitor has written down about its networks; {} while it does not run."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(
        os.path.join(container.where.sockets, container.id, "endpoints.json")
    ) as file:
        found: dict[str, Any] = json.load(file)
        return found
    return {}


def published(container: Container) -> dict[str, list[tuple[str, int]]]:
    """Return which addresses and ports of this machine lead to which port of it, while it runs."""
    found: dict[str, list[tuple[str, int]]] = {}
    for one in report(container).get("ports", ()):
        found.setdefault(f"{one['to']}/{one['protocol']}", []).append((one["host"], one["port"]))
    return dict(sorted(found.items(), key=lambda pair: (int(pair[0].partition("/")[0]), pair[0])))


def settings(container: Container) -> dict[str, Any]:
    """Return NetworkSettings: of a container that does not run, the networks that it will be in."""
    from labrt.engine.networks import wishes_of

    wishes = wishes_of(container) or {"networks": [], "ports": []}
    told = {one["network"]: one for one in report(container).get("networks", ())}
    every = {one["network"]: _endpoint(container, one, told.get(one["network"])) for one in wishes["networks"]}
    ports: dict[str, Any] = {key: None for key in (container.record().get("Config") or {}).get("ExposedPorts", {})}
    for key, bindings in published(container).items():
        ports[key] = [{"HostIp": host, "HostPort": str(port)} for host, port in bindings]
    state = container.state
    return {
        "SandboxKey": f"/proc/{state.pid}/ns/net" if state.alive and state.pid else "",
        "Ports": ports if state.alive else {},
        "Networks": every,
    }


def _endpoint(container: Container, wish: dict[str, Any], told: dict[str, Any] | None) -> dict[str, Any]:
    try:
        network = definition.load(container.where.networks, wish["network"])
    except NotFound:  # it was removed while the container did not run
        network = Network(wish["network"], "", "bridge", 0.0, "")
    v4, v6 = network.of(4), network.of(6)
    there = told or {"ipv4": "", "ipv6": "", "mac": wish["mac"], "names": []}
    return {
        "IPAMConfig": {"IPv4Address": wish["ip"], "IPv6Address": wish["ip6"]} if wish["ip"] or wish["ip6"] else None,
        "Aliases": list(wish["aliases"]) or None,
        "MacAddress": there["mac"], "NetworkID": network.id,
        "Gateway": v4.gateway if v4 and told and not network.internal else "",
        "IPAddress": there["ipv4"], "IPPrefixLen": v4.prefix if v4 and told else 0,
        "IPv6Gateway": v6.gateway if v6 and told and not network.internal else "",
        "GlobalIPv6Address": there["ipv6"], "GlobalIPv6PrefixLen": v6.prefix if v6 and told else 0,
        "DNSNames": None if network.is_default else list(there["names"]),
    }  # fmt: skip
