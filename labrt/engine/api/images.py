"""Images that are here: listed, inspected, tagged, removed, pruned; their history Commit makes one."""

from __future__ import annotations

import contextlib
import fnmatch
import json
from datetime import datetime
from typing import Any

from aiohttp import web

from labrt.engine import moments
from labrt.engine.api import context, errors, inspecting, router
from labrt.engine.images import Images
from labrt.errors import Conflict, ImageNotFound, InvalidInput, LabrtError, NotFound
from labrt.image.image import Image
from labrt.image.reference import Reference

FILTERS = ("before", "dangling", "label", "reference", "since", "until")
_sizes: dict[tuple[str, str], int] = {}  # bytes of unpacked layers, by driver and chain id: layers never change


def find(shared: context.Context, name: str) -> Image:
    """Find an image by name or id. Raises ImageNotFound in docker's words."""
    try:
        return Images(shared.where).find(name)
    except ImageNotFound:
        raise errors.no_image(name) from None
    except InvalidInput as error:
        if "is the beginning of" in error.message:
            raise
        if "id, not its name" in error.message:
            raise ImageNotFound(f"No such image: {name}") from None
        raise InvalidInput("invalid reference format") from None


def size_of(images: Images, image: Image) -> int:
    """Return the bytes of an image's unpacked layers, which is what docker calls its size."""
    total, driver = 0, images.driver
    for chain in image.config.chain_ids:
        key = (driver.name, str(chain))
        if key not in _sizes:
            try:
                _sizes[key] = driver.usage(chain)
            except NotFound:  # not unpacked yet
                return image.size
        total += _sizes[key]
    return total


def _grouped(images: Images) -> dict[str, list[Image]]:
    found: dict[str, list[Image]] = {}
    for image in images.all():
        found.setdefault(str(image.id), []).append(image)
    return found


def _tags(group: list[Image]) -> list[str]:
    return [image.reference._replace(digest=None).familiar for image in group
            if image.reference.tag and not image.reference.is_unnamed]  # fmt: skip


def bare(reference: Reference) -> str:
    """Name an image as people do, without tag and digest."""
    return reference._replace(tag=None, digest=None).familiar


def _digests(group: list[Image]) -> list[str]:
    names = {bare(image.reference): image.descriptor.digest for image in group if not image.reference.is_unnamed}
    return [f"{name}@{digest}" for name, digest in names.items()]


async def listed(request: web.Request) -> web.Response:
    """GET /images/json."""
    wanted = router.filters(request, FILTERS)
    return errors.as_json(await context.of(request).call(rows, context.of(request), wanted))


def rows(shared: context.Context, wanted: dict[str, list[str]]) -> list[dict[str, Any]]:
    """List the images that the filters let through, as the API shows them."""
    store, found = Images(shared.where), []
    bounds = {word: [_created(find(shared, name)) for name in wanted.get(word, ())] for word in ("before", "since")}
    until = min((moments.parse(text) for text in wanted.get("until", ())), default=None)
    for group in _grouped(store).values():
        image, created = group[0], _created(group[0])
        dangling = {value.lower() in ("true", "1") for value in wanted.get("dangling", ())}
        if dangling and all(one.reference.is_unnamed for one in group) not in dangling:
            continue
        if not router.has_labels(dict(image.config.labels), wanted.get("label", [])):
            continue
        if "reference" in wanted:
            group = [one for one in group if any(_matches(one, pattern) for pattern in wanted["reference"])]
        late = any(created >= bound for bound in bounds["before"]) or any(created <= bound for bound in bounds["since"])
        if not group or late or (until is not None and created > until):
            continue
        found.append({
            "Containers": -1, "Created": int(created), "Id": str(image.id), "Labels": dict(image.config.labels) or None,
            "ParentId": "", "RepoDigests": _digests(group), "RepoTags": _tags(group), "SharedSize": -1,
            "Size": size_of(store, image),
        })  # fmt: skip
    return sorted(found, key=lambda row: -row["Created"])


def _matches(image: Image, pattern: str) -> bool:
    familiar = image.reference._replace(digest=None).familiar
    return fnmatch.fnmatchcase(familiar, pattern) or fnmatch.fnmatchcase(bare(image.reference), pattern)


def _created(image: Image) -> float:
    return _moment(image.config.created)


def _moment(text: str | None) -> float:
    """Read a time that an image's config says; 0 for none, and for one that cannot be."""
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text or "").timestamp()
    return 0.0


async def inspect(request: web.Request) -> web.Response:
    """GET /images/{name}/json."""
    shared = context.of(request)
    return errors.as_json(await shared.call(_inspect, shared, request.match_info["name"]))


