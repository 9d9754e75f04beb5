"""Containers that are there: start, stop, kill, wait, rename, update, remove, and what they have changed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from aiohttp import web

from labrt.engine.api import context, errors, inspecting, router, streams
from labrt.engine.container import Container
from labrt.engine.lifecycle import CONDITIONS
from labrt.engine.signal_names import parse_signal
from labrt.errors import Conflict, ContainerNotFound, InvalidInput
from labrt.runtime import state as states


def _done() -> web.Response:
    return web.Response(status=204)


async def inspect(request: web.Request) -> web.Response:
    """GET /containers/{id}/json."""
    shared, container = context.of(request), await context.of(request).find(request)
    execs = shared.execs.of(container.id)
    size = router.flag(request, "size")
    return errors.as_json(await shared.call(inspecting.container, container, execs=execs, size=size))


async def start(request: web.Request) -> web.Response:
    """POST /containers/{id}/start; 304 when it runs."""
    shared, container = context.of(request), await context.of(request).find(request)
    if container.status == "paused":
        raise Conflict("cannot start a paused container, try unpause instead")
    if container.up:
        return web.Response(status=304)
    await shared.starts.start(container)
    return _done()


async def stop(request: web.Request) -> web.Response:
    """POST /containers/{id}/stop; 304 when it does not run."""
    shared, container = context.of(request), await context.of(request).find(request)
    if not container.up:
        return web.Response(status=304)
    await shared.call_slowly(container.stop, router.number(request, "t"), request.query.get("signal") or None)
    return _done()


async def restart(request: web.Request) -> web.Response:
    """POST /containers/{id}/restart."""
    shared, container = context.of(request), await context.of(request).find(request)
    await shared.call_slowly(container.stop, router.number(request, "t"), request.query.get("signal") or None)
    await shared.starts.start(container)
    await shared.call(container.note, "restart")
    return _done()


async def kill(request: web.Request) -> web.Response:
    """POST /containers/{id}/kill."""
    shared, container = context.of(request), await context.of(request).find(request)
    sig = request.query.get("signal") or "KILL"
    try:
        parse_signal(sig)
    except InvalidInput:
        raise InvalidInput(f"Invalid signal: {sig}") from None
    if not container.up:
        raise Conflict(f"cannot kill container: {request.match_info['id']}: container {container.id} is not running")
    await shared.call(container.kill, sig)
    return _done()


async def pause(request: web.Request) -> web.Response:
    """POST /containers/{id}/pause."""
    shared, container = context.of(request), await context.of(request).find(request)
    if container.status == "paused":
        raise Conflict(f"container {container.id} is already paused")
    _need_running(container)
    await shared.call(container.pause)
    return _done()


async def unpause(request: web.Request) -> web.Response:
    """POST /containers/{id}/unpause."""
    shared, container = context.of(request), await context.of(request).find(request)
    if container.status != "paused":
        raise Conflict(f"Container {container.id} is not paused")
    await shared.call(container.unpause)
    return _done()


def _need_running(container: Container) -> None:
    if not container.up:
        raise Conflict(f"container {container.id} is not running")


async def wait(request: web.Request) -> web.StreamResponse:
    """POST /containers/{id}/wait: the head comes at once, the exit code when it is known."""
    shared, container = context.of(request), await context.of(request).find(request)
    condition = request.query.get("condition") or "not-running"
    if condition not in CONDITIONS:
        raise InvalidInput(f"invalid condition: {condition!r:.60}")
    response = await streams.begin(request)
    answer: dict[str, Any] = {"StatusCode": 0}
    try:
        answer["StatusCode"] = await streams.unless_gone(request, shared.starts.exit_code(container, condition))
    except ContainerNotFound:
        if condition != "removed":
            answer = {"StatusCode": 0, "Error": {"Message": "the container was removed"}}
    await response.write(json.dumps(answer).encode() + b"\n")
    await response.write_eof()
    return response


async def rename(request: web.Request) -> web.Response:
    """POST /containers/{id}/rename."""
    shared, container = context.of(request), await context.of(request).find(request)
    name = request.query.get("name", "").removeprefix("/")
    if not name:
        raise InvalidInput("Neither old nor new names may be empty")
    if name == container.name:
        raise InvalidInput("Renaming a container with the same name as its current name")
    try:
        await shared.call(container.rename, name)
    except Conflict:
        raise taken(shared, name) from None
    return _done()


def taken(shared: context.Context, name: str) -> Conflict:
    """Say that a name is another container's, in docker's words: programs look for them."""
    other = "unknown"
    with contextlib.suppress(ContainerNotFound):
        other = shared.lookup(name).id
    how = "You have to remove (or rename) that container to be able to reuse that name."
    return Conflict(f'Conflict. The container name "/{name}" is already in use by container "{other}". {how}')


_LIMITS = {
    "Memory": "memory", "MemorySwap": "memory_swap", "MemoryReservation": "memory_reservation",
    "CpuShares": "cpu_shares", "CpuPeriod": "cpu_period", "CpuQuota": "cpu_quota", "CpusetCpus": "cpuset_cpus",
    "CpusetMems": "cpuset_mems", "PidsLimit": "pids_limit", "BlkioWeight": "blkio_weight",
}  # fmt: skip
_UNCHANGEABLE = ("KernelMemory", "CpuRealtimePeriod", "CpuRealtimeRuntime", "Devices", "BlkioWeightDevice", "Ulimits")


async def update(request: web.Request) -> web.Response:
    """POST /containers/{id}/update: zero and absent leave a limit as it is."""
    shared, container = context.of(request), await context.of(request).find(request)
    given = await router.body(request, needed=True)
    for name in _UNCHANGEABLE:
        if given.get(name):
            raise InvalidInput(f"{name} of a container cannot be changed")
    changes: dict[str, Any] = {field: given[name] for name, field in _LIMITS.items() if given.get(name)}
    if given.get("NanoCpus"):
        changes["cpus"] = given["NanoCpus"] / 1e9
    policy = given.get("RestartPolicy") or {}
    if policy.get("Name"):
        most = policy.get("MaximumRetryCount") or 0
        changes["restart"] = policy["Name"] + (f":{most}" if most else "")
    await shared.call(container.update, **changes)
    return errors.as_json({"Warnings": None})


async def remove(request: web.Request) -> web.Response:
    """DELETE /containers/{id}."""
    shared, container = context.of(request), await context.of(request).find(request)
    if router.flag(request, "link"):
        raise InvalidInput("labrt has no links between containers: a network has names")
    force = router.flag(request, "force")
    if container.up and not force:
        status = "paused" if container.status == "paused" else "running"
        more = "stop the container before removing or force remove" if status == "running" else "unpause it first"
        name = f'container "/{container.name}"'
        raise Conflict(f"cannot remove {name}: container is {status}: {more}")
    built = container.state.status == states.CREATED and bool(container.state.pid)
    await shared.call(container.remove, force=force or built, volumes=router.flag(request, "v"))
    return _done()


async def top(request: web.Request) -> web.Response:
    """GET /containers/{id}/top."""
    from labrt.engine.api import processes

    shared, container = context.of(request), await context.of(request).find(request)
    _need_running(container)
    words = request.query.get("ps_args", "-ef")
    return errors.as_json(await shared.call(processes.table, container, words))


async def changes(request: web.Request) -> web.Response:
    """GET /containers/{id}/changes."""
    from labrt.engine import commit

    shared, container = context.of(request), await context.of(request).find(request)
    kinds = {"C": 0, "A": 1, "D": 2}
    found = await shared.apart(commit.changes, container)
    return errors.as_json([{"Path": f"/{one.path}", "Kind": kinds[one.kind]} for one in found])


async def prune(request: web.Request) -> web.Response:
    """POST /containers/prune: those that do not run."""
    wanted = router.filters(request, ("until", "label", "label!"))
    return errors.as_json(await context.of(request).call(_prune, context.of(request), wanted))


def _prune(shared: context.Context, wanted: dict[str, list[str]]) -> dict[str, Any]:
    from labrt.engine.images import Images

    gone, freed, driver = [], 0, Images(shared.where).driver
    for container, record in shared.containers().records():
        with contextlib.suppress(ContainerNotFound, Conflict):
            labels = (record.get("Config") or {}).get("Labels") or {}
            if container.up or not router.to_prune(labels, record["created"], wanted):
                continue
            size = driver.usage(container.id)
            container.remove()
            gone.append(container.id)
            freed += size
    return {"ContainersDeleted": gone or None, "SpaceReclaimed": freed}


async def logs(request: web.Request) -> web.StreamResponse:
    """GET /containers/{id}/logs."""
    from labrt.engine.api import logs as logging

    return await logging.answer(request, await context.of(request).find(request))


ROUTES: list[router.Route] = [
    ("GET", "/containers/{id}/json", inspect),
    ("POST", "/containers/{id}/start", start),
    ("POST", "/containers/{id}/stop", stop),
    ("POST", "/containers/{id}/restart", restart),
    ("POST", "/containers/{id}/kill", kill),
    ("POST", "/containers/{id}/pause", pause),
    ("POST", "/containers/{id}/unpause", unpause),
    ("POST", "/containers/{id}/wait", wait),
    ("POST", "/containers/{id}/rename", rename),
    ("POST", "/containers/{id}/update", update),
    ("DELETE", "/containers/{id}", remove),
    ("GET", "/containers/{id}/top", top),
    ("GET", "/containers/{id}/logs", logs),
    ("GET", "/containers/{id}/changes", changes),
    ("POST", "/containers/prune", prune),
]
