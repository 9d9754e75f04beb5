"""Containers on this machine: made from an image, found by name or id, listed, removed.

    containers = Containers()
    container = containers.create(Options("busybox", ("sleep", "60"), name="nap"))
    container.start(); container.exec("ps").stdout; container.stop(); container.remove()
    containers.list(); containers.get("nap")

A container is a directory, /var/lib/labrt/containers/ID: config.json (what runc would read), labrt.json (its name and
its image), state.json (the monitor's), the log, three files of its /etc. A handle holds nothing: any process may have
one.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from labrt import paths
from labrt.engine import names, options
from labrt.engine.images import Images
from labrt.engine.options import Options
from labrt.errors import Conflict, ContainerNotFound, InvalidInput, LabrtError
from labrt.image import files
from labrt.image.digest import Digest
from labrt.image.tree import remove_path
from labrt.linux import ledger
from labrt.linux.mounts import Mount
from labrt.runtime import container as runtime
from labrt.runtime import log, wire
from labrt.runtime import state as states
from labrt.runtime.attachment import Attachment
from labrt.runtime.state import State

Listener = Callable[[object], None]
_ID = re.compile("[0-9a-f]{64}")


class Result(NamedTuple):
    """What a command left behind. Output is text, decoded as UTF-8; `raw_stdout` and `raw_stderr` are the bytes."""

    exit_code: int
    raw_stdout: bytes
    raw_stderr: bytes

    @property
    def stdout(self) -> str:
        """What it wrote to standard output. With a terminal, that is everything, and lines end in CR LF."""
        return self.raw_stdout.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What it wrote to standard error."""
        return self.raw_stderr.decode(errors="replace")

    def __repr__(self) -> str:
        return f"Result(exit_code={self.exit_code}, stdout={self.stdout!r:.200}, stderr={self.stderr!r:.200})"


