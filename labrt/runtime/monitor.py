"""The monitor: one small process per container, from before its birth until after its death.

It owns what must outlive whoever asked for the container (a command line, a notebook's kernel, a daemon): the stdio or
the terminal, the log, the exit status. It is forked from the launcher, leads a session of its own, clones init, and
then waits: for output, for clients on its socket, for the end of init. When that comes it writes down how, tells
everybody, takes the cgroup down, and ends; or, where a restart policy says so, clones another init after a pause.

Of what it does, runs.py is about one run of its container, restarting.py about what comes between two, orders.py about
what clients may want while it runs, health.py about its health.

If the monitor itself is killed, the kernel kills the container (PR_SET_PDEATHSIG), and the next command finds out. No
restart policy acts then, for it was the monitor's to act: engine/restore.py does, when somebody calls it.

Interface: `run(request, reply)`, called by the launcher. See notebook 17.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from labrt.errors import Conflict, LabrtError
from labrt.linux import ledger, process, procfs, pty
from labrt.runtime import config as oci
from labrt.runtime import events, log, restarts, state, stdio, wire
from labrt.runtime.alarms import Alarms
from labrt.runtime.runs import Run
from labrt.runtime.state import State

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.runtime.health import Health

AT_A_START = {"start", "resize", "stdin", "output"}  # words of control messages; all others are orders.py's


def run(request: dict[str, Any], reply: socket.socket, client: int | None = None) -> None:
    """Be the monitor of one container. `reply` gets {"created": pid} or {"error": …}, once; then nothing any more.

    `client` is the socket of one who is attached from the beginning, and wants the program started at once.
    """
    monitor = Monitor(request, client)
    try:
        monitor.create()
        wire.send(reply, {"created": monitor.state.pid, "warnings": monitor.run.warnings})
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
        self._run: Run | None = None
        self.listener: socket.socket | None = None
        self.failure: LabrtError | None = None
        self.undo = contextlib.ExitStack()
        self.alarms = Alarms()
        self.policy = restarts.Policy.from_json(request.get("restart"))
        self.backoff = restarts.Backoff()
        self.attributes: dict[str, str] = request.get("attributes") or {}  # of its events
        self.health: Health | None = None
        self.ended = False
        self.watched = False  # whether somebody heard of the end from us
        own = process.start_time() or 0
        boot = procfs.boot_id()
        self.state = State(request["id"], self.bundle, monitor=os.getpid(), monitor_starttime=own, boot=boot)

    @property
    def run(self) -> Run:
        """Its present run, or its last one."""
        assert self._run is not None, "it has not run yet"
        return self._run

    # Creating

    def create(self) -> None:
        """Do all up to the point where only *start* is missing. Raises whatever went wrong; then `abandon`."""
        entry = ledger.record("process", str(os.getpid()), starttime=str(self.state.monitor_starttime))
        self.undo.callback(ledger.strike, entry)
        writer = log.Writer(self.request["log"], **self.request.get("log_limits") or {})
        self.board = stdio.Switchboard(self.selector, writer, self._on_control)
        self.build(start=self.client is not None)
        self.save(status=state.CREATED, created=time.time())

    def build(self, *, start: bool) -> None:
        """Begin a run, and listen to its init. With `start` its program begins as soon as it can."""
        self._run = Run(self.request, self.attributes.get("name", ""))
        ours = self.run.begin(place=self.state.cgroup, record=lambda path: self.save(cgroup=path), start=start)
        if self.listener is None:
            self._open_sockets()  # while init builds its root, as much else as can be done meanwhile
        self._wire_up(ours)
        # While we wait anyway, and not when they are needed: another labrt may lie on the disk by then.
        from labrt.runtime import orders, restarting  # noqa: F401

        self._hear_of_root()
        pid = self.run.child.pid
        self.state = self.state._replace(pid=pid, starttime=process.start_time(pid) or 0)

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

    def _hear_of_root(self) -> None:
        """Wait until init has built its root; serve its terminal from then on."""
        self.run.hear_of_root()
        master = self.run.made.master
        if master is not None:
            self.board.add_output(master, wire.STDOUT)
            self.board.set_input(master)

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
        self.selector.register(self.run.made.sync, selectors.EVENT_READ, lambda _: self._on_init())
        self.selector.register(self.run.child.pidfd, selectors.EVENT_READ, lambda _: self._on_end())

    def abandon(self) -> None:
        """Take down what a failed `create` has made. The container is then as if it had never been asked for."""
        if self._run:
            self._run.abandon()
            if self._run.cgroup:
                self._run.cgroup.remove()
            if self._run.creation and self._run.creation.failed_hook:
                self._run.creation.run_hooks("poststop", state.STOPPED)
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
        if "start" in message:
            self.obey(client, "start", self._start)
        if message.keys() - AT_A_START:
            from labrt.runtime import orders  # since `build`

            orders.carry_out(self, client, message)
        if "resize" in message and self.run.made.master is not None:
            with contextlib.suppress(LabrtError, OSError):
                pty.set_size(self.run.made.master, *message["resize"])

    def obey(self, client: stdio.Client, word: str, order: Callable[[], object]) -> None:
        """Do what a client has ordered with `word`, and tell it that it is done, or why not."""
        try:
            order()
        except (LabrtError, OSError) as error:
            self.board.send(client, wire.control(failed=wire.error_to_json(error)))
        else:
            self.board.send(client, wire.control(done=word))

    def _start(self) -> None:
        if self.state.status != state.CREATED:
            raise Conflict(f"container {self.state.id[:12]} is {self.state.status}")
        self.run.made.start()

    def _on_init(self) -> None:
        """Learn from init what became of *start*: silence and the end of the stream mean that the program runs."""
        sync = self.run.made.sync
        answer, fds = wire.receive(sync)
        if answer is not None and "seccomp" in answer:
            self._hand_over(fds[0])
            return
        self.selector.unregister(sync)
        sync.close()
        if self.failure:  # it is being killed
            return
        if answer is not None and "error" in answer:
            self.failure = wire.error_from_json(answer["error"])
        elif not process.wait_for(self.run.child.pidfd, 0) or self._ran():
            self.save(status=state.RUNNING, started=time.time())
            if not self._poststart():
                return
            self.note("start")
            self.tell(wire.control(started=self.state.pid))
            self._begin_health()

    def _hand_over(self, notifications: int) -> None:
        """Give the seccomp listener to the agent; a container that nobody would answer ends."""
        from labrt.runtime import listener

        seccomp, container = self.run.config["linux"]["seccomp"], self.run.made.state(state.CREATED)
        try:
            listener.hand_over(seccomp, container, notifications)
        except LabrtError as error:
            self.failure = error
            self.run.child.kill()

    def _poststart(self) -> bool:
        """Run the hooks for this moment; after one that fails the container ends."""
        try:
            self.run.made.run_hooks("poststart", state.RUNNING)
        except LabrtError as error:
            self.failure = error
            self.run.child.kill()
        return self.failure is None

    def _ran(self) -> bool:
        """Whether an init that has ended already had become the program: a quick one may be faster than we are."""
        return os.waitid(os.P_PIDFD, self.run.child.pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def tell(self, data: bytes) -> None:
        """Send a frame to all clients."""
        for client in list(self.board.clients):
            self.board.send(client, data)

    def note(self, action: str, **attributes: str) -> None:
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
        self.health.begin(self.run.child.pidfd)

    def _probe_request(self, command: Sequence[str]) -> dict[str, Any]:
        """What the joiner is to be told for one probe: as the container's own program, but for the arguments."""
        probe = {**self.run.config["process"], "args": list(command), "terminal": False}
        return oci.joining(self.run.config, self.state, probe)

    def _on_health(self, turned: bool) -> None:
        assert self.health is not None
        report = self.health.report
        state.replace(self.request["health"], report)
        if turned and report["Status"] != "starting":
            self.note(f"health_status: {report['Status']}")

    # Ending

    def _on_end(self) -> None:
        """Init has ended. Learn how, and decide: once more, or never again."""
        while self.run.made.sync.fileno() >= 0:
            self._on_init()
        if self.health:
            self.health.pause()
        self.selector.unregister(self.run.child.pidfd)
        exit = self.run.child.wait()
        assert exit is not None
        self.board.drain()
        oom = self.run.out_of_memory()
        self.run.end()
        code = exit_code_of(self.failure) if self.failure else exit.code
        if oom:
            self.note("oom")
        if not self.failure:
            self.note("die", exitCode=str(code))
        self.state = self.state._replace(exit_code=code, finished=time.time(), oom_killed=oom)
        if not self.failure and self.policy.wants(code, restarts=self.state.restarts, by_hand=self.state.by_hand):
            from labrt.runtime import restarting  # since `build`

            restarting.pause(self)
        else:
            self.finish()

    def fail(self, error: LabrtError) -> None:
        """End it for good, because it could not be started again."""
        self.failure = error
        self.state = self.state._replace(exit_code=exit_code_of(error), finished=time.time())
        self.finish()

    def finish(self) -> None:
        """Write down how it ended, tell everybody, leave nothing behind."""
        self._close_sockets()
        self.board.finish_log()
        durable = not self.request.get("auto_remove")
        self.save(status=state.STOPPED, error=str(self.failure or ""), durable=durable)
        self.undo.close()
        if self.failure:
            self.tell(wire.control(failed=wire.error_to_json(self.failure)))
        self.tell(wire.control(exit=self.state.exit_code))
        self.watched = bool(self.board.clients)
        self.board.close()
        self.ended = True

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

    def save(self, *, durable: bool = False, **changes: Any) -> None:
        """Write down what has changed of its state."""
        self.state = self.state._replace(**changes)
        state.write(self.request["state"], self.state, durable=durable)


def exit_code_of(error: LabrtError) -> int:
    """Return the exit code of a container whose program could not be executed, as a shell gives it."""
    from labrt.errors import CommandNotExecutable, CommandNotFound

    return 127 if isinstance(error, CommandNotFound) else 126 if isinstance(error, CommandNotExecutable) else 125
