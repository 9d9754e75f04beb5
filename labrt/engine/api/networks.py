"""Networks: the engine's, and the two that are none, `none` and `host`."""

from __future__ import annotations

import hashlib
from typing import Any

from aiohttp import web

from labrt.engine import network_views
from labrt.engine.api import context, errors, router
from labrt.engine.container import Container
from labrt.engine.networks import Networks
from labrt.errors import Conflict, InvalidInput, LabrtError, NotFound, NotSupported

_NONE = {"host": "host", "none": "null"}  # name: driver
PREDEFINED = ("bridge", *_NONE)


def _none_id(name: str) -> str:
    return hashlib.sha256(f"labrt network {name}".encode()).hexdigest()


def _none(name: str) -> dict[str, Any]:
    return {
        "Name": name, "Id": _none_id(name), "Created": "1970-01-01T00:00:00Z", "Scope": "local", "Driver": _NONE[name],
        "EnableIPv4": True, "EnableIPv6": False, "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False, "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
        "Containers": {}, "Options": {}, "Labels": {},
    }  # fmt: skip


def settings(container: Container) -> dict[str, Any]:
    """Return NetworkSettings of docker's inspect."""
    found = network_views.settings(container)
    mode = str(container.record()["options"]["network"])
    if mode in _NONE:
        endpoint = {"IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": "", "DriverOpts": None,
                    "NetworkID": _none_id(mode), "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0,
                    "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": None}  # fmt: skip
        found["Networks"] = {mode: endpoint}
    return found


def ports(container: Container) -> list[dict[str, Any]]:
    """Return the ports of docker's ps: those that are exposed, and those that are published."""
    if not container.up:
        return []
    found = []
    published = network_views.published(container)
    exposed = (container.record().get("Config") or {}).get("ExposedPorts") or {}
    for key in dict.fromkeys((*exposed, *published)):
        number, _, kind = key.partition("/")
        port = {"PrivatePort": int(number), "Type": kind or "tcp"}
        places = [{"IP": host, **port, "PublicPort": public} for host, public in published.get(key, ())]
        found += places or [port]
    return found


async def listed(request: web.Request) -> web.Response:
    """GET /networks."""
    shared = context.of(request)
    wanted = router.filters(request, ("dangling", "driver", "id", "label", "name", "scope", "type"))
    rows = [row for row in await shared.call(_every, shared) if _fits(row, wanted)]
    return errors.as_json(rows)


def _every(shared: context.Context) -> list[dict[str, Any]]:
    networks = Networks(shared.where)
    networks.get("bridge")
    known = [network_views.network_to_json(one, networks) for one in networks.list()]
    return [*known, *map(_none, _NONE)]