def _inspect(shared: context.Context, name: str) -> dict[str, Any]:
    images, image = Images(shared.where), find(shared, name)
    group = _grouped(images).get(str(image.id), [image])
    raw = json.loads(image.config.raw)
    return {
        "Id": str(image.id),
        "RepoTags": _tags(group),
        "RepoDigests": _digests(group),
        "Parent": "",
        "Comment": next((line.comment for line in reversed(image.config.history) if line.comment), ""),
        "Created": image.config.created or None,
        "DockerVersion": raw.get("docker_version", ""),
        "Author": image.config.author,
        "Config": {"Hostname": "", "Domainname": "", "AttachStdin": False, "Tty": False, "OpenStdin": False,
                   "Cmd": None, "Image": "", "Volumes": None, "WorkingDir": "", "Entrypoint": None, "Labels": None,
                   "User": "", "Env": [], **(raw.get("config") or {})},
        "Architecture": image.config.architecture,
        **({"Variant": image.config.variant} if image.config.variant else {}),
        "Os": image.config.os,
        "Size": size_of(images, image),
        "VirtualSize": size_of(images, image),
        "GraphDriver": {"Name": images.driver.name, "Data": None},
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in image.config.diff_ids]},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": image.descriptor.to_json(),
    }  # fmt: skip


async def history(request: web.Request) -> web.Response:
    """GET /images/{name}/history."""
    shared = context.of(request)
    return errors.as_json(await shared.call(_history, shared, request.match_info["name"]))


def _history(shared: context.Context, name: str) -> list[dict[str, Any]]:
    from labrt.engine.history import history as steps

    image, rows = find(shared, name), []
    for step in steps(image):
        rows.append({"Id": "<missing>", "Created": int(_moment(step.created)), "CreatedBy": step.created_by,
                     "Tags": None, "Size": step.size, "Comment": step.comment})  # fmt: skip
    if rows:
        rows[0] |= {"Id": str(image.id), "Tags": _tags(_grouped(Images(shared.where))[str(image.id)])}
    return rows


async def tag(request: web.Request) -> web.Response:
    """POST /images/{name}/tag."""
    from labrt.engine import push

    shared, name = context.of(request), request.match_info["name"]
    target = _target(request.query.get("repo", ""), request.query.get("tag", ""))
    image = await shared.call(find, shared, name)
    await shared.call(push.tag, name, target, where=shared.where)
    note(shared, "tag", str(image.id), target)
    return web.Response(status=201)


def _target(repository: str, tag_: str) -> str:
    try:
        reference = Reference.parse(f"{repository}:{tag_}" if tag_ else repository)
    except InvalidInput as error:
        raise InvalidInput(f"invalid reference format: {error.message}") from None
    return str(reference)


def note(shared: context.Context, action: str, id: str, name: str) -> None:
    """Write an event about an image."""
    from labrt.runtime import events

    events.append(shared.where.events, "image", action, id, {"name": name})


async def remove(request: web.Request) -> web.Response:
    """DELETE /images/{name}."""
    shared, name = context.of(request), request.match_info["name"]
    return errors.as_json(await shared.call(_remove, shared, name, router.flag(request, "force")))


def _remove(shared: context.Context, name: str, force: bool) -> list[dict[str, str]]:
    image, images = find(shared, name), Images(shared.where)
    by_id = image.id.hex.startswith(name.removeprefix("sha256:"))
    names = _tags(_grouped(images).get(str(image.id), []))
    if by_id and len(names) > 1 and not force:
        short = image.id.short
        why = "image is referenced in multiple repositories"
        raise Conflict(f"conflict: unable to delete {short} (must be forced) - {why}")
    try:
        lines = [line for one in (names if by_id else [name]) for line in images.remove(one, force=force)]
    except Conflict as error:
        users = [one for one, its in shared.containers().records() if its["image_id"] == str(image.id)]
        if not users:
            raise
        running = next((one for one in users if one.up), None)
        other, how = running or users[0], "cannot be forced" if running else "must be forced"
        doing = "is being used by running container" if running else "image is being used by stopped container"
        doing = f"image {doing}" if running else doing
        what = f'remove repository reference "{name}"' if not by_id else f"delete {image.id.short}"
        used = f"container {other.id[:12]} is using its referenced image {image.id.short}"
        shown = f" - {used}" if not by_id else f" - {doing} {other.id[:12]}"
        raise Conflict(f"conflict: unable to {what} ({how if by_id else 'must force'}){shown}") from error
    told = [_told(line) for line in lines]
    for one in told:
        note(shared, "untag" if "Untagged" in one else "delete", str(image.id), str(image.id))
    return told


