"""Orders: what clients may want of a monitor while its container runs, over the attach socket.

    {"stop": true}                           somebody is about to end it: be silent with the restart policy
    {"pause": true} or {"pause": false}      freeze all of its processes; let them go on
    {"change": {"restart": …, "attributes": …}}
    {"network": {"connect": …}} or {"network": {"disconnect": name}}

The answer to each is {"done": word} or {"failed": error}. What a start takes, *start* and resize, is in monitor.py.
See wire.py for the frames, Container.ask for who sends them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from labrt.errors import Conflict, NotSupported
from labrt.runtime import restarting, restarts, state

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.runtime.monitor import Monitor
    from labrt.runtime.stdio import Client


def carry_out(monitor: Monitor, client: Client, message: dict[str, Any]) -> None:
    """Do all that a message orders, and answer the client."""
    for word in ORDERS.keys() & message.keys():
        monitor.obey(client, word, functools.partial(ORDERS[word], monitor, message[word]))
    if message.get("stop") and monitor.state.status == state.RESTARTING:
        restarting.give_up(monitor)


def _stop(monitor: Monitor, _: bool) -> None:
    """Somebody is about to end it, or wants it not to come back: its restart policy is to be silent."""
    monitor.save(by_hand=True)


def _pause(monitor: Monitor, wanted: bool) -> None:
    """Freeze all of its processes, or let them go on. See "freezer" in cgroups(7)."""
    id, status, cgroup = monitor.state.id, monitor.state.status, monitor.run.cgroup
    before, after = (state.RUNNING, state.PAUSED) if wanted else (state.PAUSED, state.RUNNING)
    if status != before:
        raise Conflict(f"container {id[:12]} is not {before}, it is {status}")
    if cgroup is None:
        raise NotSupported(f"container {id[:12]} has no cgroup", remedy="nothing else can be frozen")
    if wanted:
        if monitor.health:
            monitor.health.pause()
        cgroup.freeze()
    else:
        cgroup.thaw()
    monitor.save(status=after)
    monitor.note("pause" if wanted else "unpause")
    if not wanted and monitor.health:
        monitor.health.resume()


def _change(monitor: Monitor, what: dict[str, Any]) -> None:
    """Take another restart policy, another name for its events."""
    if "restart" in what:
        monitor.policy = restarts.Policy.from_json(what["restart"])
    monitor.attributes |= what.get("attributes") or {}
    if monitor.run.network and "attributes" in what:
        monitor.run.network.rename(monitor.attributes["name"])


def _rewire(monitor: Monitor, what: dict[str, Any]) -> None:
    """Plug it into one more network, or unplug it from one. Between two runs there is nothing to do."""
    network = monitor.run.network
    if network and "connect" in what:
        network.connect(what["connect"])
    elif network:
        network.disconnect(what["disconnect"])


ORDERS: dict[str, Callable[[Monitor, Any], None]] = {
    "stop": _stop, "pause": _pause, "change": _change, "network": _rewire,
}
