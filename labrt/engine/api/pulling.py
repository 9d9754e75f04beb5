"""Images from registries and back: POST /images/create and /images/{name}/push, with the progress that `docker` draws;
POST /auth, GET /distribution/{name}/json.

Who the client is to a registry comes with each request, in X-Registry-Auth: the daemon's own user is nobody there.
"""  # noqa: D205

from __future__ import annotations

import base64
import http
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from labrt.engine.api import context, errors, images, router, streams
from labrt.engine.images import EmbeddedUsed, Images, Unpacked
from labrt.errors import ImageNotFound, InvalidInput, Unauthorized
from labrt.image.image import Image, human
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry import events
from labrt.registry.credentials import Credentials, DockerConfig, Secret

Say = Callable[[Any], None]


def credentials(text: str, host: str) -> DockerConfig:
    """Read X-Registry-Auth: JSON in URL-safe base64. Raises InvalidInput."""
    if not text:
        return DockerConfig()
    try:
        given = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"{}")
    except ValueError:
        raise InvalidInput("X-Registry-Auth: it is not JSON in base64") from None
    if not isinstance(given, dict):
        raise InvalidInput("X-Registry-Auth: an object is wanted")
    return of_json(given, host)


def of_json(given: dict[str, Any], host: str) -> DockerConfig:
    """Make what a client knows of a registry."""
    if given.get("identitytoken"):
        return DockerConfig.of(host, Credentials("<token>", Secret(str(given["identitytoken"])), identity=True))
    if given.get("username"):
        return DockerConfig.of(host, Credentials(str(given["username"]), Secret(str(given.get("password") or ""))))
    return DockerConfig()


async def create(request: web.Request) -> web.StreamResponse:
    """POST /images/create: pull an image; or import one from the body."""
    if request.query.get("fromSrc"):
        from labrt.engine.api import archives

        return await archives.import_root(request)
    name, tag = request.query.get("fromImage", ""), request.query.get("tag", "")
    shared, platform = context.of(request), request.query.get("platform", "")
    try:
        mark = "@" if tag.startswith("sha256:") else ":"
        reference = Reference.parse(f"{name}{mark}{tag}" if tag else name)
        every = not tag and ":" not in name.rpartition("/")[2] and "@" not in name
    except InvalidInput as error:
        raise InvalidInput(f"invalid reference format: {error.message}") from None
    wanted = Platform.parse(platform) if platform else None
    config = credentials(request.headers.get("X-Registry-Auth", ""), reference.registry)

    def work(say: Say) -> None:
        if every:
            new = [_pull(shared, one, wanted, config, say) for one in _tags(reference, config)]
            say(_outcome(images.bare(reference), same=not any(new)))
        else:
            same = not _pull(shared, reference, wanted, config, say)
            say(_outcome(reference.familiar, same=same))

    try:
        return await streams.told(request, work)
    except ImageNotFound as error:
        # What the registry itself says of it, MANIFEST_UNKNOWN or NAME_UNKNOWN, these words say already.
        why = "manifest unknown" if "_UNKNOWN" in error.message else error.message
        raise ImageNotFound(f"manifest for {reference.familiar} not found: manifest unknown: {why}") from None
    except Unauthorized as error:
        denied = f"pull access denied for {images.bare(reference)}"
        more = "repository does not exist or may require 'docker login'"
        raise ImageNotFound(f"{denied}, {more}: {error.message}") from None


def _tags(reference: Reference, config: DockerConfig) -> list[Reference]:
    from labrt.registry.client import Client

    with Client(config=config) as client:
        return [reference.with_tag(tag) for tag in client.tags(reference)]


def _pull(
    shared: context.Context, reference: Reference, platform: Platform | None, config: DockerConfig, say: Say
) -> bool:
    """Pull one image; return whether its name means something else now."""
    store = Images(shared.where, config=config)
    before = store.meant(reference)
    telling = Pulling(reference, say)
    image = store.pull(str(reference), platform=platform, on_event=telling.hear)
    new = before is None or store.meant(reference) != before
    telling.done(image, same=not new)
    images.note(shared, "pull", reference.familiar, images.bare(reference))
    return new


