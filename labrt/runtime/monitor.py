"""The monitor: one small process per container, from before its birth until after its death.

It owns what must outlive whoever asked for the container (a command line, a notebook's kernel, a daemon): the stdio or
the terminal, the log, the exit status. It is forked from the launcher, leads a session of its own, clones init, and
then waits: for output, for clients on its socket, for the end of init. When that comes it writes down how, tells
everybody, takes the cgroup down, and ends; or, where a restart policy says so, clones another init after a pause
(restarts.py). It also probes the container's health (health.py).

If the monitor itself is killed, the kernel kills the container (PR_SET_PDEATHSIG), and the next command finds out. No
restart policy acts then, for it was the monitor's to act: engine/restore.py does, when somebody calls it.

Interface: `run(request, reply)`, called by the launcher. See notebook 17.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from labrt import paths
from labrt.errors import Conflict, ContainerError, LabrtError, NotSupported
from labrt.linux import cgroups, ledger, process, procfs, pty
from labrt.linux.cgroups import systemd
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime import events, log, restarts, state, stdio, wire
from labrt.runtime.alarms import Alarms
from labrt.runtime.creation import Creation
from labrt.runtime.state import State

if TYPE_CHECKING:
    from labrt.runtime.health import Health
    from labrt.runtime.networks.attachment import Attachment


def run(request: dict[str, Any], reply: socket.socket, client: int | None = None) -> None:
    """Be the monitor of one container. `reply` gets {"created": pid} or {"error": …}, once; then nothing any more.

    `client` is the socket of one who is attached from the beginning, and wants the program started at once.
    """
    monitor = Monitor(request, client)
    try:
        monitor.create()
        wire.send(reply, {"created": monitor.state.pid, "warnings": monitor.warnings})
        reply.close()
    except BaseException as error:
        monitor.abandon()
        with contextlib.suppress(OSError):
            wire.send(reply, {"error": wire.error_to_json(error)})
        raise
    monitor.loop()


class Monitor:
    """A container's keeper. The methods are called in the order in which they stand here."""

    def __init__(self, request: dict[str, Any], client: int | None) -> None:
        self.request = request
        self.client = client
        self.bundle: str = request["bundle"]
        self.sockets: str = request["sockets"]
        self.selector = selectors.DefaultSelector()
        self.cgroup: cgroups.Cgroup | None = None
        self.creation: Creation | None = None
        self.child: process.Child | None = None
        self.listener: socket.socket | None = None
        self.master: int | None = None  # of the terminal, if there is one
        self.heard: list[str] = []  # of its networks
        self.warnings: list[str] = []  # what this machine could not give, for whoever asked
        self.failure: LabrtError | None = None
        self.undo = contextlib.ExitStack()
        self.alarms = Alarms()
        self.policy = restarts.Policy.from_json(request.get("restart"))
        self.backoff = restarts.Backoff()
        self.attributes: dict[str, str] = request.get("attributes") or {}  # of its events
        self.health: Health | None = None
        self.network: Attachment | None = None
        self.ended = False
        self.watched = False  # whether somebody heard of the end from us
        own = process.start_time() or 0
        boot = procfs.boot_id()
        self.state = State(request["id"], self.bundle, monitor=os.getpid(), monitor_starttime=own, boot=boot)

    @property
    def _child(self) -> process.Child:
        assert self.child is not None, "there is no init yet"
        return self.child

    # Creating

    def create(self) -> None:
        """Do all up to the point where only *start* is missing. Raises whatever went wrong; then `abandon`."""
        entry = ledger.record("process", str(os.getpid()), starttime=str(self.state.monitor_starttime))
        self.undo.callback(ledger.strike, entry)
        writer = log.Writer(self.request["log"], **self.request.get("log_limits") or {})
        self.board = stdio.Switchboard(self.selector, writer, self._on_control)
        self._build(start=self.client is not None)
        self._save(status=state.CREATED, created=time.time())

    def _build(self, *, start: bool) -> None:
        """Make its cgroup and its init, and listen to them. With `start` its program begins as soon as it can."""
        self.config = config = oci.load(self.bundle)
        self._make_cgroup(config["linux"].get("cgroupsPath") or "")
        ours, ends = ({}, None) if config["process"].get("terminal") else self._pipes()
        root_mounts = tuple(Mount.from_json(entry) for entry in self.request["root_mounts"])
        with contextlib.ExitStack() as theirs:
            if any(key.startswith("org.labrt.join.") for key in config.get("annotations") or ()):
                from labrt.runtime import joins  # few containers need it

                config = joins.resolve(config, os.path.dirname(self.bundle), theirs)
            group, id = self.cgroup, self.state.id
            make: Callable[..., Creation] = Creation
            if runtime := self.request.get("runtime"):
                from labrt.runtime.foreign import Foreign  # few containers are another's to start

                make = functools.partial(Foreign, runtime)
            self.creation = make(config, self.bundle, cgroup=group, stdio=ends, root_mounts=root_mounts, id=id)
            self.sync = self.creation.sync
            self.creation.clone()
        self.child = self.creation.child
        for fd in ends or ():
            os.close(fd)
        self.creation.release(start=start, meanwhile=self._attach if self.request.get("network") else None)
        if self.listener is None:
            self._open_sockets()  # while init builds its root, as much else as can be done meanwhile
        self._wire_up(ours)
        self._hear_of_root()
        pid = self._child.pid
        self.state = self.state._replace(pid=pid, starttime=process.start_time(pid) or 0)

    def _attach(self) -> None:
        """Plug it into its networks, while init builds its root."""
        import warnings

        from labrt.runtime.networks.attachment import Attachment

        self.network = Attachment(self.request["network"], self.state.id)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.network.attach(self._child.pid, self.attributes.get("name", ""))
        self.heard = [str(one.message) for one in caught]

    def _detach(self) -> None:
        if self.network:
            with contextlib.suppress(OSError, LabrtError):  # what stays is reset's, or the next container's
                self.network.detach()
            self.network = None

    def _pipes(self) -> tuple[dict[int, int], tuple[int, int, int]]:
        out, out_end = os.pipe2(os.O_CLOEXEC)
        err, err_end = os.pipe2(os.O_CLOEXEC)
        ours = {wire.STDOUT: out, wire.STDERR: err}
        if self.request.get("stdin"):
            in_end, ours[wire.STDIN] = os.pipe2(os.O_CLOEXEC)
        else:
            in_end = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        return ours, (in_end, out_end, err_end)

    def _open_sockets(self) -> None:
        os.makedirs(self.sockets, 0o700, exist_ok=True)
        path = os.path.join(self.sockets, "attach.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of a monitor that was killed
        with wire.short_path(path) as short:
            self.listener.bind(short)
        self.listener.listen(64)
        self.listener.setblocking(False)
        listener = self.listener
        self.selector.register(listener, selectors.EVENT_READ, lambda _: self.board.accept(listener))

    def _make_cgroup(self, path: str) -> None:
        """Make its cgroup, at `path` or where systemd lets us; in its state before it is there."""
        if path and paths.owner() and not self.state.cgroup:
            from labrt.runtime import unprivileged

            self.cgroup = unprivileged.cgroup(self.state.id, path, self.config["linux"].get("resources") or {})
            self._save(cgroup=self.cgroup.path if self.cgroup else "")
            return
        if self.state.cgroup:
            path = self.state.cgroup  # once more: where it was
        elif path and systemd.present() and cgroups.detect().mode == "unified":
            # The tree is systemd's: it gives us a part of it, with ourselves in it, and takes that back at our end.
            with contextlib.suppress(NotSupported):
                above = os.path.basename(os.path.dirname(path))  # a slice, if one was asked for
                slice = above if above.endswith(".slice") else systemd.SLICE
                path = f"{systemd.scope(os.getpid(), self.state.id, slice=slice)}/container"
        self._save(cgroup=path)
        if path:
            further = cgroups.resources.further(oci.resources(self.config))
            self.cgroup = cgroups.create(path, parent="/", also=further)

    def _hear_of_root(self) -> None:
        """Wait until init has built its root; serve its terminal from then on."""
        assert self.creation is not None
        self.creation.hear_of_root()
        self.warnings = [*self.creation.warnings, *self.heard]
        self.master = self.creation.master
        if self.master is not None:
            self.board.add_output(self.master, wire.STDOUT)
            self.board.set_input(self.master)

    def _wire_up(self, ours: dict[int, int]) -> None:
        """Hand all ends to the switchboard, and watch for what can happen."""
        for stream, fd in ours.items():
            if stream == wire.STDIN:
                self.board.set_input(fd)
            else:
                self.board.add_output(fd, stream)
        if self.client is not None:
            self.board.admit(socket.socket(fileno=self.client))
            self.client = None
        self.selector.register(self.sync, selectors.EVENT_READ, lambda _: self._on_init())
        self.selector.register(self._child.pidfd, selectors.EVENT_READ, lambda _: self._on_end())

    def abandon(self) -> None:
        """Take down what a failed `create` has made. The container is then as if it had never been asked for."""
        self._detach()
        if self.creation:
            self.creation.abandon()
        if self.cgroup:
            self.cgroup.remove()
        if self.creation and self.creation.failed_hook:
            self.creation.run_hooks("poststop", state.STOPPED)
        self._close_sockets()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.request["state"])
        self.undo.close()

    # Running

    def loop(self) -> None:
        """Serve until the container has ended for good."""
        gc.enable()  # the launcher's forks are born without; but this may go on for weeks
        while not self.ended:
            for key, happened in self.selector.select(self.alarms.remaining()):
                if not self.ended and key.fd in self.selector.get_map():  # an earlier event may have closed it
                    key.data(happened)
            if not self.ended:
                self.alarms.ring()
        self._after()

    def _on_control(self, client: stdio.Client, message: dict[str, Any]) -> None:
        orders: dict[str, Callable[[Any], None]] = {"start": self._start, "stop": self._stop, "pause": self._pause,
                                                       "change": self._change, "network": self._rewire}
        for word in orders.keys() & message.keys():
            try:
                orders[word](message[word])
            except (LabrtError, OSError) as error:
                self.board.send(client, wire.control(failed=wire.error_to_json(error)))
            else:
                self.board.send(client, wire.control(done=word))
        if message.get("stop") and self.state.status == state.RESTARTING:
            self._end_between_runs()
        if "resize" in message and self.master is not None:
            with contextlib.suppress(LabrtError, OSError):
                pty.set_size(self.master, *message["resize"])

    def _start(self, _: bool) -> None:
        if self.state.status != state.CREATED:
            raise Conflict(f"container {self.state.id[:12]} is {self.state.status}")
        assert self.creation is not None
        self.creation.start()

    def _stop(self, _: bool) -> None:
        """Somebody is about to end it, or wants it not to come back: its restart policy is to be silent."""
        self._save(by_hand=True)

    def _pause(self, wanted: bool) -> None:
        """Freeze all of its processes, or let them go on. See "freezer" in cgroups(7)."""
        before, after = (state.RUNNING, state.PAUSED) if wanted else (state.PAUSED, state.RUNNING)
        if self.state.status != before:
            raise Conflict(f"container {self.state.id[:12]} is not {before}, it is {self.state.status}")
        if self.cgroup is None:
            raise NotSupported(f"container {self.state.id[:12]} has no cgroup", remedy="nothing else can be frozen")
        if wanted:
            self._health_pauses()
            self.cgroup.freeze()
        else:
            self.cgroup.thaw()
        self._save(status=after)
        self._note("pause" if wanted else "unpause")
        if not wanted and self.health:
            self.health.resume()

    def _change(self, what: dict[str, Any]) -> None:
        """Take another restart policy, another name for its events."""
        if "restart" in what:
            self.policy = restarts.Policy.from_json(what["restart"])
        self.attributes |= what.get("attributes") or {}
        if self.network and "attributes" in what:
            self.network.rename(self.attributes["name"])

    def _rewire(self, what: dict[str, Any]) -> None:
        """Plug it into one more network, or unplug it from one. Between two runs there is nothing to do."""
        if self.network and "connect" in what:
            self.network.connect(what["connect"])
        elif self.network:
            self.network.disconnect(what["disconnect"])

    def _on_init(self) -> None:
        """Learn from init what became of *start*: silence and the end of the stream mean that the program runs."""
        answer, fds = wire.receive(self.sync)
        if answer is not None and "seccomp" in answer:
            self._hand_over(fds[0])
            return
        self.selector.unregister(self.sync)
        self.sync.close()
        if self.failure:  # it is being killed
            return
        if answer is not None and "error" in answer:
            self.failure = wire.error_from_json(answer["error"])
        elif not process.wait_for(self._child.pidfd, 0) or self._ran():
            self._save(status=state.RUNNING, started=time.time())
            if not self._poststart():
                return
            self._note("start")
            self._tell(wire.control(started=self.state.pid))
            self._begin_health()

    def _hand_over(self, notifications: int) -> None:
        """Give the seccomp listener to the agent; a container that nobody would answer ends."""
        assert self.creation is not None
        from labrt.runtime import listener

        try:
            listener.hand_over(self.config["linux"]["seccomp"], self.creation.state(state.CREATED), notifications)
        except LabrtError as error:
            self.failure = error
            self._child.kill()

    def _poststart(self) -> bool:
        """Run the hooks for this moment; after one that fails the container ends."""
        assert self.creation is not None
        try:
            self.creation.run_hooks("poststart", state.RUNNING)
        except LabrtError as error:
            self.failure = error
            self._child.kill()
        return self.failure is None

    def _ran(self) -> bool:
        """Whether an init that has ended already had become the program: a quick one may be faster than we are."""
        return os.waitid(os.P_PIDFD, self._child.pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _tell(self, data: bytes) -> None:
        for client in list(self.board.clients):
            self.board.send(client, data)

    def _note(self, action: str, **attributes: str) -> None:
        """Write an event into the log of events."""
        if self.request.get("events"):
            id = self.state.id
            events.append(self.request["events"], "container", action, id, {**self.attributes, **attributes})

    # Health

    def _begin_health(self) -> None:
        check = self.request.get("healthcheck")
        if not check:
            return
        if self.health is None:
            from labrt.runtime import health

            self.health = health.Health(check, self._probe_request, self.selector, self.alarms, self._on_health)
        self.health.begin(self._child.pidfd)

    def _probe_request(self, command: Sequence[str]) -> dict[str, Any]:
        """What the joiner is to be told for one probe: as the container's own program, but for the arguments."""
        config = self.config
        return {
            "pid": self.state.pid,
            "cgroup": self.state.cgroup,
            "process": {**config["process"], "args": list(command), "terminal": False},
            "seccomp": config["linux"].get("seccomp"),
            "linux": {name: config["linux"].get(name) for name in ("personality", "memoryPolicy")},
            "state": self.state.to_oci(),
            "user": oci.user_annotation(config),
        }

    def _on_health(self, turned: bool) -> None:
        assert self.health is not None
        report = self.health.report
        state.replace(self.request["health"], report)
        if turned and report["Status"] != "starting":
            self._note(f"health_status: {report['Status']}")

    def _health_pauses(self) -> None:
        if self.health:
            self.health.pause()

    # Ending

    def _on_end(self) -> None:
        """Init has ended. Learn how, and decide: once more, or never again."""
        while self.sync.fileno() >= 0:
            self._on_init()
        self._health_pauses()
        self.selector.unregister(self._child.pidfd)
        exit = self._child.wait()
        assert exit is not None
        self.board.drain()
        oom = self._out_of_memory()
        if self.creation:
            self.creation.ended()
        self._remove_cgroup()
        self._detach()
        code = exit_code_of(self.failure) if self.failure else exit.code
        if oom:
            self._note("oom")
        if not self.failure:
            self._note("die", exitCode=str(code))
        self.state = self.state._replace(exit_code=code, finished=time.time(), oom_killed=oom)
        if not self.failure and self.policy.wants(code, restarts=self.state.restarts, by_hand=self.state.by_hand):
            self._pause_between_runs()
        else:
            self._finish()

    def _remove_cgroup(self) -> None:
        if self.cgroup:
            with contextlib.suppress(OSError, LabrtError):  # what will not go stays in the ledger, for reset
                self.cgroup.remove()
            self.cgroup = None

    def _pause_between_runs(self) -> None:
        pause = self.backoff.next(self.state.finished - self.state.started)
        self._save(status=state.RESTARTING, restarts=self.state.restarts + 1, durable=True)
        self._tell(wire.control(exit=self.state.exit_code))
        self.board.part()
        self.alarms.set("restart", pause, self._again)

    def _again(self) -> None:
        """Start it once more. A start that fails is the end, as it is for Docker."""
        try:
            self._build(start=True)
            self._save()
        except (LabrtError, OSError) as error:
            self.failure = error if isinstance(error, LabrtError) else ContainerError(f"not started again: {error}")
            self._unbuild()
            self.state = self.state._replace(exit_code=exit_code_of(self.failure), finished=time.time())
            self._finish()

    def _end_between_runs(self) -> None:
        """Somebody wants it to stay down, and it is down, or just coming up."""
        self.alarms.cancel("restart")
        if self.child and self.child.exit is None:
            self.child.kill()  # _on_end hears of it
        else:
            self._finish()

    def _unbuild(self) -> None:
        """Take down what there is of an init that did not come to be."""
        for fd in (self.sync.fileno(), self.child.pidfd if self.child else -1):
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(fd)
        self._detach()
        if self.creation:
            self.creation.abandon()
        self._remove_cgroup()
        self.board.part()

    def _finish(self) -> None:
        """Write down how it ended, tell everybody, leave nothing behind."""
        self._close_sockets()
        self.board.finish_log()
        durable = not self.request.get("auto_remove")
        self._save(status=state.STOPPED, error=str(self.failure or ""), durable=durable)
        self.undo.close()
        if self.failure:
            self._tell(wire.control(failed=wire.error_to_json(self.failure)))
        self._tell(wire.control(exit=self.state.exit_code))
        self.watched = bool(self.board.clients)
        self.board.close()
        self.ended = True

    def _out_of_memory(self) -> bool:
        try:
            return bool(self.cgroup and self.cgroup.memory.events.get("oom_kill"))
        except (OSError, LabrtError):
            return False

    def _close_sockets(self) -> None:
        if self.listener:
            with contextlib.suppress(KeyError):
                self.selector.unregister(self.listener)
            self.listener.close()
            self.listener = None
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.sockets, "attach.sock"))
                os.rmdir(self.sockets)

    def _after(self) -> None:
        """Run what the creator wanted run at the end, a container's removal: it may not be there to do it itself."""
        command = self.request.get("after")
        if not command:
            return
        for _ in range(50 if self.watched else 0):  # a client that has heard of the end does it itself, most likely
            if not os.path.exists(self.bundle):
                return
            time.sleep(0.01)
        os.execve(command[0], command, self.request["environment"])

    def _save(self, *, durable: bool = False, **changes: Any) -> None:
        self.state = self.state._replace(**changes)
        state.write(self.request["state"], self.state, durable=durable)


def exit_code_of(error: LabrtError) -> int:
    """Return the exit code of a container whose program could not be executed, as a shell gives it."""
    from labrt.errors import CommandNotExecutable, CommandNotFound

    return 127 if isinstance(error, CommandNotFound) else 126 if isinstance(error, CommandNotExecutable) else 125
