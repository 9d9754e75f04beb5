"""/containers/{id}/archive and /export: tar archives into a container and out of it. See engine/copy.py for how it is
kept from leaving its root.
"""  # noqa: D205

from __future__ import annotations

import base64
import json
import os
import stat

from aiohttp import web

from labrt.engine import copy
from labrt.engine.api import context, router, streams
from labrt.engine.container import Container
from labrt.engine.inspect import rfc3339
from labrt.errors import InvalidInput, NotFound

TAR = "application/x-tar"
# Go's os.FileMode has the kind of a file in its highest bits, in an order of its own.
_KINDS = {stat.S_IFDIR: 31, stat.S_IFLNK: 27, stat.S_IFIFO: 25, stat.S_IFSOCK: 24, stat.S_IFBLK: 26, stat.S_IFCHR: 26}


def _path(request: web.Request) -> str:
    path = request.query.get("path", "")
    if not path:
        raise InvalidInput("Bad parameters: 'path' is missing")
    return path


async def look(request: web.Request) -> web.Response:
    """HEAD: what is there."""
    shared, container = context.of(request), await context.of(request).find(request)
    return web.Response(headers={"X-Docker-Container-Path-Stat": await _stat(shared, container, _path(request))})


async def _stat(shared: context.Context, container: Container, path: str) -> str:
    try:
        found = await shared.apart(copy.look, container, path)
    except NotFound:
        name = f"/{path.lstrip('/')}"
        raise NotFound(f"Could not find the file {name} in container {container.name}") from None
    mode = found.mode & 0o777
    mode |= 1 << _KINDS[stat.S_IFMT(found.mode)] if stat.S_IFMT(found.mode) in _KINDS else 0
    mode |= 1 << 21 if stat.S_ISCHR(found.mode) else 0
    for bit, place in ((stat.S_ISUID, 23), (stat.S_ISGID, 22), (stat.S_ISVTX, 20)):
        mode |= 1 << place if found.mode & bit else 0
    about = {"name": found.name or "/", "size": found.size, "mode": mode, "mtime": rfc3339(found.mtime),
             "linkTarget": _absolute(path, found.target)}  # fmt: skip
    return base64.b64encode(json.dumps(about).encode()).decode()


def _absolute(path: str, target: str) -> str:
    if not target:
        return ""
    return os.path.normpath(os.path.join("/", os.path.dirname(path.rstrip("/")), target))


async def get(request: web.Request) -> web.StreamResponse:
    """GET: a file or a directory, as a tar archive."""
    shared, container = context.of(request), await context.of(request).find(request)
    path = _path(request)
    headers = {"X-Docker-Container-Path-Stat": await _stat(shared, container, path)}
    return await streams.produced(request, headers, TAR, lambda out: shared.apart_slowly(_get, container, path, out))


def _get(container: Container, path: str, out: str) -> None:
    """In a worker process."""
    with open(out, "wb") as stream:
        copy.get(container, path, stream)


async def put(request: web.Request) -> web.Response:
    """PUT: unpack a tar archive into a directory. noOverwriteDirNonDir is always so in labrt."""
    shared, container = context.of(request), await context.of(request).find(request)
    path, owners = _path(request), router.flag(request, "copyUIDGID")
    async with streams.Body(request) as source:
        try:
            await shared.apart_slowly(_put, container, path, source, owners)
        except NotFound:
            raise NotFound(f"Could not find the file {path} in container {container.name}") from None
    return web.Response()


def _put(container: Container, path: str, source: str, owners: bool) -> None:
    """In a worker process."""
    with open(source, "rb") as stream:
        copy.put(container, path, stream, owners=owners)


async def export(request: web.Request) -> web.StreamResponse:
    """GET /containers/{id}/export."""
    shared, container = context.of(request), await context.of(request).find(request)
    kind = "application/octet-stream"
    return await streams.produced(request, {}, kind, lambda out: shared.apart_slowly(_export, container, out))


def _export(container: Container, out: str) -> None:
    """In a worker process."""
    from labrt.engine import archives

    with open(out, "wb") as stream:
        archives.export(container, stream)
    container.note("export")


ROUTES: list[router.Route] = [
    ("HEAD", "/containers/{id}/archive", look),
    ("GET", "/containers/{id}/archive", get),
    ("PUT", "/containers/{id}/archive", put),
    ("GET", "/containers/{id}/export", export),
]
