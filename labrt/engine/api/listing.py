"""GET /containers/json: what `docker ps` shows."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from aiohttp import web

from labrt.engine.api import context, errors, inspecting, networks, router
from labrt.engine.container import Container
from labrt.engine.images import Images
from labrt.errors import ContainerNotFound, InvalidInput, LabrtError
from labrt.runtime.state import State

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
    shared.containers().mend()
    candidates, found = shared.containers().list(all=True), []
    bounds = {word: [shared.lookup(name).record()["created"] for name in wanted.get(word, ())]
              for word in ("since", "before")}  # fmt: skip
    ancestors = _ancestors(shared, wanted.get("ancestor", []))
    for container in candidates:
        with contextlib.suppress(ContainerNotFound):
            if not every and not container.up:
                continue
            row = summary(container)
            if not all(row["exact"] > bound for bound in bounds["since"]):
                continue
            if not all(row.pop("exact") < bound for bound in bounds["before"]) or not _fits(container, row, wanted):
                continue
            if "ancestor" in wanted and row["ImageID"] not in ancestors:
                continue
            if size:
                row |= {"SizeRw": Images(shared.where).driver.usage(container.id),
                        "SizeRootFs": inspecting.root_size(container)}  # fmt: skip
            row.pop("exact", None)
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


def summary(container: Container) -> dict[str, Any]:
    """Return one line of the list; `exact` is when it was made, for comparing."""
    record, state, status = container.record(), container.state, container.status
    about, config = container.inspect(), record.get("Config") or {}
    return {
        "Id": container.id,
        "Names": [f"/{record['name']}"],
        "Image": inspecting.asked(container).get("Config", {}).get("Image") or record["image"],
        "ImageID": record["image_id"],
        "Command": " ".join(_quoted(word) for word in record["command"]),
        "Created": int(record["created"]),
        "Ports": networks.ports(container),
        "Labels": config.get("Labels") or {},
        "State": status,
        "Status": words(status, state, container.health),
        "HostConfig": {"NetworkMode": about["HostConfig"].get("NetworkMode", "default")},
        "NetworkSettings": {"Networks": networks.settings(container)["Networks"]},
        "Mounts": about["Mounts"],
        "exact": record["created"],
    }


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def words(status: str, state: State, health: dict[str, Any] | None) -> str:
    """Say it as docker does: Created, Up 3 seconds (healthy), Exited (0) 2 minutes ago."""
    if status in ("running", "paused"):
        said = f"Up {ago(state.started)}"
        if status == "paused":
            return f"{said} (Paused)"
        if health is None:
            return said
        return f"{said} (health: starting)" if health["Status"] == "starting" else f"{said} ({health['Status']})"
    if status == "restarting":
        return f"Restarting ({state.exit_code}) {ago(state.finished)} ago"
    return f"Exited ({state.exit_code}) {ago(state.finished)} ago" if status == "exited" else status.capitalize()


def ago(moment: float) -> str:
    """Say how long ago it was, roughly, as docker does."""
    seconds = int(max(0.0, time.time() - moment))
    minutes, hours = seconds // 60, round(seconds / 3600)
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for length, unit, most in ((24, "days", 14), (24 * 7, "weeks", 60 / 7), (24 * 30, "months", 24)):
        if hours / length < most:
            return f"{hours // length} {unit}"
    return f"{hours // (24 * 365)} years"


ROUTES: list[router.Route] = [("GET", "/containers/json", listed)]
