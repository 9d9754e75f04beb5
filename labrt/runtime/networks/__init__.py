"""A container's networks, as its monitor makes them: from what was wished for to cables, addresses, names and ports.

    definition    what a network is: driver, subnets, bridge      leases      who has which address, which names
    uplink        bring a network up, take it down                attachment  plug a container in, unplug it
    publishing    its published ports                             helper      the process for names and ports
    etc           its hosts and resolv.conf           tap           the way out of who may not make a bridge:
                                                      pasta, or slirp

    attachment_of(request, id)     what plugs this container in: an Attachment, or a Tap
    spared(error)                  whether a container that asked for no network runs without one then
    said(error)                    why it has none

The engine only writes down what is wanted (engine/networks.py); here it is done, at each start anew. Imported for
containers that have a network: `--network none` pays nothing.
"""

from __future__ import annotations

from labrt import paths
from labrt.errors import Conflict, LabrtError

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labrt.runtime.networks.attachment import Attachment
    from labrt.runtime.networks.tap import Tap


def attachment_of(request: Mapping[str, Any], id: str) -> Attachment | Tap:
    """Return what plugs a container into its networks: root's and an ordinary user's have nothing in common."""
    if paths.owner():
        from labrt.runtime.networks import tap

        return tap.of(request, id)
    from labrt.runtime.networks.attachment import Attachment

    return Attachment(request, id)


def spared(error: LabrtError | OSError) -> bool:
    """Whether a container that asked for no network shall run without, when it cannot have the default one.

    It shall where the machine can make none. No address is free, or another has the bridge's: that is to be mended,
    and a container without a network, on a machine where the last one had it, would be a riddle.
    """
    return not isinstance(error, Conflict)


def said(error: LabrtError | OSError) -> str:
    """Say in one line why a container has no network that nobody asked for, and what to do."""
    why, remedy = (error.message, error.remedy) if isinstance(error, LabrtError) else (str(error), "")
    return f"it has no network: {why} ({remedy or '--network none says so without this warning'})"
