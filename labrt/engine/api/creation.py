"""POST /containers/create."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from labrt import paths
from labrt.engine.api import containers, context, errors, inspecting, router, wishes
from labrt.engine.containers import Containers
from labrt.errors import Conflict, ImageNotFound, InvalidInput, NotFound


async def create(request: web.Request) -> web.Response:
    """Make a container; an image that is not here is a 404, whereupon `docker` pulls it."""
    shared, body = context.of(request), await router.body(request, needed=True)
    name, platform = request.query.get("name"), request.query.get("platform")
    try:
        given = wishes.options(body, name, platform)
    except (TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(f"invalid JSON: a field has a value of another kind: {error}") from None
    try:
        id = await shared.apart(_create, shared.where, given, body)
    except Conflict as error:
        if name and "is taken" in error.message:
            raise await shared.call(containers.taken, shared, name.removeprefix("/")) from None
        raise
    except ImageNotFound:
        raise errors.no_image(str(body["Image"])) from None
    except NotFound as error:  # a network, a container: were it a 404, `docker` would pull the image and try again
        raise InvalidInput(_missing(given, error)) from None
    return errors.as_json({"Id": id, "Warnings": []}, 201)


def _missing(given: dict[str, Any], error: NotFound) -> str:
    """Say what is not there as docker does, of networks and of containers whose network was asked for."""
    kind, _, name = str(given.get("network") or "").partition(":")
    if kind == "container" and name in error.message:
        return f"No such container: {name}"
    return f"network {kind} not found" if kind and f"network is called {kind}" in error.message else str(error)


def _create(where: paths.Paths, given: dict[str, Any], body: dict[str, Any]) -> str:
    """In a worker process: a new container's volumes are filled by a child that alone sees its image."""
    from labrt.engine.images import Images
    from labrt.engine.options import Options

    image = Images(where).find(given["image"])
    given |= {"image": given["image"] if _is_name(given["image"], image) else str(image.reference), "pull": "never"}
    with _seccomp_in_file(given):
        container = Containers(where).create(Options(**given))
    inspecting.remember(container, body, image.config)
    return container.id


def _is_name(text: str, image: Any) -> bool:
    from labrt.image.reference import Reference

    try:
        return bool(Reference.parse(text).name == image.reference.name)
    except InvalidInput:
        return False


@contextlib.contextmanager
def _seccomp_in_file(given: dict[str, Any]) -> Iterator[None]:
    """Over HTTP comes a profile, where on the command line one names its file. A client's file is not ours to open."""
    with contextlib.ExitStack() as stack:
        words = []
        for word in given.get("security_opt", ()):
            key, _, value = word.partition("=" if "=" in word else ":")  # as options/security.py reads it
            if key == "seccomp" and value not in ("unconfined", "builtin", ""):
                file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".json"))
                try:
                    json.dump(json.loads(value), file)
                except ValueError as error:
                    raise InvalidInput(f"Decoding seccomp profile failed: {error}") from None
                file.flush()
                word = f"seccomp={os.path.realpath(file.name)}"
            words.append(word)
        if words:
            given["security_opt"] = words
        yield


ROUTES: list[router.Route] = [("POST", "/containers/create", create)]
