"""What a new container takes from others: their namespaces (--ipc container:NAME), their volumes (--volumes-from).

Names become ids here, when the container is made. The namespaces themselves are entered when it starts, and each time
that it starts: see runtime/joins.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labrt.engine.options.model import Options
from labrt.errors import Conflict, ContainerNotFound
from labrt.linux.mounts import Mount

if TYPE_CHECKING:
    from labrt.engine.containers import Container, Containers


def resolve(wanted: Options, containers: Containers) -> tuple[Options, list[Mount]]:
    """Return the options with ids in place of names, and the mounts of the containers that --volumes-from names.

    Raises ContainerNotFound, naming the option, and Conflict for a /dev/shm that its owner does not share.
    """
    from labrt.engine.options import namespaces

    ids: dict[str, Any] = {}
    for field in (*namespaces.JOINABLE, "network"):
        name = namespaces.other(getattr(wanted, field))
        if name is not None:
            found = _get(containers, name, f"--{field} {getattr(wanted, field)}")
            if field == "ipc":
                _check_shareable(found)
            if field == "network" and not found.has_own_network:
                mode = found.record()["options"]["network"]
                raise Conflict(f"container {found.name} has no network of its own, but --network {mode}",
                               remedy="name one that has")  # fmt: skip
            ids[field] = f"container:{found.id}"
    return wanted.replace(**ids), _inherited(wanted, containers)


def _get(containers: Containers, name: str, option: str) -> Container:
    try:
        return containers.get(name)
    except ContainerNotFound as error:
        raise ContainerNotFound(f"{option}: {error.message}", remedy=error.remedy) from None


def _check_shareable(container: Container) -> None:
    mode = container.record().get("HostConfig", {}).get("IpcMode", "private")
    if mode != "shareable" and mode != "host" and not mode.startswith("container:"):
        remedy = f"make it with --ipc shareable; {container.name} has --ipc {mode}"
        raise Conflict(f"container {container.name} shares its IPC namespace with nobody", remedy=remedy)


def _inherited(wanted: Options, containers: Containers) -> list[Mount]:
    """Collect volumes and binds of other containers; of two at one place, the one that is named later."""
    if not wanted.volumes_from:
        return []
    from labrt.engine.options import mounts

    found = {}
    for text in wanted.volumes_from:
        name, mode = mounts.source_of(text)
        for mount in visible(_get(containers, name, f"--volumes-from {text}")):
            words = tuple(word for word in mount.options if mode != "rw" or word not in ("ro", "rro"))
            if mode == "ro" and "rro" not in words:
                words += ("rro",)
            found[mount.destination] = mount._replace(options=words)
    return list(found.values())


# Binds that labrt makes itself: for --init, and for --ipc host.
_OURS = ("/sbin/docker-init", "/dev/shm", "/dev/mqueue")


def visible(container: Container) -> list[Mount]:
    """List what was mounted into a container because somebody wanted it: not its own /etc files, nor what labrt adds.

    A volume's source is its name.
    """
    volumes = {use["destination"]: use["name"] for use in container.record().get("volumes", ())}
    own = container.runtime.directory
    found = []
    for entry in container.runtime.config()["mounts"]:
        mount = Mount.from_json(entry)
        if mount.is_bind and not mount.source.startswith(f"{own}/") and mount.destination not in _OURS:
            found.append(mount._replace(source=volumes.get(mount.destination, mount.source)))
    return found
