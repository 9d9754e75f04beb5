"""A container as it stands, in the words of those who run containers on other machines: for Kubernetes, for Compose.

    written = generate.kube(["web", "db", "data"])   a Pod with both containers, and a claim of the volume data
    written = generate.compose(["web", "db"])        a compose file with both services, their networks and volumes
    written.text, written.left_out                   YAML; what it has no word for, one line for each

    description   a container without what its image says anyhow        pod, pod_…    for Kubernetes
    text          YAML whose strings every reader takes for strings     services      for Compose

What the other side has no word for is said: in `left_out`, and in the comment on top. See Kubernetes' API reference,
Pod v1, and https://compose-spec.io; both files are read by people, and then by `kubectl apply`, `podman play kube`,
`docker compose up`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from labrt import paths
    from labrt.engine.generate.description import Description


class Written(NamedTuple):
    """The file, and what it could not say."""

    text: str
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


def kube(names: Sequence[str], where: paths.Paths | None = None) -> Written:
    """Write containers as one Pod; of names that are volumes', the claims. As podman does.

    Raises ContainerNotFound for a name that is neither's, and InvalidInput for what is no text.
    """
    from labrt.engine.generate import pod, text

    containers, volumes = _sorted(names, where)
    documents, left_out = pod.write(_described(containers, where), volumes)
    whole = text.write(documents, "kubectl apply -f FILE, podman play kube FILE", left_out)
    return Written(whole, tuple(map(text.clean, left_out)))


def compose(names: Sequence[str], where: paths.Paths | None = None) -> Written:
    """Write containers as the services of one compose file. Raises ContainerNotFound, and InvalidInput as `kube`."""
    from labrt.engine.generate import services, text

    document, left_out = services.write(_described(names, where))
    whole = text.write([document], "docker compose -f FILE up", left_out)
    return Written(whole, tuple(map(text.clean, left_out)))


def _sorted(names: Sequence[str], where: paths.Paths | None) -> tuple[list[str], list[str]]:
    """Tell containers from volumes. One name may be both's, and then it is the container's. One container at least."""
    from labrt.engine.containers import Containers
    from labrt.engine.volumes import Volumes
    from labrt.errors import ContainerNotFound, InvalidInput

    containers, volumes = Containers(where), {volume.name for volume in Volumes(where).list()}
    found: tuple[list[str], list[str]] = [], []
    for name in names:
        try:
            found[0].append(containers.get(name).id)
        except ContainerNotFound:
            if name not in volumes:
                raise
            found[1].append(name)
    if not found[0]:
        raise InvalidInput("volumes alone make no pod", remedy="name a container that uses them")
    return found


def _described(names: Sequence[str], where: paths.Paths | None) -> list[Description]:
    from labrt.engine.containers import Containers
    from labrt.engine.generate.description import Description

    containers = Containers(where)
    found = {one.id: one for one in map(containers.get, names)}  # each once, by whatever name
    return [Description.of(container) for container in found.values()]
