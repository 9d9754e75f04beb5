"""Volumes."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from aiohttp import web

from labrt.engine.api import context, errors, router
from labrt.engine.volumes import Volume, Volumes
from labrt.errors import Conflict, InvalidInput, NotFound, NotSupported
from labrt.image import files
from labrt.storage.workshop import disk_usage

FILTERS = ("dangling", "driver", "label", "name")


def shape(volume: Volume) -> dict[str, Any]:
    """Return it as the API has it, with the labels that a client gave it."""
    found = volume.inspect()
    with contextlib.suppress(FileNotFoundError, ValueError), open(_labels(volume)) as file:
        found["Labels"] = {**json.load(file), **(found["Labels"] or {})}
    found["CreatedAt"] = found["CreatedAt"].partition(".")[0].removesuffix("Z") + "Z"
    return found


def _labels(volume: Volume) -> str:
    return os.path.join(os.path.dirname(volume.path), "labels.json")


def _get(shared: context.Context, name: str) -> Volume:
    try:
        return Volumes(shared.where).get(name)
    except (NotFound, InvalidInput):
        raise NotFound(f"get {name}: no such volume") from None


async def create(request: web.Request) -> web.Response:
    """POST /volumes/create."""
    shared, given = context.of(request), await router.body(request)
    if given.get("Driver") not in (None, "", "local"):
        raise NotFound(f'error looking up volume plugin {given["Driver"]}: plugin "{given["Driver"]}" not found')
    if given.get("DriverOpts"):
        raise NotSupported("labrt's volumes have no driver options", remedy="leave out DriverOpts")
    if given.get("ClusterVolumeSpec"):
        raise NotSupported("labrt has no cluster volumes", remedy="leave out ClusterVolumeSpec")
    labels = given.get("Labels") or {}
    if not isinstance(labels, dict):
        raise InvalidInput("Labels: an object is wanted")

    def make() -> dict[str, Any]:
        volume = Volumes(shared.where).create(given.get("Name") or None)
        if labels and not os.path.exists(_labels(volume)):
            files.replace(_labels(volume), json.dumps(labels).encode())
        _note(shared, "create", volume.name)
        return shape(volume)

    return errors.as_json(await shared.call(make), 201)


def _note(shared: context.Context, action: str, name: str) -> None:
    from labrt.runtime import events

    events.append(shared.where.events, "volume", action, name, {"driver": "local"})


async def listed(request: web.Request) -> web.Response:
    """GET /volumes."""
    shared, wanted = context.of(request), router.filters(request, FILTERS)

    def look() -> list[dict[str, Any]]:
        volumes = Volumes(shared.where)
        return [shape(one) for one in volumes.list() if _fits(volumes, one, wanted)]

    return errors.as_json({"Volumes": await shared.call(look), "Warnings": None})


def _fits(volumes: Volumes, volume: Volume, wanted: dict[str, list[str]]) -> bool:
    if "name" in wanted and not any(text in volume.name for text in wanted["name"]):
        return False
    if "driver" in wanted and "local" not in wanted["driver"]:
        return False
    for value in wanted.get("dangling", ()):
        if (value.lower() in ("true", "1")) == bool(volumes.users(volume.name)):
            return False
    return router.has_labels(shape(volume)["Labels"] or {}, wanted.get("label", []))


async def inspect(request: web.Request) -> web.Response:
    """GET /volumes/{name}."""
    shared = context.of(request)
    return errors.as_json(shape(await shared.call(_get, shared, request.match_info["name"])))


async def remove(request: web.Request) -> web.Response:
    """DELETE /volumes/{name}."""
    shared, name = context.of(request), request.match_info["name"]

    def take() -> None:
        try:
            volume = _get(shared, name)
        except NotFound:
            if router.flag(request, "force"):
                return
            raise
        try:
            Volumes(shared.where).remove(volume.name)
        except Conflict:
            users = ", ".join(one.id for one in Volumes(shared.where).users(volume.name))
            raise Conflict(f"remove {name}: volume is in use - [{users}]") from None
        _note(shared, "destroy", volume.name)

    await shared.call(take)
    return web.Response(status=204)


async def prune(request: web.Request) -> web.Response:
    """POST /volumes/prune: anonymous ones, and with all=true the others, too."""
    shared, wanted = context.of(request), router.filters(request, ("label", "label!", "all"))
    # Before API 1.42 named volumes went, too.
    every = any(value.lower() in ("true", "1") for value in wanted.get("all", ())) or request["version"] < (1, 42)

    def take() -> dict[str, Any]:
        volumes, gone, freed = Volumes(shared.where), [], 0
        for volume in volumes.list():
            if (volume.anonymous or every) and router.to_prune(shape(volume)["Labels"] or {}, None, wanted):
                size = disk_usage(volume.path)
                with contextlib.suppress(Conflict, NotFound):
                    volumes.remove(volume.name)
                    gone.append(volume.name)
                    freed += size
        return {"VolumesDeleted": gone or None, "SpaceReclaimed": freed}

    return errors.as_json(await shared.call(take))


ROUTES: list[router.Route] = [
    ("POST", "/volumes/create", create),
    ("GET", "/volumes", listed),
    ("POST", "/volumes/prune", prune),
    ("GET", "/volumes/{name}", inspect),
    ("DELETE", "/volumes/{name}", remove),
]
