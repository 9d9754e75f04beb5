"""What dockerd has and labrt leaves out on purpose: answers as those of a dockerd without it."""

from __future__ import annotations

from aiohttp import web

from labrt.engine.api import errors, router
from labrt.errors import NotFound

_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


async def no_swarm(request: web.Request) -> web.Response:
    """503: so dockerd says it where it is no manager."""
    return errors.reply(503, _SWARM)


async def no_swarm_mode(request: web.Request) -> web.Response:
    """Refuse to begin one."""
    return errors.reply(501, "labrt has no swarm: one machine is what it is about")


async def no_plugins(request: web.Request) -> web.Response:
    """There are none."""
    return errors.as_json([])


async def no_plugin(request: web.Request) -> web.Response:
    """This one is not there, either."""
    raise NotFound(f'plugin "{request.match_info["name"]}" not found')


async def no_new_plugins(request: web.Request) -> web.Response:
    """None will be."""
    return errors.reply(501, "labrt has no plugins: its drivers are modules that one can read")


async def no_checkpoints(request: web.Request) -> web.Response:
    """As dockerd when it is not experimental."""
    return errors.reply(404, "page not found")


async def no_session(request: web.Request) -> web.Response:
    """BuildKit's sessions: `docker build` then takes the classic way."""
    return errors.reply(501, "labrt has no BuildKit sessions: build with DOCKER_BUILDKIT=0")


_MANAGED = ("nodes", "services", "tasks", "secrets", "configs")
ROUTES: list[router.Route] = [
    ("GET", "/swarm", no_swarm),
    ("GET", "/swarm/unlockkey", no_swarm),
    *((verb, f"/swarm/{what}", no_swarm) for verb, what in (("POST", "leave"), ("POST", "update"), ("POST", "unlock"))),
    ("POST", "/swarm/init", no_swarm_mode),
    ("POST", "/swarm/join", no_swarm_mode),
    *(("*", f"/{what}{rest}", no_swarm) for what in _MANAGED for rest in ("", "/{rest:.*}")),
    ("GET", "/plugins", no_plugins),
    ("GET", "/plugins/{name:.+}/json", no_plugin),
    ("GET", "/plugins/privileges", no_new_plugins),
    ("POST", "/plugins/{rest:pull|create}", no_new_plugins),
    ("DELETE", "/plugins/{name:.+}", no_plugin),
    ("POST", "/plugins/{name:.+}/{verb:enable|disable|upgrade|push|set}", no_plugin),
    ("*", "/containers/{id}/checkpoints{rest:.*}", no_checkpoints),
    ("POST", "/session", no_session),
    ("POST", "/grpc", no_session),
]
