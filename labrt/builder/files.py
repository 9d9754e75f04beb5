"""COPY, ADD and WORKDIR as steps: what their words mean here, what the cache asks for, and the layer.

    with Copy(stage, instruction) as copy: copy.key(); copy.make(fd)

What is copied comes from the context, from another stage or image (--from), from the instruction's own text (a
heredoc), or with ADD from the web. The layer is written by a child that sees the image and where it is copied from, and
nothing else of this machine (storage/looking.py); see copying.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypeVar

from labrt.builder import adding, copying, instructions, layers, selecting, words
from labrt.builder.cache import Cache, Record
from labrt.builder.copying import Plan
from labrt.builder.dockerfile import HEREDOC, Heredoc, Instruction
from labrt.builder.ignore import Patterns
from labrt.builder.selecting import Root
from labrt.storage import looking

if TYPE_CHECKING:
    from labrt.builder.stage import StageBuilder
    from labrt.builder.state import State

T = TypeVar("T")
CONTEXT, ORIGIN, EXTRA = "context", "from", "extra"


class Copy:
    """One COPY or ADD. A context manager: it holds directories open."""

    def __init__(self, stage: StageBuilder, step: Instruction) -> None:
        self.stage, self.step = stage, step
        self.build = stage.build
        self.origin: State | None = None
        self._stack = contextlib.ExitStack()
        self._roots: dict[str, Root] = {}
        try:
            self.plan = self._plan()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What the words mean ----------------------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        step, config = self.step, self.stage.state.config
        variables = self.stage.scope.variables(config)

        def expand(text: str) -> str:
            return instructions.expand(step, text, variables)

        found = [*map(expand, step.json)] if step.json is not None else self._words(expand)
        if len(found) < 2:
            step.fail(f"{step.keyword} wants at least a source and a place to copy to")
        *named, target = found
        if isinstance(target, Heredoc):
            step.fail(f"<<{target.name} is no place to copy to")
        if len(named) > 1 and not target.endswith("/") and target not in (".", ".."):
            step.fail("several sources, and the place to copy to is no directory", "end it with /")
        if step.flag("from"):
            self.origin = self.stage.origin(expand(step.flag("from")))
        slash = "/" if target.endswith(("/", "/.")) or target in (".", "..") else ""
        place = instructions.absolute(config, target)
        return Plan(
            tuple(self._sources(named, variables)), place if place == "/" else place + slash,
            expand(step.flag("chown")), expand(step.flag("chmod")), self.origin is not None,
            bool(step.switch("parents")), tuple(map(expand, step.flag_list("exclude"))),
            step.keyword == "ADD" and step.switch("unpack") is not False,
            self.build.wanted.epoch, self.build.age,
        )  # fmt: skip

    def _words(self, expand: Callable[[str], str]) -> list[str | Heredoc]:
        found, texts = words.cut(self.step.rest, escape=self.step.escape), iter(self.step.heredocs)
        return [next(texts) if HEREDOC.fullmatch(word) else expand(word) for word in found]

    def _sources(self, named: Sequence[str | Heredoc], variables: Mapping[str, str]) -> list[tuple[str, str]]:
        result = []
        for text in named:
            if isinstance(text, Heredoc):
                content = text.content if text.literal else _expand_text(self.step, text.content, variables)
                result.append((EXTRA, self._write(text.name, content)))
            elif self.step.keyword == "ADD" and (adding.is_url(text) or text.startswith(("git@", "git://", "ssh://"))):
                adding.refuse_git(text)
                result.append((EXTRA, self._download(text)))
            else:
                result.append((ORIGIN if self.origin is not None else CONTEXT, text))
        return result

    def _write(self, name: str, content: str) -> str:
        place = self.build.place()
        path = os.path.join(place, os.path.basename(name))
        with open(path, "w", newline="") as file:
            file.write(content)
        os.chmod(path, 0o644)
        os.utime(path, (self.build.age, self.build.age))
        return os.path.relpath(path, self.build.workspace)

    def _download(self, url: str) -> str:
        place = self.build.place()
        name = adding.download(url, place, checksum=self.step.flag("checksum"))
        return os.path.relpath(os.path.join(place, name), self.build.workspace)

    # The cache --------------------------------------------------------------------------------------------------------

    def key(self) -> str:
        """Return what the step depends on."""
        linked = bool(self.step.switch("link"))
        state, plan = self.stage.state, self.plan
        sources = [(key, _name(key, text)) for key, text in plan.sources]
        what = plan._replace(sources=(), moment=0 if self.step.keyword == "COPY" else plan.moment)
        return Cache.key(
            self.step.keyword, "" if linked else state.top, sources, what, self._digest(), str(state.platform)
        )

    def _digest(self) -> list[str]:
        exclude = Patterns(self.plan.exclude)
        found = []
        for key in (CONTEXT, EXTRA):
            texts = [text for which, text in self.plan.sources if which == key]
            if texts:
                root = self._root(key)
                found.append(selecting.digest(root, selecting.select(root, texts), exclude))
        texts = [text for which, text in self.plan.sources if which == ORIGIN]
        if texts and self.origin is not None:
            found.append(digest_of(self.stage, self.origin, texts, self.plan.exclude))
        return found

    def _root(self, key: str) -> Root:
        if key not in self._roots:
            root = self.build.context.root() if key == CONTEXT else Root.of(self.build.workspace)
            self._roots[key] = self._stack.enter_context(root)
        return self._roots[key]

    # The layer --------------------------------------------------------------------------------------------------------

    def make(self, fd: int) -> bool:
        """Write the layer."""
        if self.plan.unpack:
            adding.prepare()
        roots = {key: self._root(key) for key, _ in self.plan.sources if key != ORIGIN}
        base = None if self.step.switch("link") else self.stage.state
        write(self.stage, base, self.origin, roots, self.plan, fd)
        return True


def write(
    stage: StageBuilder, base: State | None, origin: State | None, roots: Mapping[str, Root], plan: Plan, fd: int
) -> int:
    """Write a layer to a descriptor, by a child that sees `base` (None: an empty image) and `origin`."""

    def inside() -> int:
        with contextlib.ExitStack() as stack:
            below = stack.enter_context(Root.of("/base"))
            more = {ORIGIN: stack.enter_context(Root.of(f"/{ORIGIN}"))} if origin is not None else {}
            with open(fd, "wb", closefd=False) as stream:
                return copying.write(below, {**roots, **more}, plan, stream)

    return look(stage, {"base": base, **({ORIGIN: origin} if origin is not None else {})}, inside)


def look(stage: StageBuilder, states: Mapping[str, State | None], function: Callable[[], T]) -> T:
    """Call a function in a child that sees what these states have come to; None is an empty image."""
    for state in states.values():
        if state is not None:
            layers.ensure(stage.build.driver, stage.build.layout, state)
    chains = {name: state.chain if state is not None else () for name, state in states.items()}
    return looking.look(stage.build.driver, chains, function)


def digest_of(stage: StageBuilder, origin: State, texts: list[str], exclude: tuple[str, ...]) -> str:
    """Return a digest of files of another stage, and remember it: equal chain ids are equal files."""
    cache = stage.build.cache
    key = Cache.key("digest", origin.top, texts, exclude)
    record = cache.find(key)
    if record is None:

        def inside() -> str:
            with Root.of(f"/{ORIGIN}") as root:
                return selecting.digest(root, selecting.select(root, texts), Patterns(exclude), owners=True)

        record = Record(stage.build.moment(), value=look(stage, {ORIGIN: origin}, inside))
        cache.put(key, record)
    return record.value


def make_directory(stage: StageBuilder, path: str, fd: int) -> bool:
    """Write a layer that makes a directory, USER's, where it is not there yet; whether that is so."""
    owner = str(stage.state.config.get("User") or "")
    plan = Plan((), path, owner=owner, directory=True, latest=stage.build.wanted.epoch, moment=stage.build.age)
    return write(stage, stage.state, None, {}, plan, fd) > 0


def _name(key: str, text: str) -> str:
    return os.path.basename(text) if key == EXTRA else text


def _expand_text(step: Instruction, text: str, variables: Mapping[str, str]) -> str:
    """Put variables into a heredoc: quotes are letters like others there."""
    marked = text.replace('"', "\0d").replace("'", "\0s")
    return instructions.expand(step, marked, variables).replace("\0d", '"').replace("\0s", "'")
