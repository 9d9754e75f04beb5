"""What is known of one container, on disk: state.json, the runtime-spec's state with what `docker ps` wants beside it.

Only the container's monitor writes it while it lives. Who reads asks whether that monitor is still there: if not, and
the file says "running", the monitor was killed or the machine rebooted, and `read` says what is true now.

See the OCI runtime-spec, runtime.md, "State"; notebook 17.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from labrt.errors import ContainerNotFound
from labrt.image import files
from labrt.linux import process, procfs
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

CREATING, CREATED, RUNNING, STOPPED = "creating", "created", "running", "stopped"
PAUSED, RESTARTING = "paused", "restarting"  # the runtime-spec lets a runtime have further ones


class State(Record):
    """A container's state. Times are seconds since the epoch, 0 when it has not come to that."""

    id: str
    bundle: str
    status: str = CREATING
    pid: int = 0  # of its PID 1, in the host's PID namespace
    starttime: int = 0  # of that process, see process.start_time
    monitor: int = 0
    monitor_starttime: int = 0
    boot: str = ""
    cgroup: str = ""
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    exit_code: int | None = None
    error: str = ""
    oom_killed: bool = False
    restarts: int = 0  # how often its monitor has started it again, by its restart policy
    by_hand: bool = False  # somebody asked for its end: a restart policy is then silent

    @property
    def alive(self) -> bool:
        """Whether there is a process to signal, join or wait for."""
        return self.status in (CREATED, RUNNING, PAUSED)

    @property
    def kept(self) -> bool:
        """Whether a monitor keeps it: it is alive, or will be again when its pause between two starts is over."""
        return self.alive or self.status == RESTARTING

    def to_oci(self) -> dict[str, Any]:
        """As `runc state` prints it, and hooks get it on their standard input."""
        state = {"ociVersion": "1.1.0", "id": self.id, "status": self.status, "bundle": self.bundle}
        return state | ({"pid": self.pid} if self.alive else {})


def write(path: str, state: State, *, durable: bool = False) -> None:
    """Replace a state file in one step. `durable`: a power cut leaves the old or the new, as an exit code should be.

    What only matters while the machine runs (created, running) need not wait for the disk.
    """
    replace(path, state._asdict(), durable=durable)


def replace(path: str, value: dict[str, Any], *, durable: bool = False) -> None:
    """Replace a file of JSON in one step."""
    files.swap(path, json.dumps(value).encode(), synced=durable)


def read(path: str) -> State:
    """Read a state file, and correct what the death of its monitor has made untrue (in the answer, not on disk)."""
    try:
        with open(path) as file:
            state = State(**json.load(file))
    except FileNotFoundError:
        name = os.path.basename(os.path.dirname(path))
        raise ContainerNotFound(f"no container {name}", remedy="`labrt ps -a` lists them") from None
    except ValueError:  # a crash of the machine left half a file
        directory = os.path.dirname(path)
        lost = "its state was lost in a crash"
        return State(os.path.basename(directory), directory, STOPPED, exit_code=255, error=lost)
    if state.status == STOPPED or monitor_alive(state):
        return state
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        state = State(**json.load(file))  # it may have ended in between, and then said how
    if state.status == STOPPED:
        return state
    return state._replace(
        status=STOPPED,
        exit_code=255 if state.boot != procfs.boot_id() else 137,
        error="the machine was rebooted" if state.boot != procfs.boot_id() else "its monitor was killed",
        finished=state.finished or time.time(),
    )


def monitor_alive(state: State) -> bool:
    """Whether the process that owns this container still runs."""
    if not state.monitor or state.boot != procfs.boot_id():
        return False
    pidfd = process.open_pidfd(state.monitor, state.monitor_starttime)
    if pidfd is None:
        return False
    try:
        return not process.wait_for(pidfd, 0)  # a zombie, too, is gone
    finally:
        os.close(pidfd)
