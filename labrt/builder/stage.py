"""A stage, step by step: one method for each kind of instruction.

    state, scope = StageBuilder(build, stage, number, total).run()

What changes the config alone is done by instructions.py; here are those that make layers, and for all of them the way
through the cache: a key, then what came of it last time, or else doing it now.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from labrt.builder import dockerfile, events, files, instructions, layers, mounting
from labrt.builder.cache import Cache, Record
from labrt.builder.dockerfile import Instruction
from labrt.builder.running import NETWORKS, SECURITIES, Run
from labrt.builder.scopes import Scope
from labrt.builder.stages import SCRATCH, Stage, find
from labrt.builder.state import State
from labrt.errors import BuildFailed, InvalidInput, LabrtError
from labrt.image.platform import Platform
from labrt.runtime.config import PATH

if TYPE_CHECKING:
    from labrt.builder.build import Build


class Cancelled(Exception):
    """Another stage has failed, so this one ends."""


class StageBuilder:
    """One stage being built. `number` is that of its first step among `total`; `last`: it is the one that is wanted."""

    def __init__(self, build: Build, stage: Stage, number: int, total: int, *, last: bool = False) -> None:
        self.build, self.stage, self.number, self.total, self.last = build, stage, number, total, last
        self.state = State(build.wanted.platform or Platform.host())
        self.scope = Scope(build.arguments)
        self._own_command = False

    def run(self) -> tuple[State, Scope]:
        """Do all steps. Raises BuildFailed, InvalidInput, …, which say where; Cancelled."""
        self._step(self.stage.begin, self._from)
        for step in self._triggers():
            self._step(step, None)
        for instruction in self.stage.steps:
            self.number += 1
            self._step(instruction, None)
        if self.last:
            self._add_labels()
        self.build.emit(events.StageDone(self.stage.label))
        return self.state, self.scope

    def _triggers(self) -> list[Instruction]:
        """Take what the base image wants done first: its ONBUILD instructions, once. It may be a stranger's."""
        where, found = f"{self.stage.begin.where} ONBUILD", self.state.config.pop("OnBuild", None) or []
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            self.stage.begin.fail("the image's OnBuild is no list of instructions", "do not trust who made it")
        return [instructions.trigger(text, where) for text in found]

    def _step(self, step: Instruction, method: Callable[[Instruction], tuple[bool, int | None]] | None) -> None:
        self.build.check()
        self.build.emit(events.StepStarted(self.stage.label, self.number, self.total, step.text, step.line))
        special = {"RUN": self._run, "COPY": self._copy, "ADD": self._copy, "WORKDIR": self._workdir}
        try:
            cached, size = (method or special.get(step.keyword) or self._config)(step)
        except LabrtError as error:
            if not error.message.startswith(step.where):
                error.message = f"{step.where}: {error.message}: `{step.text:.200}`"
            raise
        done = events.StepDone(self.stage.label, self.number, str(self.state.id), cached, size)
        self.build.emit(done)

    # FROM -------------------------------------------------------------------------------------------------------------

    def _from(self, step: Instruction) -> tuple[bool, int | None]:
        base, build = self.stage.base, self.build
        if isinstance(base, int):
            state, scope = build.state_of(base)
            self.state, self.scope = state.clone(), Scope(build.arguments, scope.declared)
        elif base.lower() != SCRATCH:
            self.state = self._image(base, self.stage.platform)
        elif self.stage.platform:
            self.state.platform = Platform.parse(self.stage.platform)
        if not any(line.startswith("PATH=") for line in self.state.config.get("Env") or []):
            self.state.config["Env"] = [PATH, *(self.state.config.get("Env") or [])]
        return False, None

    def _image(self, name: str, platform: str = "") -> State:
        wanted = Platform.parse(platform) if platform else self.build.wanted.platform
        image = self.build.machine.image(name, wanted, pull=self.build.wanted.pull, on_event=self.build.emit)
        return State.of(image)

    def origin(self, name: str) -> State:
        """Return what --from names: another stage, or an image."""
        number = find(name, self.build.stages[: self.stage.number])
        return self._image(name) if number is None else self.build.state_of(number)[0]

    # What changes the config alone ------------------------------------------------------------------------------------

    def _config(self, step: Instruction) -> tuple[bool, int | None]:
        config = self.state.config
        if step.keyword == "ARG":
            self.scope.declare(step, config)
        elif step.keyword == "MAINTAINER":
            self.state.author = step.rest
        else:
            instructions.apply(config, step, self.scope.variables(config))
        if step.keyword == "ENTRYPOINT" and not self._own_command:
            config.pop("Cmd", None)  # it was for another program
        self._own_command = self._own_command or step.keyword == "CMD"
        history = len(self.state.history)
        key = Cache.key(step.keyword, self.state.top, history, config, step.text, self.build.wanted.epoch)
        return self.recall(key, step.text, None)

    def _add_labels(self) -> None:
        labels = self.build.wanted.labels
        if labels:
            self.state.config["Labels"] = {**(self.state.config.get("Labels") or {}), **labels}
            text = " ".join(f"{key}={value}" for key, value in labels.items())
            self.recall(Cache.key("--label", self.state.top, self.state.config), f"LABEL {text}", None)

    # The way through the cache ----------------------------------------------------------------------------------------

    def recall(self, key: str, created_by: str, make: Callable[[int], bool] | None) -> tuple[bool, int | None]:
        """Take what came of a step when it was done before, or do it now. Return whether it was there, and its size.

        `make` writes a layer to a descriptor, and says whether there is one; None: the step makes none.
        """
        build = self.build
        record = None if build.wanted.no_cache else build.cache.find(key, build.layout)
        cached = record is not None
        if record is None:
            record = self._make(make) if make else Record(build.moment())
            build.cache.put(key, record)
        if record.layer is not None and record.diff_id is not None:
            self.state.add(record.layer, record.diff_id)
        self.state.note(created_by, record.created, layer=record.layer is not None)
        return cached, record.layer.size if record.layer else None

    def _make(self, make: Callable[[int], bool]) -> Record:
        layers.ensure(self.build.driver, self.build.layout, self.state)
        with layers.scratch(self.build.layout) as fd:
            if not make(fd):
                return Record(self.build.moment())
            layer, diff_id = layers.store(self.build.layout, fd)
        return Record(self.build.moment(), layer, diff_id)

    # Files ------------------------------------------------------------------------------------------------------------

    def _copy(self, step: Instruction) -> tuple[bool, int | None]:
        with files.Copy(self, step) as copy:
            return self.recall(copy.key(), step.text, copy.make)

    def _workdir(self, step: Instruction) -> tuple[bool, int | None]:
        instructions.apply(self.state.config, step, self.scope.variables(self.state.config))
        path = str(self.state.config["WorkingDir"])
        key = Cache.key("WORKDIR", self.state.top, path, self.state.config.get("User"), self.build.wanted.epoch)
        return self.recall(key, f"WORKDIR {path}", lambda fd: files.make_directory(self, path, fd))

    # RUN --------------------------------------------------------------------------------------------------------------

    def _run(self, step: Instruction) -> tuple[bool, int | None]:
        config, wanted = self.state.config, self.build.wanted
        arguments = self.scope.for_run(config)
        command = tuple(instructions.command_line(config, step)) if not step.heredocs else self._script(step)
        if not command:
            step.fail("nothing to run")
        security = step.flag("security", SECURITIES[0])
        if security not in SECURITIES:
            step.fail(f"--security={security:.40} is not known", f"one of {', '.join(SECURITIES)}")
        if security == "insecure" and not wanted.insecure:
            step.fail("--security=insecure is not allowed", "labrt build --allow security.insecure")
        with mounting.Mounts(self, step) as mounts:
            network = self._network(step)
            key = Cache.key(
                "RUN", self.state.top, command, config.get("Env"), config.get("WorkingDir"), config.get("User"),
                arguments, network, security, mounts.key(), [(one.name, one.text) for one in step.heredocs],
                str(self.state.platform), wanted.epoch,
            )  # fmt: skip
            shown = [f"{name}={value}" for name, value in arguments.items()]
            prefix = f"|{len(shown)} {' '.join(shown)} " if shown else ""

            def make(fd: int) -> bool:
                env = {**self.scope.proxies(), **arguments, **mounts.environment()}
                run = Run(
                    command, tuple(f"{name}={value}" for name, value in env.items()), config.get("WorkingDir") or "/",
                    config.get("User") or "", network, security == "insecure", mounts.binds(), mounts.tmpfs(),
                    mounts.places(), wanted.add_host, wanted.epoch, wanted.limits,
                )  # fmt: skip
                self._run_now(step, run, fd)
                return True

            return self.recall(key, f"RUN {prefix}{' '.join(command)}", make)

    def _network(self, step: Instruction) -> str:
        """Return the network of a RUN. This machine's own is not for any Dockerfile to take."""
        wanted = self.build.wanted
        network = step.flag("network", "default")
        if network not in NETWORKS:
            step.fail(f"--network={network:.40} is not known", f"one of {', '.join(NETWORKS)}")
        if network == "host" and not (wanted.host_network or wanted.network == "host"):
            step.fail("--network=host is not allowed", "labrt build --allow network.host")
        return wanted.network if network == "default" else network

    def _script(self, step: Instruction) -> tuple[str, ...]:
        """Return what runs a text: its own program, if it begins with #!, else the shell."""
        shell = instructions.shell(self.state.config)
        first = step.heredocs[0]
        if len(step.heredocs) == 1 and dockerfile.HEREDOC.fullmatch(step.rest):
            if first.content.startswith("#!"):
                return (mounting.script_place(first.name),)
            return (*shell, first.content)
        texts = "".join(f"{one.text}{one.name}\n" for one in step.heredocs)
        return (*shell, f"{step.rest}\n{texts}")

    def _run_now(self, step: Instruction, run: Run, fd: int) -> None:
        build = self.build

        def hear(stream: int, data: bytes) -> None:
            build.emit(events.Output(self.stage.label, self.number, stream, data))

        code = build.machine.run(self.state.image(build.layout), run, fd, hear)
        build.check()
        if code:
            what = " ".join(run.args)
            raise BuildFailed(f"{step.where}: the command {what!r:.200} returned a non-zero code: {code}", code=code)
        if os.fstat(fd).st_size == 0:
            raise InvalidInput(f"{step.where}: the layer came out empty")
