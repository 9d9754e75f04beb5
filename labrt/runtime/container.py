"""A container, from its bundle to its end: the OCI runtime-spec's create, start, state, kill and delete, and exec.

    container = Container(id, bundle)
    container.create(root_mounts=[…])      built, and waiting; state "created"
    container.start()                      its program runs; state "running"
    container.exec(["ps"]).wait()
    container.kill(signal.SIGTERM); container.wait()
    container.delete()

A bundle is a directory with a config.json and the directory that it names as root. `root_mounts` make up the root's
content; init makes them in the container's own mount namespace, so that on the host nothing is mounted.

See runtime.md of the OCI runtime-spec, "Lifecycle"; notebook 17.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import warnings
from collections.abc import Mapping, Sequence

from labrt import paths
from labrt.errors import Conflict, ContainerNotFound, LabrtError, LabrtWarning
from labrt.linux import ledger, process, syscalls
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime import launcher
from labrt.runtime import state as states
from labrt.runtime.attachment import Attachment
from labrt.runtime.state import State

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Container:
    """A handle: it holds nothing open, and there may be several for one container, in several processes."""

    def __init__(self, id: str, bundle: str | None = None, *, where: paths.Paths | None = None) -> None:
        self.id = id
        self.where = where or paths.default()
        self.directory = os.path.join(self.where.containers, id)
        self.bundle = bundle or self.directory
        self.sockets = os.path.join(self.where.sockets, id)
        self.log = os.path.join(self.directory, f"{id}-json.log")

    @property
    def state_file(self) -> str:
        """Where its state is kept."""
        return os.path.join(self.directory, "state.json")

    @property
    def health_file(self) -> str:
        """Where its monitor notes what the health checks said, if there are any."""
        return os.path.join(self.directory, "health.json")

    @property
    def state(self) -> State:
        """Its state now. Raises ContainerNotFound before `create` and after `delete`."""
        return states.read(self.state_file)

    def config(self) -> dict[str, Any]:
        """Read its config.json."""
        try:
            with open(os.path.join(self.bundle, "config.json")) as file:
                config: dict[str, Any] = json.load(file)
                return config
        except FileNotFoundError:
            raise ContainerNotFound(f"no container {self.id[:12]}", remedy="`labrt ps -a` lists them") from None

    def create(
        self,
        *,
        root_mounts: Sequence[Mount] = (),
        stdin: bool = False,
        auto_remove: bool = False,
        after: Sequence[str] = (),
        upkeep: Mapping[str, Any] | None = None,
    ) -> None:
        """Build it up to the point where only *start* is missing.

        `stdin`: its input can be given later (else it is /dev/null). `auto_remove`: nobody will ask how it ended.
        `after` is a command that its monitor becomes at the end. Raises what went wrong; then nothing is left of it.
        `upkeep` is what else the monitor does: "restart" (restarts.Policy.to_json), "healthcheck" (Docker's object),
        "log_limits" (log.Writer's), "events" (the log of events) and "attributes" (what they say of the container).
        """
        self._create(root_mounts, stdin, auto_remove, after, upkeep)

    def run(
        self,
        *,
        root_mounts: Sequence[Mount] = (),
        stdin: bool = False,
        auto_remove: bool = False,
        after: Sequence[str] = (),
        upkeep: Mapping[str, Any] | None = None,
    ) -> Attachment:
        """`create`, `attach` and `start` in one: nobody waits for anybody between the root and the program.

        You are attached from the first byte on, and with `stdin` give its input. What keeps the program from starting
        the attachment reports; all else is as for `create`.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        attached = Attachment(ours, stdin=stdin)
        try:
            with theirs:
                self._create(root_mounts, stdin, auto_remove, after, upkeep, theirs.fileno())
        except BaseException:
            attached.close()
            raise
        return attached

    def _create(
        self,
        root_mounts: Sequence[Mount],
        stdin: bool,
        auto_remove: bool,
        after: Sequence[str],
        upkeep: Mapping[str, Any] | None,
        *client: int,
    ) -> None:
        """Have a monitor create it; `client` is the far end of who is attached at once, and wants it started."""
        os.makedirs(self.directory, 0o700, exist_ok=True)
        request = {
            "op": "create",
            "id": self.id,
            "bundle": self.bundle,
            "sockets": self.sockets,
            "state": self.state_file,
            "log": self.log,
            "root_mounts": [mount.to_json() for mount in root_mounts],
            "stdin": stdin,
            "auto_remove": auto_remove,
            "after": list(after),
            "environment": dict(os.environ) if after else {},
            "health": self.health_file,
            **(upkeep or {}),
        }
        answer, _ = launcher.default().call(request, client)
        for line in answer["warnings"]:  # as Python says such things: a program may filter them, or raise them
            warnings.warn(line, LabrtWarning, stacklevel=3)

    def attach(self, *, stdin: bool = False) -> Attachment:
        """Attach to a container that is created or runs. Raises Conflict when it is neither."""
        return Attachment.connect(self.sockets, stdin=stdin)

    def start(self) -> None:
        """Let its program begin, and return when it runs. Raises CommandNotFound and the like when it cannot."""
        with Attachment.connect(self.sockets, output=False) as attached:
            attached.start()
            attached.wait_started()

    def ask(self, **order: Any) -> None:
        """Have its monitor do something: pause=True or False; stop=True, to be silent with its restart policy;
        change={…}, another policy. Raises Conflict when it has none, or what the monitor says.
        """  # noqa: D205
        with Attachment.connect(self.sockets, output=False) as attached:
            attached.ask(**order)

    def kill(self, sig: int = signal.SIGTERM) -> None:
        """Signal its PID 1. Raises Conflict when there is none any more.

        PID 1 is deaf to signals that it has no handler for, except SIGKILL from outside: pid_namespaces(7).
        """
        state = self.state
        pidfd = process.open_pidfd(state.pid, state.starttime) if state.alive else None
        if pidfd is None:
            raise Conflict(f"container {self.id[:12]} is not running", remedy="`labrt ps -a` says how it ended")
        try:
            with contextlib.suppress(ProcessLookupError):
                syscalls.pidfd_send_signal(pidfd, sig)
        finally:
            os.close(pidfd)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end and return its exit code (128 + signal when killed); None after `timeout` seconds."""
        state = self.state
        if state.status != states.STOPPED:
            monitor = process.open_pidfd(state.monitor, state.monitor_starttime)
            if monitor is not None:
                try:
                    if not process.wait_for(monitor, timeout):
                        return None
                finally:
                    os.close(monitor)
        return self.state.exit_code

    def exec(
        self,
        args: Sequence[str],
        *,
        stdio: tuple[int, int, int] | None = None,
        env: Sequence[str] = (),
        cwd: str | None = None,
        user: str = "",
        console_size: tuple[int, int] | None = None,
        privileged: bool = False,
    ) -> Execution:
        """Run one more program in it. `stdio` are descriptors for its 0, 1 and 2; None: a terminal of the container's.

        `env` is added to the container's own; `cwd` and `user` are the container's unless given. `privileged`: with
        every capability that we have; the container's filter stays, and what that refuses is refused to root, too.
        """
        state = self.state
        if state.status != states.RUNNING:
            verb = "unpause" if state.status == states.PAUSED else "start"
            remedy = f"`labrt {verb} {self.id[:12]}` lets it run"
            raise Conflict(f"container {self.id[:12]} is not running, it is {state.status}", remedy=remedy)
        config = self.config()
        process_section = _process_section(config["process"], args, env, cwd) | (_all_power() if privileged else {})
        about = oci.joining(config, state, process_section, user)
        request = {"op": "exec", **about, "console_size": console_size}
        pidfd = process.open_pidfd(state.pid, state.starttime)
        if pidfd is None:
            raise Conflict(f"container {self.id[:12]} has just ended", remedy="`labrt start` starts it again")
        try:
            return Execution(launcher.default().begin(request, [pidfd, *(stdio or ())]))
        finally:
            os.close(pidfd)

    def delete(self, *, force: bool = False) -> None:
        """Remove what `create` has made. A container that lives is a Conflict, unless `force`: then it is killed."""
        state = self.state
        if state.kept:
            if not force:
                remedy = "stop it first, or `labrt rm -f`"
                raise Conflict(f"container {self.id[:12]} is {state.status}", remedy=remedy)
            with contextlib.suppress(Conflict):
                self.ask(stop=True)
            with contextlib.suppress(Conflict):
                self.kill(signal.SIGKILL)
            self.wait(10)
        self.mend()
        log = os.path.basename(self.log)
        for name in os.listdir(self.directory):
            if name in ("state.json", "health.json", log) or name.startswith(f"{log}."):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.directory, name))
        self._poststop()

    def _poststop(self) -> None:
        """Run the hooks that want to know that it is gone; what goes wrong in them is a warning."""
        with contextlib.suppress(ContainerNotFound):
            config = self.config()
            if config.get("hooks"):
                from labrt.runtime import hooks

                state = hooks.state(config, self.id, self.bundle, states.STOPPED)
                for line in hooks.run_all(config, "poststop", state, cwd=self.bundle):
                    warnings.warn(line, LabrtWarning, stacklevel=3)

    def mend(self) -> None:
        """After the death of a monitor: take down what it would have, cgroup, socket, its entry in the ledger.

        And write down what `state` says now, so that it is known for good. Nobody may `create` at the same time.
        """
        state = self.state
        if states.monitor_alive(state):
            if state.status == states.STOPPED:  # on its way out; killed now, it would leave its entry behind
                ledger.strike_all("process", str(state.monitor), directory=self.where.ledger)
            return
        states.write(self.state_file, state, durable=True)
        if state.cgroup:
            from labrt.linux import cgroups

            with contextlib.suppress(LabrtError, OSError):
                cgroups.remove_recorded(state.cgroup)
        ledger.strike_all("process", str(state.monitor), directory=self.where.ledger)
        if os.path.exists(os.path.join(self.sockets, "endpoints.json")):
            from labrt.runtime.networks import attachment

            attachment.mend(self.where, self.id)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.sockets, "attach.sock"))
        with contextlib.suppress(OSError):
            os.rmdir(self.sockets)

    def __repr__(self) -> str:
        with contextlib.suppress(ContainerNotFound):
            return f"Container({self.id[:12]}, {self.state.status})"
        return f"Container({self.id[:12]}, not created)"


def _process_section(
    base: Mapping[str, Any], args: Sequence[str], env: Sequence[str], cwd: str | None
) -> dict[str, Any]:
    merged = dict(entry.partition("=")[::2] for entry in [*(base.get("env") or ()), *env])
    return {**base, "args": list(args), "env": [f"{k}={v}" for k, v in merged.items()], "cwd": cwd or base["cwd"]}


def _all_power() -> dict[str, Any]:
    from labrt.linux import capabilities

    return {"capabilities": capabilities.Capabilities.of_root(capabilities.bounding()).to_oci()}


class Execution:
    """One program that was brought into a container. Close it when you no longer want to know how it ends."""

    def __init__(self, answer: socket.socket) -> None:
        self._answer = answer
        self.exit_code: int | None = None
        try:
            message, fds = launcher.read_answer(answer)
        except BaseException:
            answer.close()
            raise
        self.pid: int = message["started"]
        self.master = fds[0] if fds else None  # the terminal's; the caller closes it

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, and return its exit code; None after `timeout` seconds."""
        if self.exit_code is None:
            poll = select.poll()
            poll.register(self._answer, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                return None
            message, _ = launcher.read_answer(self._answer)
            self.exit_code = message["exit"]
            self.close()
        return self.exit_code

    def fileno(self) -> int:
        """Return a descriptor for poll and select: readable when the program has ended."""
        return self._answer.fileno()

    def close(self) -> None:
        """Stop waiting; the program goes on."""
        self._answer.close()