def _outcome(name: str, *, same: bool) -> dict[str, str]:
    return {"status": f"Status: {'Image is up to date' if same else 'Downloaded newer image'} for {name}"}


class Pulling:
    """Says what happens while an image is pulled, layer by layer, as dockerd does."""

    def __init__(self, reference: Reference, say: Say) -> None:
        self.reference, self.say = reference, say
        self._begun = False
        self._seen: set[str] = set()
        self._last: dict[str, int] = {}
        self._here: list[str] = []  # layers that are not fetched: told of only if anything is

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            of = self.reference.tag if self.reference.digest is None else str(self.reference)
            self.say({"status": f"Pulling from {self.reference.repository}", "id": of})

    def hear(self, event: object) -> None:
        """Say one event, if a client wants to know."""
        pointer = getattr(event, "descriptor", None)
        if pointer is not None and not pointer.is_layer:  # docker shows layers only
            return
        if isinstance(event, events.Resolved | events.LayerProgress | events.LayerDone | events.Exists):
            self._begin()
        if isinstance(event, events.LayerProgress):
            self._progress(event)
        elif isinstance(event, events.LayerDone):
            self._status(event.descriptor.digest.short, "Download complete")
        elif isinstance(event, events.Exists):
            self._here.append(event.descriptor.digest.short)
        elif isinstance(event, EmbeddedUsed | events.MirrorFailed):
            self.say({"status": event.describe()})
        elif isinstance(event, Unpacked):
            self._seen.add(event.chain_id.short)

    def _status(self, id: str, status: str) -> None:
        self.say({"status": status, "progressDetail": {}, "id": id})

    def _tell_here(self) -> None:
        for id in self._here:
            self._status(id, "Already exists")
        self._here.clear()

    def _progress(self, event: events.LayerProgress) -> None:
        self._tell_here()
        id = event.descriptor.digest.short
        if id not in self._last:
            self._status(id, "Pulling fs layer")
            self._last[id] = 0
        if event.offset - self._last[id] >= max(event.total // 50, 1 << 16) or event.offset == event.total:
            self._last[id] = event.offset
            self.say(progress(id, "Downloading", event.offset, event.total))

    def done(self, image: Image, *, same: bool) -> None:
        """Say the end."""
        self._begin()
        if not same:
            self._tell_here()
        for layer in image.manifest.layers:
            if layer.digest.short in self._last:
                self._status(layer.digest.short, "Pull complete")
        self.say({"status": f"Digest: {self.reference.digest or image.descriptor.digest}"})


def progress(id: str, status: str, now: int, total: int) -> dict[str, Any]:
    """Return one object with a bar of fifty places in it, for clients that do not draw their own."""
    filled = 50 * now // total if total else 50
    bar = "=" * max(filled - 1, 0) + (">" if filled else "") if filled < 50 else "=" * 50 + ">"
    text = f"[{bar:<50}] {human(now):>8}/{human(total)}"
    return {"status": status, "progressDetail": {"current": now, "total": total}, "progress": text, "id": id}


async def push(request: web.Request) -> web.StreamResponse:
    """POST /images/{name}/push: one tag, or all."""
    from labrt.engine import push as pushing

    shared, name, tag = context.of(request), request.match_info["name"], request.query.get("tag", "")
    reference = Reference.parse(f"{name}:{tag}" if tag else name)
    bare = images.bare(reference)
    config = credentials(request.headers.get("X-Registry-Auth", ""), reference.registry)

    def work(say: Say) -> None:
        say({"status": f"The push refers to repository [{reference.name}]"})
        for one in [reference.familiar] if tag else _names(shared, name, bare):
            telling = Pushing(Reference.parse(one), say)
            telling.prepare(_here(shared, one, bare))
            try:
                pushing.push(one, on_event=telling.hear, where=shared.where, config=config)
            except Unauthorized as error:
                raise _denied(error, reference, config) from None
            images.note(shared, "push", one, bare)

    return await streams.told(request, work)


def _names(shared: context.Context, name: str, bare: str) -> list[str]:
    from labrt.engine import push as pushing

    try:
        return pushing.tags_here(name, where=shared.where)
    except ImageNotFound:
        raise _not_here(bare) from None


def _here(shared: context.Context, name: str, bare: str) -> Image:
    try:
        return images.find(shared, name)
    except ImageNotFound:
        raise _not_here(bare) from None


def _not_here(bare: str) -> ImageNotFound:
    return ImageNotFound(f"An image does not exist locally with the tag: {bare}")


def _denied(error: Unauthorized, reference: Reference, config: DockerConfig) -> Unauthorized:
    """Say it with the words that scripts look for; and who signs in here does it with docker."""
    known = config.credentials(reference.registry) is not None
    words = "denied: requested access to the resource is denied" if known else "no basic auth credentials"
    return Unauthorized(f"{words}: {error.message}", status=error.status, remedy=f"docker login {reference.registry}")


class Pushing:
    """Says what happens while an image is pushed."""

    def __init__(self, reference: Reference, say: Say) -> None:
        self.reference, self.say = reference, say

    def prepare(self, image: Image) -> None:
        """Say which layers it is about: `docker` draws a line for each, in this order."""
        for layer in reversed(image.manifest.layers):
            self.say({"status": "Preparing", "progressDetail": {}, "id": layer.digest.short})

    def hear(self, event: object) -> None:
        """Say one event."""
        if isinstance(event, events.Pushed):
            tag = self.reference.tag or str(event.digest)
            self.say({"status": f"{tag}: digest: {event.digest} size: {event.size}"})
            self.say({"progressDetail": {}, "aux": {"Tag": tag, "Digest": str(event.digest), "Size": event.size}})
        elif isinstance(event, events.AlreadyThere):
            self._status(event, "Layer already exists")
        elif isinstance(event, events.Mounted):
            self._status(event, f"Mounted from {event.source}")
        elif isinstance(event, events.UploadProgress):
            self.say(progress(event.descriptor.digest.short, "Pushing", event.offset, event.total))
        elif isinstance(event, events.UploadDone):
            self._status(event, "Pushed")

    def _status(self, event: Any, status: str) -> None:
        if event.descriptor.is_layer:
            self.say({"status": status, "progressDetail": {}, "id": event.descriptor.digest.short})


async def auth(request: web.Request) -> web.Response:
    """POST /auth: ask a registry whether it takes these."""
    from labrt.registry.client import Client
    from labrt.registry.login import registry_host

    given = await router.body(request, needed=True)
    host = registry_host(str(given.get("serveraddress") or ""))

    def ask() -> None:
        with Client(config=of_json(given, host)) as client:
            try:
                client.ping(host)
            except Unauthorized as error:
                said = f"{error.status} {http.HTTPStatus(error.status or 401).phrase}"
                url = f"{client.transport.base_url(host)}/v2/"
                raise Unauthorized(f"login attempt to {url} failed with status: {said}", status=error.status) from None

    await context.of(request).call_slowly(ask)
    return errors.as_json({"Status": "Login Succeeded", "IdentityToken": ""})


async def distribution(request: web.Request) -> web.Response:
    """GET /distribution/{name}/json: what a name means in its registry."""
    from labrt.registry.client import Client

    reference = Reference.parse(request.match_info["name"])
    config = credentials(request.headers.get("X-Registry-Auth", ""), reference.registry)

    def ask() -> dict[str, Any]:
        with Client(config=config) as client:
            document = client.manifest(reference)
            platform = client.config(reference).platform
        about = {"mediaType": document.media_type, "digest": str(document.digest), "size": len(document.raw)}
        return {"Descriptor": about, "Platforms": [{"architecture": platform.architecture, "os": platform.os}]}

    try:
        return errors.as_json(await context.of(request).call_slowly(ask))
    except ImageNotFound as error:
        raise errors.no_image(str(reference)) from error


ROUTES: list[router.Route] = [
    ("POST", "/images/create", create),
    ("POST", "/images/{name:.+}/push", push),
    ("POST", "/auth", auth),
    ("GET", "/distribution/{name:.+}/json", distribution),
]
