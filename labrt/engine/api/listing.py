"""GET /containers/json: what `docker ps` shows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from aiohttp import web

from labrt.engine import inspect, still, summary
from labrt.engine.api import context, errors, inspecting, networks, router
from labrt.engine.container import Container
from labrt.engine.images import Images
from labrt.errors import ContainerNotFound, InvalidInput, LabrtError

FILTERS = (
    "ancestor", "before", "expose", "exited", "health", "id", "isolation", "is-task", "label", "name", "network",
    "publish", "since", "status", "volume",
)  # fmt: skip
STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


async def listed(request: web.Request) -> web.Response:
    """List containers, the newest first."""
    wanted = router.filters(request, FILTERS)
    for status in wanted.get("status", ()):
        if status not in STATUSES:
            raise InvalidInput(f"invalid filter 'status={status}'")
    limit = router.number(request, "limit") or 0
    every = router.flag(request, "all") or limit > 0 or bool({"status", "exited", "since", "before"} & wanted.keys())
    size = router.flag(request, "size")
    return errors.as_json(await context.of(request).call(_list, context.of(request), wanted, every, limit, size))


def _list(
    shared: context.Context, wanted: dict[str, list[str]], every: bool, limit: int, size: bool
) -> list[dict[str, Any]]:
    found = []
    bounds = {word: [shared.lookup(name).record()["created"] for name in wanted.get(word, ())]
              for word in ("since", "before")}  # fmt: skip
    ancestors = _ancestors(shared, wanted.get("ancestor", []))
    for container in still.every(shared.containers()):
        with contextlib.suppress(ContainerNotFound):
            if not every and not container.up:
                continue
            created, row = container.record()["created"], shown(container)
            if not all(created > bound for bound in bounds["since"]):
                continue
            if not all(created < bound for bound in bounds["before"]) or not _fits(container, row, wanted):
                continue
            if "ancestor" in wanted and row["ImageID"] not in ancestors:
                continue
            if size:
                row |= {"SizeRw": Images(shared.where).driver.usage(container.id),
                        "SizeRootFs": inspecting.root_size(container)}  # fmt: skip
            found.append(row)
    return found[:limit] if limit > 0 else found


def _ancestors(shared: context.Context, names: list[str]) -> set[str]:
    found = set()
    for name in names:
        with contextlib.suppress(LabrtError):
            found.add(str(Images(shared.where).find(name).id))
    return found


def _fits(container: Container, row: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    import re

    def some(name: str, test: Any) -> bool:
        return name not in wanted or any(test(value) for value in wanted[name])

    health = container.health
    mounts = {place for mount in row["Mounts"] for place in (mount.get("Name"), mount["Destination"])}
    nets = row["NetworkSettings"]["Networks"]
    ids = {name: (about or {}).get("NetworkID", "") for name, about in nets.items()}
    ports = {f"{port['PrivatePort']}/{port['Type']}" for port in row["Ports"]}
    public = {f"{port['PublicPort']}/{port['Type']}" for port in row["Ports"] if "PublicPort" in port}
    return (
        some("id", row["Id"].startswith)
        and some("name", lambda name: any(re.search(name, one) or re.search(name, one[1:]) for one in row["Names"]))
        and router.has_labels(row["Labels"], wanted.get("label", []))
        and some("status", row["State"].__eq__)
        and some("exited", lambda code: row["State"] == "exited" and str(container.state.exit_code) == code)
        and some("health", lambda word: (health["Status"] if health else "none") == word)
        and some("volume", mounts.__contains__)
        and some("network", lambda name: name in ids or any(id and id.startswith(name) for id in ids.values()))
        and some("expose", lambda port: (port if "/" in port else f"{port}/tcp") in ports)
        and some("publish", lambda port: (port if "/" in port else f"{port}/tcp") in public)
        and some("is-task", lambda word: word.lower() in ("false", "0"))
    )


def shown(container: Container) -> dict[str, Any]:
    """Return one line of the list."""
    record = container.record()
    config, host = (record.get(name) or {} for name in ("Config", "HostConfig"))
    return {
        "Id": container.id,
        "Names": [f"/{record['name']}"],
        "Image": _of_file(container, "api.json", _image) or record["image"],
        "ImageID": record["image_id"],
        "Command": summary.command(record),
        "Created": int(record["created"]),
        "Ports": networks.ports(container),
        "Labels": config.get("Labels") or {},
        "State": container.status,
        "Status": summary.status(container),
        "HostConfig": {"NetworkMode": host.get("NetworkMode", "default")},
        "NetworkSettings": {"Networks": networks.settings(container)["Networks"]},
        "Mounts": _of_file(container, "config.json", inspect.mounts),
    }


def _image(container: Container) -> str:
    return str(inspecting.asked(container).get("Config", {}).get("Image") or "")


_known: dict[str, tuple[tuple[int, ...], Any]] = {}
_MOST = 10_000  # files


def _of_file(container: Container, name: str, read: Callable[[Container], Any]) -> Any:
    """Return what `read` reads off a file of a container, which it need not as long as that is the same file.

    These files are long, hardly ever change, and are replaced when they do: so i-node, time and size tell.
    """
    path = os.path.join(container.runtime.directory, name)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return read(container)
    key = (status.st_ino, status.st_mtime_ns, status.st_size)
    if path not in _known or _known[path][0] != key:
        if len(_known) > _MOST:  # most of them have long been removed
            _known.clear()
        _known[path] = key, read(container)
    return _known[path][1]


ROUTES: list[router.Route] = [("GET", "/containers/json", listed)]
