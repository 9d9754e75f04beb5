"""After a reboot, or the death of a monitor: what a restart policy promised is kept, what is left is taken down.

    restore()        [<Container web …: running>]

labrt has no daemon that would do this by itself. Whoever has one, or a unit of systemd, calls this at its start; until
somebody does, a container whose monitor was killed stays down, whatever its policy. By Docker's rules it starts

    always           each, also one that was stopped by hand
    unless-stopped   each but those that were stopped by hand
    on-failure       each that failed; to be killed with its monitor, or by a reboot, is to fail
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from labrt import paths
from labrt.engine.containers import Containers
from labrt.errors import ContainerNotFound, LabrtError
from labrt.runtime import state as states
from labrt.runtime.restarts import Policy

if TYPE_CHECKING:
    from labrt.engine.container import Container


def restore(where: paths.Paths | None = None) -> list[Container]:
    """Start the containers that should run and do not. Returns them; one that cannot start is left, and says why."""
    started = []
    for container in reversed(Containers(where).list(all=True)):  # oldest first, as they were started
        with contextlib.suppress(ContainerNotFound):
            container.mend()
            if not container.up and _is_due(container):
                with contextlib.suppress(LabrtError):
                    container.start()
                    started.append(container)
    return started


def mend(container: Container) -> bool:
    """Take down what the killed monitor of one container would have, and note its end. See Container.mend."""
    state = container.state
    if not state.monitor or states.monitor_alive(state):
        return False
    with contextlib.suppress(ContainerNotFound), container.locked():
        if _as_written(container.runtime.state_file) == states.STOPPED or states.monitor_alive(container.state):
            return False
        container.runtime.mend()
        container.note("die", exitCode=str(container.state.exit_code))
        if not container.record_or_none("remove"):
            return True
    with contextlib.suppress(LabrtError):
        container.remove(force=True)
    return True


def _as_written(path: str) -> str:
    """Return the status that stands in a state file, whether it is still true or not."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(path) as file:
        return str(json.load(file).get("status"))
    return ""


def _is_due(container: Container) -> bool:
    state = container.state
    if not state.pid:  # never started: a policy begins with a first start
        return False
    policy = Policy.from_json((container.record().get("HostConfig") or {}).get("RestartPolicy"))
    by_hand = state.by_hand and policy.name != "always"
    return policy.wants(state.exit_code or 0, by_hand=by_hand)
