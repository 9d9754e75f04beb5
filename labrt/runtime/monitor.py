"""The monitor: one small process per container, from before its birth until after its death.

It owns what must outlive whoever asked for the container (a command line, a notebook's kernel, a daemon): the stdio or
the terminal, the log, the exit status. It is forked from the launcher, leads a session of its own, clones init, and
then waits: for output, for clients on its socket, for the end of init. When that comes it writes down how, tells
everybody, takes the cgroup down, and ends.

If the monitor itself is killed, the kernel kills the container (PR_SET_PDEATHSIG), and the next command finds out.

Interface: `run(request, reply)`, called by the launcher. See notebook 17.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import socket
import time
from typing import Any

from labrt.errors import Conflict, LabrtError, NotSupported
from labrt.linux import cgroups, ledger, process, procfs, pty
from labrt.linux.cgroups import systemd
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime import log, state, stdio, wire
from labrt.runtime.creation import Creation
from labrt.runtime.state import State


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
        self.warnings: list[str] = []  # what this machine could not give, for whoever asked
        self.failure: LabrtError | None = None
        self.undo = contextlib.ExitStack()
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
        with open(os.path.join(self.bundle, "config.json")) as file:
            config = json.load(file)
        oci.validate(config)
        self.config = config
        entry = ledger.record("process", str(os.getpid()), starttime=str(self.state.monitor_starttime))
        self.undo.callback(ledger.strike, entry)
        self._save(cgroup=config["linux"].get("cgroupsPath") or "")
        self.board = stdio.Switchboard(self.selector, log.Writer(self.request["log"]), self._on_control)
        self._make_cgroup()
        ours, ends = ({}, None) if config["process"].get("terminal") else self._pipes()
        root_mounts = tuple(Mount.from_json(entry) for entry in self.request["root_mounts"])
        self.creation = Creation(config, self.bundle, cgroup=self.cgroup, stdio=ends, root_mounts=root_mounts)
        self.sync = self.creation.sync
        self.creation.clone()
        self.child = self.creation.child
        for fd in ends or ():
            os.close(fd)
        self.creation.release(start=self.client is not None)
        self._open_sockets()  # while init builds its root, as much else as can be done meanwhile
        self._wire_up(ours)
        self._hear_of_root()
        pid = self._child.pid
        self._save(status=state.CREATED, pid=pid, starttime=process.start_time(pid) or 0, created=time.time())

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

    def _make_cgroup(self) -> None:
        path = self.state.cgroup
        if path and systemd.present() and cgroups.detect().mode == "unified":
            # The tree is systemd's: it gives us a part of it, with ourselves in it, and takes that back at our end.
            with contextlib.suppress(NotSupported):
                path = f"{systemd.scope(os.getpid(), self.state.id)}/container"
        if path:
            self.cgroup = cgroups.create(path, parent="/")
            if self.cgroup.path != self.state.cgroup:
                self._save(cgroup=self.cgroup.path)

    def _hear_of_root(self) -> None:
        """Wait until init has built its root; serve its terminal from then on."""
        assert self.creation is not None
        self.creation.hear_of_root()
        self.warnings = self.creation.warnings
        self.master = self.creation.master
        if self.master is not None:
            self.board.add_output(self.master, wire.STDOUT)
            self.board.set_input(self.master)

    def _wire_up(self, ours: dict[int, int]) -> None:
        """Hand all ends to the switchboard, and watch for what can happen."""
        assert self.listener is not None
        listener = self.listener
        for stream, fd in ours.items():
            if stream == wire.STDIN:
                self.board.set_input(fd)
            else:
                self.board.add_output(fd, stream)
        if self.client is not None:
            self.board.admit(socket.socket(fileno=self.client))
        self.selector.register(listener, selectors.EVENT_READ, lambda _: self.board.accept(listener))
        self.selector.register(self.sync, selectors.EVENT_READ, lambda _: self._on_init())
        self.selector.register(self._child.pidfd, selectors.EVENT_READ, None)

    def abandon(self) -> None:
        """Take down what a failed `create` has made. The container is then as if it had never been asked for."""
        if self.creation:
            self.creation.abandon()
        if self.cgroup:
            self.cgroup.remove()
        self._close_sockets()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.request["state"])
        self.undo.close()

    # Running

    def loop(self) -> None:
        """Serve until init ends, then finish."""
        gc.enable()  # the launcher's forks are born without; but this may go on for weeks
        while True:
            for key, events in self.selector.select():
                if key.fileobj == self._child.pidfd:
                    self._finish()
                    return
                if key.fd in self.selector.get_map():  # an earlier event may have closed it
                    key.data(events)

    def _on_control(self, client: stdio.Client, message: dict[str, Any]) -> None:
        if message.get("start"):
            if self.state.status != state.CREATED:
                error = wire.error_to_json(Conflict(f"container {self.state.id[:12]} is {self.state.status}"))
                self.board.send(client, wire.control(failed=error))
            else:
                wire.send(self.sync, {"start": True})
        if "resize" in message and self.master is not None:
            with contextlib.suppress(LabrtError, OSError):
                pty.set_size(self.master, *message["resize"])

    def _on_init(self) -> None:
        """Learn from init what became of *start*: silence and the end of the stream mean that the program runs."""
        answer, _ = wire.receive(self.sync)
        self.selector.unregister(self.sync)
        self.sync.close()
        if answer is not None and "error" in answer:
            self.failure = wire.error_from_json(answer["error"])
        elif not process.wait_for(self._child.pidfd, 0) or self._ran():
            self._save(status=state.RUNNING, started=time.time())
            self._tell(wire.control(started=self.state.pid))

    def _ran(self) -> bool:
        """Whether an init that has ended already had become the program: a quick one may be faster than we are."""
        return os.waitid(os.P_PIDFD, self._child.pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _tell(self, data: bytes) -> None:
        for client in list(self.board.clients):
            self.board.send(client, data)

    # Ending

    def _finish(self) -> None:
        """Write down how it ended, tell everybody, leave nothing behind."""
        if self.sync.fileno() >= 0:
            self._on_init()
        exit = self._child.wait()
        assert exit is not None
        self.board.drain()
        oom = self._out_of_memory()
        if self.cgroup:
            with contextlib.suppress(OSError, LabrtError):  # what will not go stays in the ledger, for reset
                self.cgroup.remove()
        code = exit.code
        if self.failure:
            code = exit_code_of(self.failure)
        self._close_sockets()
        end = {"status": state.STOPPED, "exit_code": code, "finished": time.time(), "oom_killed": oom}
        self._save(**end, error=str(self.failure or ""), durable=not self.request.get("auto_remove"))
        self.undo.close()
        if self.failure:
            self._tell(wire.control(failed=wire.error_to_json(self.failure)))
        self._tell(wire.control(exit=code))
        watched = bool(self.board.clients)
        self.board.close()
        self._after(watched)

    def _out_of_memory(self) -> bool:
        try:
            return bool(self.cgroup and self.cgroup.memory.events.get("oom_kill"))
        except (OSError, LabrtError):
            return False

    def _close_sockets(self) -> None:
        if self.listener:
            self.listener.close()
            self.listener = None
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.sockets, "attach.sock"))
                os.rmdir(self.sockets)

    def _after(self, watched: bool) -> None:
        """Run what the creator wanted run at the end, a container's removal: it may not be there to do it itself."""
        command = self.request.get("after")
        if not command:
            return
        for _ in range(50 if watched else 0):  # a client that has just heard of the end does it itself, most likely
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
