"""What a new container wants of networks, written down for its monitor: runtime/networks reads it.

    settled(options)                              which network it is that nobody asked for
    of(options, image, hostname, containers)      {"networks": […], "ports": […], "hosts": …}; None for no network

Who asks for nothing gets the bridge, as with docker, and an ordinary user pasta, or else slirp4netns; or what
`LABRT_NETWORK` names: none, host, one of `labrt network ls`. Where these cannot be had, a run that asked for nothing
does not fail for it: it has no network, and a warning says why and what to do. A run that publishes a port has asked
for one. An address pool that is full is an error for all.
"""

from __future__ import annotations

import os
import warnings

from labrt import paths
from labrt.engine.options.model import SUBJECTS, TAPS
from labrt.errors import InvalidInput, LabrtError, LabrtWarning, NotFound, NotSupported
from labrt.runtime import networks

TYPE_CHECKING = False  # as in syscalls.py: this is on the way of each `labrt run`
if TYPE_CHECKING:
    from typing import Any

    from labrt.engine.containers import Containers
    from labrt.engine.options import Options
    from labrt.image.config import ImageConfig

VARIABLE = "LABRT_NETWORK"
_PLACE = {"ip": "", "ip6": "", "mac": ""}


def settled(options: Options) -> Options:
    """Return the options with a network that can be had, where `default` is not that."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen not in ("", "default"):
        return options.replace(network=chosen)
    if not paths.owner():
        return options
    from labrt.runtime.networks import tap

    try:
        there = tap.ordinary()
    except NotSupported as error:
        if _asks(options):
            raise
        return _without(options, error)
    return options.replace(network=there)


def _without(options: Options, error: LabrtError) -> Options:
    """Return the options without a network, and say why."""
    warnings.warn(LabrtWarning(networks.said(error)), stacklevel=5)
    return options.replace(network="none")


def _asks(options: Options) -> bool:
    """Whether it needs a network, whichever."""
    return options.network != "default" or bool(options.publish or options.publish_all)


def of(options: Options, image: ImageConfig, hostname: str, containers: Containers) -> dict[str, Any] | None:
    """Return its wishes, each network by its full name. Raises NotFound for a network that is not there."""
    bridge = os.path.join(containers.where.networks, "bridge", "network.json")
    if not options.given(*SUBJECTS["networking"], *SUBJECTS["etc"]) and os.path.exists(bridge):
        # What most containers want: to know that, nothing need be read or imported.
        return {"networks": [{"network": "bridge", **_PLACE, "aliases": []}], "ports": [], "names": hostname,
                "hosts": "", "dns": [], "dns_search": [], "dns_option": [], "unasked": True}  # fmt: skip
    from labrt.engine.options import networking

    wishes = networking.wishes(options, image, hostname)
    if options.network in TAPS:
        return wishes | {"tap": options.network}
    if not wishes["networks"]:
        return None
    if paths.owner():
        raise NotSupported("an ordinary user cannot make networks: a bridge belongs to root",
                           remedy="--network pasta has a way out and published ports; or none, host")  # fmt: skip
    try:
        _find(wishes, containers)
    except LabrtError as error:
        if _asks(options) or not networks.spared(error):
            raise
        warnings.warn(LabrtWarning(networks.said(error)), stacklevel=4)
        return None
    return wishes if _asks(options) else wishes | {"unasked": True}


def _find(wishes: dict[str, Any], containers: Containers) -> None:
    """Put in each network's full name; make the default one, if it is that."""
    from labrt.engine.networks import Networks

    known = Networks(containers.where)
    for wish in wishes["networks"]:
        try:
            network = known.get(wish["network"])
        except NotFound as error:
            raise NotFound(f"--network: {error.message}", remedy=error.remedy) from None
        wish["network"] = network.name
        if network.is_default and (wish["aliases"] or wish["ip"] or wish["ip6"]):
            raise InvalidInput("on the default network nobody has an alias or a chosen address, as with Docker",
                               remedy="`labrt network create NAME --subnet …`, and --network NAME")  # fmt: skip
