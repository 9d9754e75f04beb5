"""Images built from a Dockerfile: the builder (labrt/builder), with the engine's own hands.

    build(".", tag="mine:1")                                 of a directory
    build_context(Context.of_archive(stream), wanted)        of whatever else; the daemon's POST /build does that

The builder knows no containers and no registry's images: it asks a Machine for them, which is here. A RUN is a
container like any other, made from the image of the step before, and its layer is what `commit` would make of it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from labrt import paths
from labrt.builder.build import Wanted
from labrt.builder.build import build as build_with
from labrt.builder.running import Run
from labrt.engine.containers import Container, Containers
from labrt.engine.images import Images
from labrt.engine.options import Options
from labrt.errors import InvalidInput, LabrtError
from labrt.image.image import Image
from labrt.image.platform import Platform

if TYPE_CHECKING:
    from labrt.builder.context import Context
    from labrt.builder.events import Listener

EPOCH = "SOURCE_DATE_EPOCH"


def build(
    path: str | os.PathLike[str] = ".", *, tag: str | None = None, tags: tuple[str, ...] = (),
    dockerfile: str | None = None, text: str | None = None, args: Mapping[str, str] | None = None,
    platform: str | None = None, on_event: Listener | None = None, where: paths.Paths | None = None, **more: Any,
) -> Image:  # fmt: skip
    """Build the directory `path`, and return the image. `more` are fields of Wanted (builder/build.py).

    `dockerfile` is a file's path, `text` a Dockerfile itself. SOURCE_DATE_EPOCH of the environment counts.
    """
    from labrt.builder.context import Context

    wanted = Wanted(
        tags=(*([tag] if tag else []), *tags), build_args=dict(args or {}),
        platform=Platform.parse(platform) if platform else None, **{"epoch": epoch(), **more},
    )  # fmt: skip
    with Context.of_directory(os.fspath(path), dockerfile=dockerfile, text=text) as context:
        return build_context(context, wanted, on_event=on_event, where=where)


def build_context(
    context: Context, wanted: Wanted | None = None, *, on_event: Listener | None = None,
    where: paths.Paths | None = None,
) -> Image:  # fmt: skip
    """Build a context. Raises what builder.build does; nothing is left of a build that fails but its cache."""
    return build_with(context, Hands(where), wanted, on_event=on_event)


def epoch(environment: Mapping[str, str] | None = None) -> int | None:
    """Read SOURCE_DATE_EPOCH; None if it is not set. Raises InvalidInput."""
    text = (os.environ if environment is None else environment).get(EPOCH)
    if not text:
        return None
    if not text.isdecimal():
        raise InvalidInput(f"{EPOCH}={text:.40} is no number of seconds", remedy="like `git log -1 --format=%ct`")
    return int(text)


class Hands:
    """The Machine of one build: see builder/build.py."""

    def __init__(self, where: paths.Paths | None = None) -> None:
        self.images = Images(where)
        self.where, self.layout, self.driver = self.images.where, self.images.layout, self.images.driver
        self._running: set[str] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def image(self, name: str, platform: Platform | None, *, pull: bool, on_event: Listener) -> Image:
        """Return an image, by name or id, fetched if need be."""
        return self.images.get(name, platform=platform, policy="always" if pull else "missing", on_event=on_event)

    def run(self, image: Image, run: Run, layer: int, on_output: Callable[[int, bytes], object]) -> int:
        """Run a command; write what it changed."""
        container = Containers(self.where).create(self._options(image, run), image=_without_volumes(image))
        try:
            with self._lock:
                if self._stopped:
                    return 137
                self._running.add(container.id)
            code = self._follow(container, on_output)
            if code == 0:
                from labrt.engine.commit import write_layer

                write_layer(container, layer, hidden=run.hidden, latest=run.latest)
            return code
        finally:
            with self._lock:
                self._running.discard(container.id)
            container.remove(force=True, volumes=True)

    def _follow(self, container: Container, on_output: Callable[[int, bytes], object]) -> int:
        with container.launch() as attached:
            if self._stopped:
                container.kill()
            for stream, data in attached.output():
                on_output(stream, data)
        code = attached.exit_code if attached.exit_code is not None else container.wait()
        return 255 if code is None else code

    def stop(self) -> None:
        """End what runs now."""
        with self._lock:
            self._stopped = True
            running = [*self._running]
        for id in running:
            with contextlib.suppress(LabrtError):
                Container(id, self.where).kill()

    def _options(self, image: Image, run: Run) -> Options:
        from labrt.engine.options import mount_words

        mounts = [mount_words.line("type=bind", f"source={source}", f"target={place}", *(["readonly"] if fixed else []))
                  for source, place, fixed in run.binds]  # fmt: skip
        return Options(
            str(image.reference), run.args, entrypoint=(), env=run.env, workdir=run.cwd, user=run.user or None,
            network=run.network, privileged=run.privileged, mount=mounts, tmpfs=list(run.tmpfs),
            add_host=list(run.add_host), no_healthcheck=True, **run.limits,
        )  # fmt: skip


def _without_volumes(image: Image) -> Image:
    """What RUN writes to a place that the image calls a volume is a part of the image."""
    return image._replace(config=image.config._replace(volumes=()))
