r"""The engine: where images and containers meet.

    images      pull, list, remove; the embedded default where Docker Hub cannot be reached
    containers  create, start, list, find, remove; a Container and what can be done with it
    builds      a Dockerfile and a directory into an image
    options     what `docker run` can be told, and config.json made of it
    embedded    the image that is there without any network

Here is what one calls first; `labrt.run`, `labrt.pull` and `labrt.build` are these:

    >>> result = labrt.run("busybox", "echo", "hello")
    >>> result.stdout, result.exit_code
    ('hello\n', 0)
    >>> container = labrt.run("busybox", "sleep", "60", detach=True)
    >>> container.exec("ps").stdout
    >>> container.remove(force=True)
"""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, Literal, overload

    from labrt.engine.container import Container
    from labrt.engine.results import Result
    from labrt.image.image import Image

__all__ = ["build", "pull", "run"]


def build(
    path: str = ".", *, tag: str | None = None, progress: Callable[[object], None] | bool = True, **options: Any
) -> Image:
    """Build the image that a directory's Dockerfile describes, and return it; in a notebook it is shown as a tree.

    `options`: dockerfile (a path), text (a Dockerfile itself), args={"NAME": "value"}, target, platform, no_cache,
    pull, labels={…}, tags=(…), network, and the others of builder/build.py's Wanted. `progress` shows each step;
    False is silence, a function is called with each event (builder/events.py).
    Raises InvalidInput, NotFound and BuildFailed, which say file, line and why.
    """
    _enter_own_namespaces()
    from labrt.engine import builds
    from labrt.engine.build_progress import shown

    if callable(progress):
        return builds.build(path, tag=tag, on_event=progress, **options)
    with shown("auto" if progress else "quiet") as listener:
        return builds.build(path, tag=tag, on_event=listener, **options)


def pull(
    reference: str, *, platform: str | None = None, progress: Callable[[object], None] | bool = True
) -> Image:
    """Bring an image from its registry into the store, and return it. In a notebook it shows itself as a tree.

    `platform` is like "linux/arm64"; None is this machine. `progress` draws a bar for each layer where somebody looks
    (a terminal, a notebook); False is silence, a function is called with each event (registry/events.py).
    Raises InvalidReference, ImageNotFound, Unauthorized, RateLimited, Unreachable, DigestMismatch.
    """
    _enter_own_namespaces()
    from labrt.engine.images import Images
    from labrt.image.platform import Platform

    wanted = Platform.parse(platform) if platform else None
    with _listener(progress) as listener:
        return Images().pull(reference, platform=wanted, on_event=listener)


if TYPE_CHECKING:

    @overload
    def run(image: str, *command: str, detach: Literal[True], **options: Any) -> Container: ...
    @overload
    def run(image: str, *command: str, detach: Literal[False] = False, **options: Any) -> Result: ...


def run(
    image: str,
    *command: str,
    detach: bool = False,
    input: str | bytes | None = None,
    progress: Callable[[object], None] | bool = True,
    **options: Any,
) -> Result | Container:
    """Run a command in a new container made from an image, and return a Result when it has ended.

    `options` are those of `docker run`, as Python spells them: name, env=["A=1"], workdir, user, hostname, read_only,
    volumes=["/srv:/data:ro", "name:/kept"], memory="64m", cpus=0.5, cap_add=["NET_ADMIN"], tmpfs=["/run:size=64m"],
    network="bridge", publish=["8080:80"], init=True, tty, remove=True, and some 70 more. options/model.py lists them
    all, and what the kernel makes of each. `input` goes to the command's standard input.

    With `detach` it returns a Container that runs; its `remove` is then False unless you say otherwise.
    Raises CommandNotFound and CommandNotExecutable; a command that fails does not raise, it has an `exit_code`.
    """
    _enter_own_namespaces()
    from labrt.engine.containers import Containers
    from labrt.engine.options import Options

    options.setdefault("remove", not detach)
    if input is not None:
        options["interactive"] = True
    wanted = Options(image=image, command=tuple(command), **options)
    with _listener(progress) as listener:
        container = Containers().create(wanted, on_event=listener)
    if detach:
        return _start(container)
    return container.run_to_end(input.encode() if isinstance(input, str) else input)


def _enter_own_namespaces() -> None:
    """Go where an ordinary user's images and containers are: from here on this process is root in there."""
    import os

    if os.geteuid() != 0:
        from labrt.runtime import rootless

        rootless.enter()


def _start(container: Container) -> Container:
    try:
        container.start()
    except BaseException:
        container.remove(force=True)
        raise
    return container


def _listener(progress: Callable[[object], None] | bool) -> Any:
    import contextlib
    import sys

    if callable(progress):
        return contextlib.nullcontext(progress)
    # A script's output is not to be drawn into: bars are for eyes.
    if progress and (sys.stderr.isatty() or "ipykernel" in sys.modules):
        from labrt.engine.progress import bars

        return bars()
    return contextlib.nullcontext(None)


def __getattr__(name: str) -> Any:
    import importlib

    places = {"Container": "container", "Containers": "containers", "Images": "images", "Result": "results"}
    if name in places:
        return getattr(importlib.import_module(f"labrt.engine.{places[name]}"), name)
    raise AttributeError(f"labrt.engine has no {name!r}")