class Container:
    """One container, created from an image. Its `status` is Docker's: created, running or exited."""

    def __init__(self, id: str, where: paths.Paths) -> None:
        self.id = id
        self.where = where
        self.runtime = runtime.Container(id, where=where)

    # What it is

    def record(self) -> dict[str, Any]:
        """Read labrt.json: name, image, image_id, created, command, and the options. Raises ContainerNotFound."""
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
        """Return created, running or exited."""
        return {states.STOPPED: "exited", states.CREATING: "created"}.get(self.state.status, self.state.status)

    def inspect(self) -> dict[str, Any]:
        """Return everything that is known of it, shaped as `docker inspect` prints it, with the OCI config beside."""
        from labrt.engine.inspect import container_to_json

        return container_to_json(self)

    # What can be done with it

    def start(self) -> None:
        """Start it, or start it again. Returns when its program runs; raises CommandNotFound and the like if not."""
        self.prepare()
        self.runtime.start()

    def prepare(self) -> None:
        """Let the runtime build it, up to the point where only *start* is missing: now one can `attach` before it runs.

        Raises Conflict when it runs already; harmless when it is built already.
        """
        if not self._is_built():
            self.runtime.create(**self._needs())

    def launch(self, *, stdin: bool = False) -> Attachment:
        """Start it, and be attached from its first byte on; `stdin`: to give it input, too. Conflict if it runs."""
        if not self._is_built():
            needs = self._needs()
            return self.runtime.run(**needs | {"stdin": stdin or needs["stdin"]})
        attached = self.attach(stdin=stdin)
        attached.start()
        return attached

    def _is_built(self) -> bool:
        state = self.state
        if state.pid and state.status == states.RUNNING:
            raise Conflict(f"container {self.name} is running already", remedy=f"`labrt stop {self.name}` stops it")
        if state.pid and not state.alive:
            self.runtime.mend()
        return bool(state.pid and state.alive)

    def _needs(self) -> dict[str, Any]:
        """What the runtime is to know of it, besides its config.json."""
        opts = self.record()["options"]
        return {
            "root_mounts": Images(self.where).driver.mounts(self.id),
            "stdin": opts["interactive"],
            "auto_remove": opts["remove"],
            "after": self._removal() if opts["remove"] else (),
        }

    def _removal(self) -> list[str]:
        """The command that removes it, for the monitor to become when nobody else is there to do it."""
        import sys

        return [sys.executable, "-m", "labrt.engine.remove", self.id]

    def attach(self, *, stdin: bool = False) -> Attachment:
        """Attach to it: output as it comes, input, resizing. See runtime/attachment.py."""
        return self.runtime.attach(stdin=stdin)

    def run_to_end(self, input: bytes | None = None) -> Result:
        """Start it, give it `input`, collect its output, and remove it at the end if it was created so."""
        output: dict[int, list[bytes]] = {wire.STDOUT: [], wire.STDERR: []}
        try:
            with self.launch(stdin=input is not None) as attached:
                for stream, data in _communicate(attached, input):
                    output[stream].append(data)
            code = attached.exit_code if attached.exit_code is not None else self.wait()
        except BaseException:  # Ctrl-C, too
            with contextlib.suppress(LabrtError):
                if self.record()["options"]["remove"]:
                    self.remove(force=True)
                elif self.state.pid and self.state.alive:
                    self.kill("KILL")
            raise
        if self.record_or_none("remove"):
            self.remove(force=True)
        return Result(code if code is not None else 255, *(b"".join(pieces) for pieces in output.values()))

    def record_or_none(self, option: str) -> Any:
        """Return one of the options that it was created with; None when it is gone."""
        try:
            return self.record()["options"][option]
        except ContainerNotFound:
            return None

    def exec(self, *command: str, input: bytes = b"", **how: Any) -> Result:
        """Run one more command in it and return a Result. `how`: env, cwd, user. Conflict if it is not running."""
        from labrt.engine.execs import run

        return run(self.runtime, command, input, **how)

    def kill(self, sig: int | str = signal.SIGKILL) -> None:
        """Signal its PID 1: a number, or a name with or without SIG. Raises Conflict when it is not running."""
        self.runtime.kill(parse_signal(sig))

    def stop(self, timeout: float = 10.0, sig: int | str | None = None) -> int | None:
        """Ask it to end (SIGTERM, or what its image names), kill it after `timeout` seconds; return its exit code.

        A negative `timeout` waits for as long as it takes.
        """
        if not (self.state.pid and self.state.alive):
            return self.state.exit_code
        with contextlib.suppress(Conflict, ContainerNotFound):  # it ends by itself just now
            self.kill(sig or self.record().get("stop_signal") or "TERM")
            code = self.wait(timeout if timeout >= 0 else None)
            if code is not None:
                return code
            self.kill(signal.SIGKILL)
            return self.wait()
        with contextlib.suppress(ContainerNotFound):
            return self.wait()
        return None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end and return its exit code; None after `timeout` seconds, and if it was never started."""
        if not self.state.pid:
            return None
        with contextlib.ExitStack() as stack:
            attached = None
            with contextlib.suppress(Conflict):
                attached = stack.enter_context(Attachment.connect(self.runtime.sockets, output=False))
            try:
                return self.runtime.wait(timeout)
            except ContainerNotFound:  # removed at its end: its monitor's last word is all that is left of it
                if attached is None:
                    raise
                while attached.receive():
                    continue
                return attached.exit_code

    def logs(self, *, tail: int | None = None, follow: bool = False) -> Iterator[log.Entry]:
        """Yield what it wrote, line by line, the last `tail` lines of what is there (None: all); with `follow`, also
        what it writes from now on, until its end.
        """  # noqa: D205
        self.record()
        with contextlib.closing(log.Reader(self.runtime.log)) as reader:
            if tail is not None:
                reader.skip_to(tail)
            yield from reader.read()
            if follow:
                yield from self._follow(reader)

    def _follow(self, reader: log.Reader) -> Iterator[log.Entry]:
        pause = 0.02
        while True:
            ended = not self._goes_on()  # asked before reading: nothing comes after what is read then
            entries = reader.read()
            yield from entries
            if ended:
                return
            pause = 0.02 if entries else min(pause * 1.5, 0.25)
            time.sleep(pause)

    def _goes_on(self) -> bool:
        try:
            state = self.state
        except ContainerNotFound:  # removed at its end; its log is held open
            return False
        return bool(state.pid and state.alive)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it, with its writable layer and its log. While it runs that is a Conflict, or with `force` its end.

        With `volumes` its anonymous volumes go, too; always when it was created to be removed at its end.
        """
        record = self.record()
        with contextlib.suppress(ContainerNotFound):
            self.runtime.delete(force=force)
        Images(self.where).driver.remove(self.id)
        _discard(self.id, self.where)
        uses = record.get("volumes")
        if uses and (volumes or record["options"]["remove"]):
            from labrt.engine.volumes import Volumes

            Volumes(self.where).release(uses)

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


def _communicate(attached: Attachment, input: bytes | None) -> Iterator[tuple[int, bytes]]:
    """Feed input and collect output at the same time: a command may answer before it has read everything."""
    if not input:
        if input is not None:
            attached.end_input()
        yield from attached.output()
        return
    import threading

    def feed() -> None:
        with contextlib.suppress(OSError):  # it ended without reading all
            attached.send(input)
            attached.end_input()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    yield from attached.output()
    feeder.join(1)


def parse_signal(sig: int | str) -> int:
    """Turn 9, "9", "KILL" or "SIGKILL" into a number."""
    text = str(int(sig)) if isinstance(sig, int) else sig.strip().upper()
    if text.isdigit() and int(text) in map(int, signal.valid_signals()):
        return int(text)
    try:
        return int(signal.Signals[text if text.startswith("SIG") else f"SIG{text}"])
    except KeyError:
        raise InvalidInput(f"no signal is called {sig!r}", remedy="KILL, TERM, … or a number; see `kill -l`") from None


