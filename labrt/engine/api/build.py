"""POST /build: the classic builder's way. A tar archive comes in, docker's lines go out as JSON objects.

The build itself is done by a worker process (context.py), for a RUN's changes are found by a child. It writes what it
has to say into a pipe; when the client goes away, so does the pipe, and the build ends.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from labrt import paths
from labrt.engine.api import context, errors, router, streams
from labrt.errors import InvalidInput, LabrtError, NotSupported

# What changes nothing here, or is said elsewhere.
_IGNORED = {
    "rm", "forcerm", "version", "q", "t", "dockerfile", "buildargs", "nocache", "pull", "target", "platform", "labels",
    "networkmode", "extrahosts", "cachefrom", "memory", "memswap", "cpushares", "cpusetcpus", "cpusetmems", "cpuperiod",
    "cpuquota", "shmsize", "buildid", "cgroupparent", "ulimits", "remote", "squash", "outputs", "session",
}  # fmt: skip
_LIMITS = {
    "memory": "memory", "memswap": "memory_swap", "cpushares": "cpu_shares", "cpusetcpus": "cpuset_cpus",
    "cpusetmems": "cpuset_mems", "cpuperiod": "cpu_period", "cpuquota": "cpu_quota", "shmsize": "shm_size",
}  # fmt: skip


async def build(request: web.Request) -> web.StreamResponse:
    """Build an image."""
    shared, wanted = context.of(request), _wanted(request)
    name = request.query.get("dockerfile") or "Dockerfile"
    quiet = router.flag(request, "q")
    async with streams.Body(request) as source:
        return await streams.produced(
            request, {}, "application/json",
            lambda out: shared.apart_slowly(_build, shared.where, source, name, wanted, quiet, out),
        )  # fmt: skip


def _wanted(request: web.Request) -> dict[str, Any]:
    """Read the query. Raises NotSupported for what it asks and labrt does not do."""
    for field in ("remote", "squash", "outputs", "session", "cgroupparent", "ulimits"):
        if request.query.get(field) not in (None, "", "0", "[]", "null", "client-session"):
            raise NotSupported(f"labrt builds without {field}", remedy="leave it out; a context comes as a tar archive")
    if request.query.get("version", "1") != "1":
        raise NotSupported("labrt has no BuildKit", remedy="build with DOCKER_BUILDKIT=0")
    unknown = sorted(set(request.query) - _IGNORED)
    if unknown:
        raise InvalidInput(f"labrt does not know the parameter {unknown[0]!r:.60}")
    limits = {field: router.number(request, name) if name not in ("cpusetcpus", "cpusetmems") else request.query[name]
              for name, field in _LIMITS.items() if request.query.get(name) not in (None, "", "0")}  # fmt: skip
    return {
        "tags": tuple(filter(None, request.query.getall("t", []))),
        "build_args": {key: value for key, value in _pairs(request, "buildargs").items() if value is not None},
        "labels": _pairs(request, "labels"), "target": request.query.get("target") or None,
        "no_cache": router.flag(request, "nocache"), "pull": router.flag(request, "pull"),
        "network": request.query.get("networkmode") or "default", "limits": limits,
        "platform": request.query.get("platform"),
        "add_host": tuple(host for host in request.query.get("extrahosts", "").split(",") if host),
    }  # fmt: skip


def _pairs(request: web.Request, name: str) -> dict[str, str]:
    text = request.query.get(name, "")
    return router.parse(text) if text and text != "null" else {}


def _build(where: paths.Paths, source: str, name: str, wanted: dict[str, Any], quiet: bool, out: str) -> None:
    """In a worker process. What fails before anything was said is raised, later it is the last thing said."""
    from labrt.builder import events
    from labrt.builder.build import Wanted
    from labrt.builder.context import Context
    from labrt.engine import builds
    from labrt.engine.build_progress import Plain
    from labrt.image.platform import Platform

    platform = wanted.pop("platform")
    with open(out, "wb", buffering=0) as pipe, open(source, "rb") as stream:
        lines = _Lines(pipe)
        listener = (lambda _: None) if quiet else events.InOrder(Plain(lines))  # type: ignore[arg-type]
        try:
            with Context.of_archive(stream, name) as files:
                told = Wanted(**wanted, platform=Platform.parse(platform) if platform else None)
                image = builds.build_context(files, told, on_event=listener, where=where)
        except LabrtError as error:
            if not lines.said:
                raise
            lines.send(errors.in_stream(error))
            return
        lines.send({"aux": {"ID": str(image.id)}})
        if quiet:
            lines.send({"stream": f"{image.id}\n"})


class _Lines:
    """Looks like a text file, and makes each line of what is written an object of the stream: docker-py wants that."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self.said = pipe, False

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self.send({"stream": line})
        return len(text)

    def flush(self) -> None:
        return None

    def send(self, value: dict[str, Any]) -> None:
        data = memoryview(errors.encoded(value) + b"\r\n")
        self.said = True
        while data:
            data = data[self._pipe.write(data) :]


async def prune(request: web.Request) -> web.Response:
    """POST /build/prune: what a build keeps goes with `labrt prune`."""
    return errors.as_json({"CachesDeleted": None, "SpaceReclaimed": 0})


ROUTES: list[router.Route] = [("POST", "/build", build), ("POST", "/build/prune", prune)]
