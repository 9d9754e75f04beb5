"""One container, as people know it: what it is, and what can be done with it.

    container = Containers().get("nap")
    container.start(); container.pause(); container.unpause(); container.restart(); container.stop()
    container.exec("ps").stdout; container.logs(tail=5); container.top(); container.stats()
    container.update(memory="64m"); container.rename("siesta"); container.wait(); container.remove()

What is done to a running one is done in modules of its own: lifecycle.py (stop, kill, wait), results.py, logs.py,
update.py, top.py, stats.py, copy.py; restore.py is for one whose monitor was killed. A handle holds nothing: any
process may have one, and several may at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator

from labrt import paths
from labrt.errors import Conflict, ContainerNotFound
from labrt.image import files
from labrt.image.digest import Digest
from labrt.linux import ledger
from labrt.runtime import container as runtime
from labrt.runtime import state as states
from labrt.runtime.attachment import Attachment
from labrt.runtime.state import State

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.engine.results import Result
    from labrt.engine.stats import Sample
    from labrt.engine.top import Process
    from labrt.runtime.log import Entry


class Container:
    """One container, created from an image. Its `status` is Docker's: created, running, paused, restarting, exited."""

    def __init__(self, id: str, where: paths.Paths) -> None:
        self.id = id
        self.where = where
        self.runtime = runtime.Container(id, where=where)

    # What it is

    def record(self) -> dict[str, Any]:
        """Read labrt.json: name, image, image_id, created, command, options; HostConfig and Config as Docker has them.

        Raises ContainerNotFound.
        """
        try:
            with open(os.path.join(self.runtime.directory, "labrt.json")) as file:
                record: dict[str, Any] = json.load(file)
                return record
        except FileNotFoundError:
            raise ContainerNotFound(f"no container {self.id[:12]}", remedy="`labrt ps -a` lists them") from None

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.record()["name"])

    @property
    def image_id(self) -> Digest:
        """The id of the image that it was made from: the digest of that image's config."""
        return Digest.parse(self.record()["image_id"])

    @property
    def state(self) -> State:
        """Its state; of one that was never started, a state that says so."""
        try:
            return self.runtime.state
        except ContainerNotFound:
            record = self.record()  # raises if there is no such container at all
            return State(self.id, self.runtime.bundle, states.CREATED, created=record["created"])

    @property
    def status(self) -> str:
        """Return created, running, paused, restarting or exited."""
        return {states.STOPPED: "exited", states.CREATING: "created"}.get(self.state.status, self.state.status)

    @property
    def up(self) -> bool:
        """Whether it runs, as Docker counts: also while it is paused, and between two runs of its restart policy."""
        return self.status in ("running", "paused", "restarting")

    @property
    def health(self) -> dict[str, Any] | None:
        """What its health checks say, as Docker's State.Health; None if it has none."""
        from labrt.engine.health import report

        return report(self)

    def inspect(self) -> dict[str, Any]:
        """Return everything that is known of it, shaped as `docker inspect` prints it, with the OCI config beside."""
        from labrt.engine.inspect import container_to_json

        return container_to_json(self)

    # Starting

    def start(self) -> None:
        """Start it, or start it again. Returns when its program runs; raises CommandNotFound and the like if not."""
        self.prepare()
        self.runtime.start()

    def prepare(self) -> None:
        """Let the runtime build it, up to the point where only *start* is missing: now one can `attach` before it runs.

        Raises Conflict when it runs already; harmless when it is built already.
        """
        with self.locked():
            if not self._is_built():
                self.runtime.create(**self._needs())

    def launch(self, *, stdin: bool = False) -> Attachment:
        """Start it, and be attached from its first byte on; `stdin`: to give it input, too. Conflict if it runs."""
        with self.locked():
            if not self._is_built():
                needs = self._needs()
                return self.runtime.run(**needs | {"stdin": stdin or needs["stdin"]})
        attached = self.attach(stdin=stdin)
        attached.start()
        return attached

    @contextlib.contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """Be the only one who starts, mends or removes it. Raises ContainerNotFound when it is gone.

        Without `wait`, Conflict when somebody else is at it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(os.path.join(self.runtime.directory, ".lock"), wait=wait))
            except FileNotFoundError:
                raise ContainerNotFound(f"no container {self.id[:12]}", remedy="`labrt ps -a` lists them") from None
            yield

    def _is_built(self) -> bool:
        state = self.state
        if state.pid and state.kept and state.status != states.CREATED:
            if state.status == states.PAUSED:
                raise Conflict(f"container {self.name} is paused", remedy=f"`labrt unpause {self.name}`")
            remedy = f"`labrt stop {self.name}` stops it"
            raise Conflict(f"container {self.name} is {state.status} already", remedy=remedy)
        if state.pid and not state.alive:
            self.runtime.mend()
        return bool(state.pid and state.alive)

    def _needs(self) -> dict[str, Any]:
        """What the runtime is to know of it, besides its config.json."""
        from labrt.engine.images import Images

        record = self.record()
        opts = record["options"]
        root = Images(self.where).driver.mounts(self.id)
        if (record.get("HostConfig") or {}).get("UsernsMode"):  # whom its files belong to: options/users.py
            root = [mount._replace(options=(*mount.options, "idmap")) for mount in root]
        return {
            "root_mounts": root,
            "stdin": opts["interactive"],
            "auto_remove": opts["remove"],
            "after": self._removal() if opts["remove"] else (),
            "upkeep": self._upkeep(record),
        }

    @property
    def has_own_network(self) -> bool:
        """Whether it has a network namespace of its own: not the host's, nor another container's."""
        mode = str(self.record()["options"]["network"])
        return mode != "host" and not mode.startswith("container:")

    def _upkeep(self, record: dict[str, Any]) -> dict[str, Any]:
        upkeep: dict[str, Any] = {"events": self.where.events, "attributes": attributes(record)}
        host, config = record.get("HostConfig") or {}, record.get("Config") or {}
        if config.get("Healthcheck"):
            from labrt.engine.health import effective

            upkeep["healthcheck"] = effective(config["Healthcheck"])
        if limits := (host.get("LogConfig") or {}).get("Config"):
            from labrt.engine.logs import limits_of

            upkeep["log_limits"] = limits_of(limits)
        if os.path.exists(os.path.join(self.runtime.directory, "network.json")):
            upkeep["network"] = {"where": list(self.where)}
        if host.get("Runtime", "labrt") != "labrt":
            upkeep["runtime"] = host["Runtime"]
        return upkeep | {"restart": host.get("RestartPolicy")}

    def _removal(self) -> list[str]:
        """The command that removes it, for the monitor to become when nobody else is there to do it."""
        import sys

        return [sys.executable, "-m", "labrt.engine.remove", self.id]

    def attach(self, *, stdin: bool = False) -> Attachment:
        """Attach to it: output as it comes, input, resizing. See runtime/attachment.py."""
        return self.runtime.attach(stdin=stdin)

    def run_to_end(self, input: bytes | None = None) -> Result:
        """Start it, give it `input`, collect its output, and remove it at the end if it was created so."""
        from labrt.engine import results

        return results.run_to_end(self, input)

    def record_or_none(self, option: str) -> Any:
        """Return one of the options that it was created with; None when it is gone."""
        try:
            return self.record()["options"][option]
        except ContainerNotFound:
            return None

    # While it runs

    def exec(self, *command: str, input: bytes = b"", **how: Any) -> Result:
        """Run one more command in it and return a Result. `how`: env, cwd, user. Conflict if it is not running.

        The kernel makes a process that enters the container's namespaces by setns(2) and its cgroup, with the same
        filters and capabilities; PID 1 there is not its parent.
        """
        from labrt.engine.execs import run

        return run(self.runtime, command, input, **how)

    def pause(self) -> None:
        """Freeze all of its processes: the scheduler leaves them out, and they do not notice. Conflict if it is not
        running. On v2 by cgroup.freeze, on v1 by freezer.state; unlike SIGSTOP, nobody inside can see or undo it.
        """  # noqa: D205
        self.runtime.ask(pause=True)

    def unpause(self) -> None:
        """Let a paused one go on. Timers that ran out meanwhile go off at once. Conflict if it is not paused."""
        self.runtime.ask(pause=False)

    def restart(self, timeout: float | None = None, sig: int | str | None = None) -> None:
        """Stop it as `stop` does, if it runs, and start it: a new PID 1, new namespaces, the same files."""
        self.stop(timeout, sig)
        self.start()
        self.note("restart")

    def kill(self, sig: int | str = signal.SIGKILL) -> None:
        """Signal its PID 1: a number, or a name with or without SIG. Raises Conflict when it is not running.

        The kernel gives PID 1 only those signals that it has a handler for, and SIGKILL: pid_namespaces(7).
        """
        from labrt.engine import lifecycle

        lifecycle.kill(self, sig)

    def stop(self, timeout: float | None = None, sig: int | str | None = None) -> int | None:
        """Ask it to end (by its stop signal, SIGTERM if it has no other), kill it after `timeout` seconds.

        None is its own stop timeout, usually 10; a negative one waits for as long as it takes. Its restart policy is
        silent then. Returns its exit code.
        """
        from labrt.engine import lifecycle

        return lifecycle.stop(self, timeout, sig)

    def wait(self, timeout: float | None = None, condition: str = "not-running") -> int | None:
        """Wait for its end and return its exit code; None after `timeout` seconds, and if it was never started.

        `condition` "next-exit" waits for an end that is still to come, "removed" until there is no such container.
        """
        from labrt.engine import lifecycle

        return lifecycle.wait(self, timeout, condition)

    def rename(self, name: str) -> None:
        """Give it another name. Its hostname stays. Raises Conflict when the name is taken."""
        from labrt.engine import update

        update.rename(self, name)

    def update(self, **changes: Any) -> None:
        """Change its limits, also while it runs: memory, cpus, pids_limit, …; and its restart policy. See update.py."""
        from labrt.engine import update

        update.update(self, **changes)

    def top(self) -> list[Process]:
        """List its processes as the host sees them, from /proc: those that its cgroup names."""
        from labrt.engine.top import processes

        return processes(self)

    def stats(self) -> Sample:
        """Read what it uses now, from its cgroup and its network namespace. See stats.py for rates."""
        from labrt.engine.stats import sample

        return sample(self)

    def logs(
        self, *, tail: int | None = None, follow: bool = False, since: float | None = None, until: float | None = None
    ) -> Iterator[Entry]:
        """Yield what it wrote, line by line: the last `tail` lines of what is there (None: all), then with `follow`
        what it writes from now on, until its end. `since` and `until` are seconds since the epoch.
        """  # noqa: D205
        from labrt.engine.logs import entries

        return entries(self, tail=tail, follow=follow, since=since, until=until)

    # Ending

    def mend(self) -> bool:
        """If its monitor was killed: take down what that would have, and know for good how it ended. Whether it was so.

        One that was created to be removed at its end is removed: its monitor was to do that.
        """
        from labrt.engine import restore

        return restore.mend(self)

    def remove(self, *, force: bool = False, volumes: bool = False, wait: bool = True) -> None:
        """Remove it, with its writable layer and its log. While it runs that is a Conflict, or with `force` its end.

        Without `wait` it is a Conflict, too, when somebody else is just starting, mending or removing it.

        With `volumes` its anonymous volumes go, too; always when it was created to be removed at its end.
        """
        from labrt.engine.images import Images

        with self.locked(wait=wait):
            record = self.record()
            with contextlib.suppress(ContainerNotFound):
                self.runtime.delete(force=force)
            Images(self.where).driver.remove(self.id)
            discard(self.id, self.where)
        self.note("destroy", record)
        uses = record.get("volumes")
        if uses and (volumes or record["options"]["remove"]):
            from labrt.engine.volumes import Volumes

            Volumes(self.where).release(uses)

    def note(self, action: str, record: dict[str, Any] | None = None, **more: str) -> None:
        """Write an event into the log of events: see events.py."""
        from labrt.runtime import events

        with contextlib.suppress(ContainerNotFound):
            about = attributes(record or self.record())
            events.append(self.where.events, "container", action, self.id, {**about, **more})

    def __repr__(self) -> str:
        with contextlib.suppress(ContainerNotFound):
            record = self.record()
            return f"<Container {record['name']} {self.id[:12]} from {record['image']}: {self.status}>"
        return f"<Container {self.id[:12]}: removed>"

    def __rich__(self) -> Any:
        from rich.table import Table

        record, state = self.record(), self.state
        table = Table(title=f"container {record['name']}", show_header=False)
        rows = {"id": self.id[:12], "image": record["image"], "command": " ".join(record["command"])}
        rows |= {"status": self.status}
        rows |= {"pid": str(state.pid)} if state.alive and state.pid else {}
        rows |= {"exit code": str(state.exit_code)} if state.exit_code is not None else {}
        for key, value in rows.items():
            table.add_row(key, value)
        return table


def attributes(record: dict[str, Any]) -> dict[str, str]:
    """Return what events say of a container: image, name, and its labels."""
    labels = (record.get("Config") or {}).get("Labels") or {}
    return {**labels, "image": record["image"], "name": record["name"]}


def discard(id: str, where: paths.Paths) -> None:
    """Remove a container's directory, and strike it out of the ledger."""
    from labrt.image.tree import remove_path

    with contextlib.suppress(OSError):
        remove_path(os.path.join(where.containers, id))
    ledger.strike_all("container", id, directory=where.ledger)
