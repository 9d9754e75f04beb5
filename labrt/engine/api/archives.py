"""Images as archives: save, load, import. All stream; nothing is ever whole in memory."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from labrt import paths
from labrt.engine.api import context, images, router, streams
from labrt.errors import InvalidInput, NotSupported

TAR = "application/x-tar"


async def save(request: web.Request) -> web.StreamResponse:
    """GET /images/get?names=… and /images/{name}/get."""
    shared = context.of(request)
    names = [request.match_info["name"]] if "name" in request.match_info else request.query.getall("names", [])
    names = [name for joined in names for name in joined.split(",") if name]
    if not names:
        raise InvalidInput("no image is named: names=…")
    for name in names:
        await shared.call(images.find, shared, name)
    return await streams.produced(request, {}, TAR, lambda out: shared.call_slowly(_save, shared.where, names, out))


def _save(where: paths.Paths, names: list[str], out: str) -> None:
    from labrt.engine import archives

    with open(out, "wb") as stream:
        archives.save(names, stream, where=where)


async def load(request: web.Request) -> web.StreamResponse:
    """POST /images/load."""
    from labrt.engine import archives

    shared = context.of(request)
    async with streams.Body(request) as source:

        def work(say: Any) -> None:
            with open(source, "rb") as stream:
                for image in archives.load(stream, where=shared.where):
                    say({"stream": f"Loaded image: {image.reference.familiar}\n"})
                    images.note(shared, "load", str(image.id), image.reference.familiar)

        return await streams.told(request, work)


async def import_root(request: web.Request) -> web.StreamResponse:
    """POST /images/create?fromSrc=-: a root file system becomes an image."""
    from labrt.engine import archives
    from labrt.engine import changes as instructions
    from labrt.image.platform import Platform

    if request.query["fromSrc"] != "-":
        raise NotSupported("labrt imports no URL", remedy="curl it, and import its output: … | docker import -")
    shared, platform = context.of(request), request.query.get("platform", "")
    repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
    name = f"{repository}:{tag}" if repository and tag else repository or None
    config = instructions.apply({}, request.query.getall("changes", []))
    async with streams.Body(request) as source:

        def work(say: Any) -> None:
            with open(source, "rb") as stream:
                image = archives.import_root(
                    stream, name, message=request.query.get("message", ""), config=config, where=shared.where,
                    platform=Platform.parse(platform) if platform else None,
                )  # fmt: skip
            images.note(shared, "import", str(image.id), image.reference.familiar)
            say({"status": str(image.id)})

        return await streams.told(request, work)


ROUTES: list[router.Route] = [
    ("GET", "/images/get", save),
    ("GET", "/images/{name:.+}/get", save),
    ("POST", "/images/load", load),
]