class Containers:
    """All containers of one user's labrt."""

    def __init__(self, where: paths.Paths | None = None) -> None:
        self.where = where or paths.default()

    def create(self, wanted: Options, *, on_event: Listener | None = None) -> Container:
        """Make a container, ready to start; its image is pulled if it is not here. All or nothing.

        Raises Conflict when the name is taken, and whatever pulling and unpacking raise.
        """
        images = Images(self.where)
        with images.layout.lease():  # until the container stands on its layers, nobody takes them away as unused
            return self._create(images, wanted, on_event)

    def _create(self, images: Images, wanted: Options, on_event: Listener | None) -> Container:
        from labrt.image.platform import Platform

        platform = Platform.parse(wanted.platform) if wanted.platform else None
        image = images.get(wanted.image, platform=platform, policy=wanted.pull, on_event=on_event)
        chain_ids = images.unpack(image, on_event=on_event)
        id = os.urandom(32).hex()
        container = Container(id, self.where)
        directory = container.runtime.directory
        inherited: Sequence[Mount] = ()
        if wanted.given("ipc", "pid", "volumes_from"):
            from labrt.engine import others

            wanted, inherited = others.resolve(wanted, self)
        config = options.to_config(wanted, image.config, id, directory, inherited=inherited)
        if paths.owner():
            from labrt.runtime import rootless

            rootless.adapt(config)
        record = {
            "name": wanted.name, "image": wanted.image, "image_id": str(image.id), "created": time.time(),
            "command": config["process"]["args"], "stop_signal": image.config.stop_signal,
            "options": {"interactive": wanted.interactive, "tty": wanted.tty, "remove": wanted.remove,
                        "network": wanted.network},
            **options.to_record(wanted, image.config),
        }  # fmt: skip
        named = [mount for mount in config["mounts"] if mount["type"] == "bind" and not mount["source"].startswith("/")]
        if not named:
            return self._build(container, images, chain_ids, wanted, config, record)
        from labrt.engine.volumes import Volumes

        volumes = Volumes(self.where)
        with volumes.provided(named) as uses:
            copied = [use for use in uses if use["destination"] not in options.no_copies(wanted)]
            fill = functools.partial(volumes.fill, container, copied)
            return self._build(container, images, chain_ids, wanted, config, {**record, "volumes": uses}, fill)

    def _build(
        self,
        container: Container,
        images: Images,
        chain_ids: Sequence[Digest],
        wanted: Options,
        config: dict[str, Any],
        record: dict[str, Any],
        fill: Callable[[], None] | None = None,
    ) -> Container:
        """Make its directory and its root, `fill` its volumes from that, and let it exist. All or nothing."""
        id, directory, durable = container.id, container.runtime.directory, not record["options"]["remove"]
        ledger.record("container", id, directory=self.where.ledger)
        try:
            os.makedirs(os.path.join(directory, "rootfs"), 0o700)
            images.driver.prepare(id, chain_ids, durable=durable)
            if fill is not None:
                fill()
            options.write_etc(directory, wanted, id)
            raw = json.dumps(config).encode()
            files.replace(os.path.join(directory, "config.json"), raw, durable=durable)
            self._register(directory, record)
        except BaseException:
            images.driver.remove(id)
            _discard(id, self.where)
            raise
        return container

    def _register(self, directory: str, record: dict[str, Any]) -> None:
        """Give it its name, which nobody else may take in the same moment, and so make it exist."""
        with files.locked(os.path.join(self.where.containers, ".lock")):
            taken = {container.name: container for container in self.list(all=True)}
            if record["name"] in taken:
                other = taken[record["name"]]
                remedy = f"`labrt rm {record['name']}`, or take another name"
                raise Conflict(f"the name {record['name']} is taken by container {other.id[:12]}", remedy=remedy)
            record["name"] = record["name"] or names.new(set(taken))
            durable = not record["options"]["remove"]
            files.replace(os.path.join(directory, "labrt.json"), json.dumps(record).encode(), durable=durable)

    def list(self, *, all: bool = False) -> list[Container]:
        """List the containers that run, or with `all` every one; the newest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for id in filter(_ID.fullmatch, os.listdir(self.where.containers)):
                container = Container(id, self.where)
                with contextlib.suppress(ContainerNotFound):
                    created = container.record()["created"]
                    if all or container.status == "running":
                        found.append((created, container))
        return [container for _, container in sorted(found, key=lambda pair: -pair[0])]

    def get(self, text: str) -> Container:
        """Find one by name, id, or the beginning of its id. ContainerNotFound if none, InvalidInput if several fit."""
        candidates = self.list(all=True)
        for container in candidates:
            if text in (container.id, container.name):
                return container
        matches = [container for container in candidates if text and container.id.startswith(text)]
        if len(matches) > 1:
            raise InvalidInput(f"{text!r} is the beginning of {len(matches)} container ids", remedy="give more digits")
        if not matches:
            raise ContainerNotFound(f"no container is called {text!r}", remedy="`labrt ps -a` lists them")
        return matches[0]

    def __repr__(self) -> str:
        return f"<Containers in {self.where.containers}: {len(self.list(all=True))}>"


def _discard(id: str, where: paths.Paths) -> None:
    """Remove a container's directory, and strike it out of the ledger."""
    with contextlib.suppress(OSError):
        remove_path(os.path.join(where.containers, id))
    for entry in ledger.entries(where.ledger):
        if entry.kind == "container" and entry.what == id:
            ledger.strike(entry)
