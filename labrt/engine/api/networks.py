"""Networks: for as long as the engine has none but `none` and `host`, these are all."""

from __future__ import annotations

import hashlib
from typing import Any

from aiohttp import web

from labrt.engine.api import router
from labrt.engine.container import Container
from labrt.errors import ContainerNotFound, NotFound, NotSupported

_BUILTIN = {"host": "host", "none": "null"}  # name: driver


def _id(name: str) -> str:
    return hashlib.sha256(f"labrt network {name}".encode()).hexdigest()


def _shape(name: str) -> dict[str, Any]:
    return {
        "Name": name, "Id": _id(name), "Created": "1970-01-01T00:00:00Z", "Scope": "local", "Driver": _BUILTIN[name],
        "EnableIPv4": True, "EnableIPv6": False, "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False, "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
        "Containers": {}, "Options": {}, "Labels": {},
    }  # fmt: skip


def settings(container: Container) -> dict[str, Any]:
    """Return NetworkSettings of docker's inspect."""
    try:
        mode = container.record()["options"]["network"]
    except ContainerNotFound:
        mode = "none"
    endpoint = {
        "IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": "", "DriverOpts": None, "NetworkID": _id(mode),
        "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0, "DNSNames": None,
    }  # fmt: skip
    networks = {mode: endpoint} if mode in _BUILTIN else {}
    return {"Bridge": "", "SandboxID": "", "SandboxKey": "", "Ports": {}, "HairpinMode": False,
            "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": None,
            "SecondaryIPv6Addresses": None, "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
            "Networks": networks}  # fmt: skip


def ports(container: Container) -> list[dict[str, Any]]:
    """Return the ports of docker's ps: those that are exposed and published."""
    config = container.record().get("Config") or {}
    if not container.up:
        return []
    found = []
    for port in config.get("ExposedPorts") or ():
        number, _, kind = port.partition("/")
        found.append({"PrivatePort": int(number), "Type": kind or "tcp"})
    return found


async def listed(request: web.Request) -> web.Response:
    """GET /networks."""
    wanted = router.filters(request, ("dangling", "driver", "id", "label", "name", "scope", "type"))
    rows = [_shape(name) for name in _BUILTIN]
    tests = {"name": "Name", "id": "Id", "driver": "Driver", "scope": "Scope"}
    for word, key in tests.items():
        if word in wanted:
            rows = [row for row in rows if any(text in row[key] for text in wanted[word])]
    if "label" in wanted or "custom" in wanted.get("type", ()):
        rows = []
    return web.json_response(rows)


def _find(name: str) -> str:
    for known in _BUILTIN:
        if name == known or (name and _id(known).startswith(name)):
            return known
    raise NotFound(f"network {name} not found")


async def inspect(request: web.Request) -> web.Response:
    """GET /networks/{id}."""
    return web.json_response(_shape(_find(request.match_info["id"])))


async def refuse(request: web.Request) -> web.Response:
    """Say that there are no others."""
    raise NotSupported("labrt has no networks but none and host yet")


async def remove(request: web.Request) -> web.Response:
    """DELETE /networks/{id}."""
    name = _find(request.match_info["id"])
    return web.json_response({"message": f"{name} is a pre-defined network and cannot be removed"}, status=403)


async def prune(request: web.Request) -> web.Response:
    """POST /networks/prune."""
    router.filters(request, ("until", "label", "label!"))
    return web.json_response({"NetworksDeleted": None})


ROUTES: list[router.Route] = [
    ("GET", "/networks", listed),
    ("POST", "/networks/create", refuse),
    ("POST", "/networks/prune", prune),
    ("GET", "/networks/{id}", inspect),
    ("DELETE", "/networks/{id}", remove),
    ("POST", "/networks/{id}/connect", refuse),
    ("POST", "/networks/{id}/disconnect", refuse),
]