def _told(line: str) -> dict[str, str]:
    """Turn a line of Images.remove, "Untagged: NAME", into the API's object."""
    what, _, of = line.partition(": ")
    return {what: of}


async def prune(request: web.Request) -> web.Response:
    """POST /images/prune: without dangling=false only what has no name."""
    wanted = router.filters(request, ("dangling", "until", "label", "label!"))
    return errors.as_json(await context.of(request).call(_prune, context.of(request), wanted))


def _prune(shared: context.Context, wanted: dict[str, list[str]]) -> dict[str, Any]:
    images, told, freed = Images(shared.where), [], 0
    everything = any(value.lower() in ("false", "0") for value in wanted.get("dangling", ()))
    users = shared.containers().image_ids()
    for image in images.all():
        if not everything and not image.reference.is_unnamed:
            continue
        if image.id in users or not router.to_prune(dict(image.config.labels), _created(image), wanted):
            continue
        size = size_of(images, image)
        with contextlib.suppress(LabrtError):
            lines = [_told(line) for line in images.remove(image.reference.familiar)]
            told += [line for line in lines if "Deleted" in line or not image.reference.is_unnamed]
            freed += size if any("Deleted" in line for line in lines) else 0
    return {"ImagesDeleted": told or None, "SpaceReclaimed": freed}


async def commit(request: web.Request) -> web.Response:
    """POST /commit."""
    shared = context.of(request)
    container = await shared.named(request.query.get("container", ""))
    body = await router.body(request)
    repository, tag_ = request.query.get("repo", ""), request.query.get("tag", "")
    config = (await shared.call(inspecting.container, container))["Config"]
    config["Env"] = [entry for entry in config.get("Env") or () if not entry.startswith("HOSTNAME=")]
    how = {
        "reference": _target(repository, tag_) if repository else None, "author": request.query.get("author", ""),
        "message": request.query.get("comment", ""), "pause": router.flag(request, "pause", default=True),
        "change": [*_from_body(config | {key: value for key, value in body.items() if value}), *_changes(request)],
    }  # fmt: skip
    id = await shared.apart(_commit, container, how)
    container.note("commit", imageID=id)
    return errors.as_json({"Id": id}, 201)


def _changes(request: web.Request) -> list[str]:
    """Read the instructions: each a parameter of its own, or several with a newline between."""
    return [line for text in request.query.getall("changes", []) for line in text.split("\n") if line]


def _from_body(body: dict[str, Any]) -> list[str]:
    """Write what a container config says as the instructions that change an image's."""
    lines = [f"ENV {_quoted(entry)}" for entry in body.get("Env") or () if "=" in entry]
    lines += [f"LABEL {_quoted(f'{key}={value}')}" for key, value in (body.get("Labels") or {}).items()]
    lines += [f"EXPOSE {port}" for port in body.get("ExposedPorts") or ()]
    lines += [f"VOLUME {json.dumps([place])}" for place in body.get("Volumes") or ()]
    for name, word in (("Cmd", "CMD"), ("Entrypoint", "ENTRYPOINT")):
        lines += [f"{word} {json.dumps(body[name])}"] if body.get(name) else []
    for name, word in (("User", "USER"), ("WorkingDir", "WORKDIR"), ("StopSignal", "STOPSIGNAL")):
        lines += [f"{word} {body[name]}"] if body.get(name) else []
    return lines


def _quoted(entry: str) -> str:
    import shlex

    name, _, value = entry.partition("=")
    return f"{name}={shlex.quote(value)}"


def _commit(container: Any, how: dict[str, Any]) -> str:
    """In a worker process: the changes are found by a child that sees both roots."""
    from labrt.engine import commit as committing

    return str(committing.commit(container, how.pop("reference"), **how).id)


async def search(request: web.Request) -> web.Response:
    """GET /images/search: labrt searches no hub."""
    if not request.query.get("term"):
        raise InvalidInput("invalid term: it must not be empty")
    raise LabrtError("labrt does not search Docker Hub", remedy="see https://hub.docker.com")


ROUTES: list[router.Route] = [
    ("GET", "/images/json", listed),
    ("GET", "/images/search", search),
    ("GET", "/images/{name:.+}/json", inspect),
    ("GET", "/images/{name:.+}/history", history),
    ("POST", "/images/{name:.+}/tag", tag),
    ("DELETE", "/images/{name:.+}", remove),
    ("POST", "/images/prune", prune),
    ("POST", "/commit", commit),
]
