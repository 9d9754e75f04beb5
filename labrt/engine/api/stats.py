"""GET /containers/{id}/stats: what a container uses, once or each second, in the API's units: bytes and nanoseconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

from aiohttp import web

from labrt.engine.api import context, errors, router, streams
from labrt.engine.container import Container
from labrt.engine.inspect import rfc3339
from labrt.engine.stats import Sample
from labrt.errors import Conflict, ContainerNotFound, NotSupported

_TICK = 10**9 // os.sysconf("SC_CLK_TCK")


async def stats(request: web.Request) -> web.StreamResponse:
    """Send one look, or one each second until the client has enough or the container is gone."""
    shared, container = context.of(request), await context.of(request).find(request)
    before: dict[str, Any] = {}
    if not router.flag(request, "stream", default=True):
        if not router.flag(request, "one-shot"):
            before = await shared.call(look, container, {})
            if before.get("pids_stats"):
                await asyncio.sleep(1)
        return errors.as_json(await shared.call(look, container, before))
    lines = streams.Lines(request)
    with contextlib.suppress(ContainerNotFound, ConnectionError):
        while True:
            before = await shared.call(look, container, before)
            await lines.send(before)
            await asyncio.sleep(1)
    return await lines.end()


def look(container: Container, before: dict[str, Any]) -> dict[str, Any]:
    """Take one sample. `before` is the one before it, for whoever computes rates. Nothing runs: all is empty."""
    name = f"/{container.name}"
    try:
        sample: Sample | None = container.stats()
    except (Conflict, NotSupported):
        sample = None
    found: dict[str, Any] = {
        "read": rfc3339(time.time() if sample else 0), "preread": before.get("read") or rfc3339(0),
        "pids_stats": {"current": sample.pids} if sample else {}, "num_procs": 0, "storage_stats": {},
        "cpu_stats": _cpu(sample), "precpu_stats": before.get("cpu_stats") or _cpu(None),
        "memory_stats": {"usage": sample.memory, "limit": sample.limit, "stats": {}} if sample else {},
        "blkio_stats": _disks(sample), "name": name, "id": container.id,
    }  # fmt: skip
    if sample and (sample.received or sample.sent or container.record()["options"]["network"] not in ("none", "host")):
        found["networks"] = {"eth0": _network(sample)}
    return found


def _cpu(sample: Sample | None) -> dict[str, Any]:
    usage = {"total_usage": int(sample.cpu * 1e9) if sample else 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
    throttled = {"periods": 0, "throttled_periods": 0, "throttled_time": 0}
    if sample is None:
        return {"cpu_usage": usage, "throttling_data": throttled}
    return {"cpu_usage": usage, "system_cpu_usage": _system(), "online_cpus": os.cpu_count() or 1,
            "throttling_data": throttled}  # fmt: skip


def _system() -> int:
    """Return the time that all CPUs together have had, in nanoseconds: see proc_stat(5)."""
    with open("/proc/stat") as file:
        return sum(map(int, file.readline().split()[1:8])) * _TICK


def _disks(sample: Sample | None) -> dict[str, Any]:
    kinds = ("io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive", "io_wait_time_recursive",
             "io_merged_recursive", "io_time_recursive", "sectors_recursive")  # fmt: skip
    bytes_ = [] if sample is None else [
        {"major": 0, "minor": 0, "op": "read", "value": sample.read},
        {"major": 0, "minor": 0, "op": "write", "value": sample.written},
    ]  # fmt: skip
    return {"io_service_bytes_recursive": bytes_, **dict.fromkeys(kinds)}


def _network(sample: Sample) -> dict[str, int]:
    counts = {f"{way}_{what}": 0 for way in ("rx", "tx") for what in ("packets", "errors", "dropped")}
    return {"rx_bytes": sample.received, "tx_bytes": sample.sent, **counts}


ROUTES: list[router.Route] = [("GET", "/containers/{id}/stats", stats)]
