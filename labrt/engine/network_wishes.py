"""What a new container wants of networks, written down for its monitor: labrt/runtime/networks/attachment.py reads it.

    of(options, image, hostname, containers)      {"networks": […], "ports": […], "hosts": …}; None for no network
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labrt import paths
from labrt.engine.options import Options
from labrt.errors import InvalidInput, NotFound, NotSupported
from labrt.image.config import ImageConfig

if TYPE_CHECKING:
    from labrt.engine.containers import Containers


def of(options: Options, image: ImageConfig, hostname: str, containers: Containers) -> dict[str, Any] | None:
    """Return its wishes, each network by its full name. Raises NotFound for a network that is not there."""
    from labrt.engine.networks import Networks
    from labrt.engine.options import networking

    wishes = networking.wishes(options, image, hostname)
    if not wishes["networks"]:
        return None
    if paths.owner():
        raise NotSupported("an ordinary user cannot make networks: a bridge belongs to root",
                           remedy="--network none or host")  # fmt: skip
    networks = Networks(containers.where)
    for wish in wishes["networks"]:
        try:
            network = networks.get(wish["network"])
        except NotFound as error:
            raise NotFound(f"--network: {error.message}", remedy=error.remedy) from None
        wish["network"] = network.name
        if network.is_default and (wish["aliases"] or wish["ip"] or wish["ip6"]):
            raise InvalidInput("on the default network nobody has an alias or a chosen address, as with Docker",
                               remedy="`labrt network create NAME --subnet …`, and --network NAME")  # fmt: skip
    return wishes
