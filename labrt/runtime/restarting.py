"""Between two runs of a container: the pause that its restart policy wants, and the next start.

    pause(monitor)      init has ended, and the policy (restarts.py) wants another one
    give_up(monitor)    somebody wants it to stay down

See runs.py for what one run is, restarts.py for the policies; notebook 17.
"""

from __future__ import annotations

import contextlib
import functools

from labrt.errors import ContainerError, LabrtError
from labrt.runtime import state, wire

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from labrt.runtime.monitor import Monitor


def pause(monitor: Monitor) -> None:
    """See those off who watched it, and start it again after a while."""
    seconds = monitor.backoff.next(monitor.state.finished - monitor.state.started)
    monitor.save(status=state.RESTARTING, restarts=monitor.state.restarts + 1, durable=True)
    monitor.tell(wire.control(exit=monitor.state.exit_code))
    monitor.board.part()
    monitor.alarms.set("restart", seconds, functools.partial(_again, monitor))


def _again(monitor: Monitor) -> None:
    """Start it once more. A start that fails is the end, as it is for Docker."""
    try:
        monitor.build(start=True)
        monitor.save()
    except (LabrtError, OSError) as error:
        _unbuild(monitor)
        monitor.fail(error if isinstance(error, LabrtError) else ContainerError(f"not started again: {error}"))


def _unbuild(monitor: Monitor) -> None:
    """Take down what there is of an init that did not come to be."""
    creation = monitor.run.creation
    if creation:
        for fd in (creation.sync.fileno(), creation.child.pidfd if creation.child else -1):
            with contextlib.suppress(KeyError, ValueError):
                monitor.selector.unregister(fd)
    monitor.run.abandon()
    monitor.run.remove_cgroup()
    monitor.board.part()


def give_up(monitor: Monitor) -> None:
    """Let it be down, or end what is just coming up."""
    monitor.alarms.cancel("restart")
    if monitor.run.child.exit is None:
        monitor.run.child.kill()  # the monitor hears of its end
    else:
        monitor.finish()
