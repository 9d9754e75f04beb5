"""A build, from its context to an image: the stages that are needed, those that can at the same time.

    with Context.of_directory(".") as context:
        image = build(context, machine, Wanted(tags=("mine:1",)), on_event=print)

`machine` is what the engine hands down: it fetches images and runs containers. Every step is looked up in the cache
before it is done (cache.py); stage.py has a method for each instruction. What is broken off leaves no container, no
temporary file and no name; the steps that were done stay in the cache. Notebook 20.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from labrt.builder import dockerfile, events, layers, stages
from labrt.builder.cache import Cache
from labrt.builder.context import Context
from labrt.builder.running import Run
from labrt.builder.scopes import Arguments, Scope
from labrt.builder.stage import Cancelled, StageBuilder
from labrt.builder.stages import Stage
from labrt.builder.state import State
from labrt.errors import InvalidInput
from labrt.image.image import Image
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.image.tree import remove_path

if TYPE_CHECKING:
    from labrt.paths import Paths
    from labrt.storage.driver import Driver


class Machine(Protocol):
    """What a build needs and does not do itself. Threads share it."""

    where: Paths
    layout: Layout
    driver: Driver

    def image(self, name: str, platform: Platform | None, *, pull: bool, on_event: events.Listener) -> Image:
        """Return an image, fetched first if it is not here, or always with `pull`."""
        ...

    def run(self, image: Image, run: Run, layer: int, on_output: Callable[[int, bytes], object]) -> int:
        """Run a command in a container of an image, and return its exit code.

        When that is 0, what it has changed is written to the descriptor `layer`, uncompressed. Nothing is left of it.
        """
        ...

    def stop(self) -> None:
        """End whatever runs now, and let nothing run from now on: whoever waits in `run` returns."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What a build is told. `epoch` is SOURCE_DATE_EPOCH, in seconds; None: times are as they are.

    `network` is that of each RUN that names none; "default" the one that `labrt run` has. What a Dockerfile may ask for
    is `insecure` (RUN --security=insecure) and `host_network` (RUN --network=host): it may be anybody's.
    `secrets` are bytes by id, `ssh` paths of an agent's socket by id. `limits` are options of `docker run` for RUN.
    """

    tags: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    platform: Platform | None = None
    no_cache: bool = False
    pull: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ssh: Mapping[str, str] = field(default_factory=dict)
    add_host: tuple[str, ...] = ()
    epoch: int | None = None
    insecure: bool = False
    host_network: bool = False
    limits: Mapping[str, object] = field(default_factory=dict)


def build(
    context: Context, machine: Machine, wanted: Wanted | None = None, *, on_event: events.Listener | None = None
) -> Image:
    """Build, and return the image, unpacked and named. Raises InvalidInput, NotFound, BuildFailed: file, line, why."""
    wanted = wanted or Wanted()
    references = tuple(map(_reference, wanted.tags))
    arguments = Arguments(wanted.build_args, wanted.platform or Platform.host())
    every = stages.read(dockerfile.parse(context.text, context.name), arguments)
    goal = stages.target(every, wanted.target)
    with machine.layout.lease(), _workspace(machine.where) as workspace:
        work = Build(context, machine, wanted, every, arguments, workspace, on_event or _nobody)
        state = work.run(stages.needed(every, goal), goal)
        layers.ensure(machine.driver, machine.layout, state)
        image = state.image(machine.layout, references[0] if references else None)
        for reference in references or (image.reference,):
            machine.layout.tag(reference, image.descriptor)
    work.emit(events.Built(str(image.id), tuple(reference.familiar for reference in references)))
    return image


def _nobody(_: object) -> None:
    return None


def _reference(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest:
        raise InvalidInput(f"{text}: a digest is no name to give", remedy="give a tag, such as team/tools:1")
    return reference


class Build:
    """One build under way: what all of its stages share."""

    def __init__(
        self, context: Context, machine: Machine, wanted: Wanted, every: list[Stage], arguments: Arguments,
        workspace: str, on_event: events.Listener,
    ) -> None:  # fmt: skip
        self.context, self.machine, self.wanted, self.stages = context, machine, wanted, every
        self.arguments, self.workspace = arguments, workspace
        self.cache = Cache(machine.where)
        self.layout, self.driver = machine.layout, machine.driver
        self.states: dict[int, tuple[State, Scope]] = {}
        self.failed: BaseException | None = None
        self._listener = on_event
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._counter = 0

    def emit(self, event: object) -> None:
        """Tell who listens; one at a time."""
        with self._lock:
            self._listener(event)

    def moment(self) -> str:
        """Return now, or what SOURCE_DATE_EPOCH says is now."""
        epoch = self.wanted.epoch
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() if epoch is None else epoch))

    @property
    def age(self) -> int:
        """Return the time of what has none of its own, such as WORKDIR's directory: the Dockerfile's, in seconds."""
        return self.context.moment if self.wanted.epoch is None else self.wanted.epoch

    def place(self) -> str:
        """Make one more directory that goes at the end."""
        with self._lock:
            self._counter += 1
            path = os.path.join(self.workspace, str(self._counter))
        os.mkdir(path, 0o700)
        return path

    def run(self, needed: list[Stage], goal: Stage) -> State:
        """Build stages; return what the wanted one has come to."""
        total = sum(1 + len(stage.steps) for stage in needed)
        self.emit(events.Planned(tuple(stage.label for stage in needed), total))
        builders, number = [], 1
        for stage in needed:
            builders.append(StageBuilder(self, stage, number, total, last=stage is goal))
            number += 1 + len(stage.steps)
        if len(builders) == 1:
            self._work(builders[0])
        else:
            self._run_all(builders)
        if self.failed is not None:
            raise self.failed
        for name in self.arguments.unused():
            self.emit(events.Warned("", f"no ARG asked for --build-arg {name}"))
        return self.states[goal.number][0]

    def _run_all(self, builders: list[StageBuilder]) -> None:
        """Each in a thread; one that needs another waits for it. Ctrl-C ends what runs, and waits for all."""
        ends = [threading.Event() for _ in builders]
        threads = [threading.Thread(target=self._work, args=pair) for pair in zip(builders, ends, strict=True)]

        def wait() -> None:
            # Not by join: once Ctrl-C has interrupted it, it takes a thread for ended that is not.
            for thread, end in zip(threads, ends, strict=True):
                if thread.ident is not None:
                    end.wait()

        try:
            for thread in threads:
                thread.start()
            wait()
        except BaseException as error:
            self.fail(error)
            wait()
            raise

    def _work(self, builder: StageBuilder, end: threading.Event | None = None) -> None:
        try:
            self._build(builder)
        finally:
            if end:
                end.set()

    def _build(self, builder: StageBuilder) -> None:
        try:
            found = builder.run()
        except Cancelled:
            return
        except BaseException as error:
            self.fail(error)
            if threading.current_thread() is threading.main_thread():
                raise
            return
        with self._changed:
            self.states[builder.stage.number] = found
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Let all stages end: the first failure is the one that counts."""
        with self._changed:
            self.failed = self.failed or error
            self._changed.notify_all()
        self.machine.stop()

    def check(self) -> None:
        """Raise Cancelled when another stage has failed."""
        if self.failed is not None:
            raise Cancelled

    def state_of(self, number: int) -> tuple[State, Scope]:
        """Wait for another stage, and return what it has come to."""
        with self._changed:
            self._changed.wait_for(lambda: number in self.states or self.failed is not None)
        if number not in self.states:
            raise Cancelled
        return self.states[number]


@contextlib.contextmanager
def _workspace(where: Paths) -> Iterator[str]:
    """Yield a directory for what must not stay: secrets, downloads, bound files. Those of killed builds go, too."""
    above = os.path.join(where.run, "builds")
    os.makedirs(above, 0o700, exist_ok=True)
    for name in os.listdir(above):
        if not os.path.exists(f"/proc/{name.partition('-')[0]}"):
            remove_path(os.path.join(above, name))
    path = os.path.join(above, f"{os.getpid()}-{os.urandom(4).hex()}")
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        remove_path(path)
        with contextlib.suppress(OSError):
            os.rmdir(above)