def _fits(row: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    for word, key in {"name": "Name", "id": "Id", "driver": "Driver", "scope": "Scope"}.items():
        if word in wanted and not any(text in row[key] for text in wanted[word]):
            return False
    predefined = row["Name"] in PREDEFINED
    kinds = wanted.get("type", ())
    if kinds and ("builtin" if predefined else "custom") not in kinds:
        return False
    for value in wanted.get("dangling", ()):
        if (value.lower() in ("true", "1")) == (predefined or bool(row["Containers"])):
            return False
    return router.has_labels(row["Labels"], wanted.get("label", []))


def _find(shared: context.Context, text: str) -> dict[str, Any]:
    """Find one by name, id, or the beginning of its id. Raises NotFound in docker's words."""
    every = _every(shared)
    for row in every:
        if text in (row["Name"], row["Id"]):
            return row
    fits = [row for row in every if text and row["Id"].startswith(text)]
    if len(fits) != 1:
        raise NotFound(f"network {text} not found")
    return fits[0]


async def inspect(request: web.Request) -> web.Response:
    """GET /networks/{id}."""
    shared = context.of(request)
    return errors.as_json(await shared.call(_find, shared, request.match_info["id"]))


_KNOWN = {"Name", "Driver", "Internal", "IPAM", "EnableIPv6", "EnableIPv4", "Options", "Labels", "CheckDuplicate",
          "Attachable", "Scope"}  # fmt: skip


async def create(request: web.Request) -> web.Response:
    """POST /networks/create."""
    shared, given = context.of(request), await router.body(request, needed=True)
    for field, value in given.items():
        if field not in _KNOWN and value not in (None, False, "", {}, []):
            raise NotSupported(f"labrt's networks have no {field}", remedy="leave it out")
    name = str(given.get("Name") or "")
    ipam = given.get("IPAM") or {}
    if ipam.get("Driver") not in (None, "", "default") or ipam.get("Options"):
        raise NotSupported("labrt has one way to give addresses", remedy="leave out IPAM.Driver and IPAM.Options")
    ranges = ipam.get("Config") or []
    if any(one.get("AuxiliaryAddresses") for one in ranges):
        raise NotSupported("labrt keeps no auxiliary addresses", remedy="leave them out, or use an ip-range")

    def make() -> str:
        if name in PREDEFINED or any(row["Name"] == name for row in _every(shared)):
            raise Conflict(f"network with name {name} already exists")
        return Networks(shared.where).create(
            name, driver=given.get("Driver") or "bridge", subnet=_of(ranges, "Subnet"), gateway=_of(ranges, "Gateway"),
            ip_range=_of(ranges, "IPRange"), internal=bool(given.get("Internal")), ipv6=bool(given.get("EnableIPv6")),
            options=given.get("Options") or {}, labels=given.get("Labels") or {},
        ).id  # fmt: skip

    return errors.as_json({"Id": await shared.call(make), "Warning": ""}, 201)


def _of(ranges: list[dict[str, Any]], key: str) -> list[str]:
    return [one[key] for one in ranges if one.get(key)]


async def remove(request: web.Request) -> web.Response:
    """DELETE /networks/{id}."""
    shared = context.of(request)
    row = await shared.call(_find, shared, request.match_info["id"])
    if row["Name"] in PREDEFINED:
        return errors.as_json(
            {"message": f"{row['Name']} is a pre-defined network and cannot be removed"}, 403
        )
    try:
        await shared.call(Networks(shared.where).remove, row["Name"])
    except Conflict as error:
        raise Conflict(f"error while removing network: network {row['Name']} has active endpoints: {error}") from None
    return web.Response(status=204)


async def connect(request: web.Request) -> web.Response:
    """POST /networks/{id}/connect."""
    shared, given = context.of(request), await router.body(request, needed=True)
    row = await shared.call(_find, shared, request.match_info["id"])
    container = await shared.named(str(given.get("Container") or ""))
    endpoint = given.get("EndpointConfig") or {}
    if endpoint.get("Links"):
        raise InvalidInput("labrt has no links between containers: a network has names")
    addresses = endpoint.get("IPAMConfig") or {}
    how = {"aliases": endpoint.get("Aliases"), "ip": addresses.get("IPv4Address"), "ip6": addresses.get("IPv6Address")}
    given_ones = {name: value for name, value in how.items() if value}
    await shared.call(Networks(shared.where).connect, row["Name"], container, **given_ones)
    return web.Response()


async def disconnect(request: web.Request) -> web.Response:
    """POST /networks/{id}/disconnect."""
    shared, given = context.of(request), await router.body(request, needed=True)
    row = await shared.call(_find, shared, request.match_info["id"])
    container = await shared.named(str(given.get("Container") or ""))
    await shared.call(Networks(shared.where).disconnect, row["Name"], container)
    return web.Response()


async def prune(request: web.Request) -> web.Response:
    """POST /networks/prune."""
    shared, wanted = context.of(request), router.filters(request, ("until", "label", "label!"))

    def take() -> list[str]:
        gone, networks = [], Networks(shared.where)
        for one in networks.list():
            if one.name in PREDEFINED or not router.to_prune(dict(one.labels), one.created, wanted):
                continue
            try:
                networks.remove(one.name)
            except LabrtError:  # in use
                continue
            gone.append(one.name)
        return gone

    return errors.as_json({"NetworksDeleted": await shared.call(take) or None})


ROUTES: list[router.Route] = [
    ("GET", "/networks", listed),
    ("POST", "/networks/create", create),
    ("POST", "/networks/prune", prune),
    ("GET", "/networks/{id}", inspect),
    ("DELETE", "/networks/{id}", remove),
    ("POST", "/networks/{id}/connect", connect),
    ("POST", "/networks/{id}/disconnect", disconnect),
]
