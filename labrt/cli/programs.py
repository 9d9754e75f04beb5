"""What `run`, `create` and `exec` do with what was typed: programs in containers, in the foreground or not.

    run     with -d          print the container's id, and leave it running
            without          output comes here, to stdout and stderr apart; with -t through a terminal of its own
            -i               what is typed or piped goes in; the end of the pipe is the end of its input
    exec    the same, in a container that runs already

commands/ has their words and their help. See foreground.py for how they end. click is not needed here: typed.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from labrt.cli import foreground
from labrt.engine import keys
from labrt.engine.containers import Containers
from labrt.errors import Conflict, InvalidInput

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, TextIO

    from labrt.engine.containers import Container
    from labrt.runtime.container import Container as Runtime


def create(
    image: str, words: tuple[str, ...], *, cidfile: str | None = None, quiet: bool = False,
    network: tuple[str, ...] = (), **how: Any,
) -> Container:  # fmt: skip
    """Create a container from what was given on the command line, and say on stderr what is pulled for it."""
    from labrt.cli.pulling import Pulling
    from labrt.engine.options import Options

    size = foreground.terminal_size() if how["tty"] else None
    if network:
        how |= {"network": network[0], "further_networks": network[1:]}
    wanted = Options(image, words, console_size=size, **how)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_cidfile(cidfile)) if cidfile else None
        heard = None if quiet else stack.enter_context(Pulling(sys.stderr, announce=wanted.pull != "always"))
        container = Containers().create(wanted, on_event=heard)
        if file is not None:
            file.write(container.id)
    return container


@contextlib.contextmanager
def _cidfile(path: str) -> Iterator[TextIO]:
    """Make a file for the id, before there is any container; it goes again when none comes of it."""
    try:
        file = open(path, "x")  # noqa: SIM115
    except FileExistsError:
        remedy = "an older container's? remove it, or choose another name"
        raise Conflict(f"--cidfile {path} is there already", remedy=remedy) from None
    except OSError as error:
        raise InvalidInput(f"--cidfile {path}: {error.strerror}", remedy="choose another place") from None
    try:
        with file:
            yield file
    except BaseException:
        os.unlink(path)
        raise


def run(*, detach: bool, detach_keys: str, sig_proxy: bool, attach: tuple[str, ...], **how: Any) -> int:
    """Be `labrt run`; return its exit code."""
    if detach and attach:
        raise InvalidInput("--attach and --detach contradict each other", remedy="choose one")
    if detach:
        return _in_background(create(**how))
    manners = foreground.Manners(keys.parse(detach_keys), sig_proxy, _shown(attach))
    stdin = how["interactive"] and (not attach or "stdin" in attach)
    foreground.require_terminal(stdin, how["tty"])
    container = create(**how)
    return foreground.run(container, remove=how["remove"], interactive=stdin, tty=how["tty"], manners=manners)


def _shown(attach: tuple[str, ...]) -> list[int]:
    """Return the output streams that are meant; a terminal has only the first of them."""
    return [number for number, name in ((1, "stdout"), (2, "stderr")) if not attach or name in attach]


def _in_background(container: Container) -> int:
    try:
        container.start()
    except BaseException:
        if container.record_or_none("remove"):
            foreground.discard(container)
        raise
    print(container.id)
    return 0


def execute(
    *, name: str, words: tuple[str, ...], detach: bool, detach_keys: str, privileged: bool, env: tuple[str, ...],
    env_file: tuple[str, ...], workdir: str | None, user: str | None, interactive: bool, tty: bool,
) -> int:  # fmt: skip
    """Be `labrt exec`; return its exit code."""
    how: dict[str, Any] = {"env": _environment(env, env_file, tty), "cwd": workdir, "user": user or ""}
    how |= {"privileged": True} if privileged else {}
    found = Containers().get(name)
    if found.status != "running":
        if found.status == "paused":
            raise Conflict(f"container {name} is paused", remedy=f"`labrt unpause {name}` lets it go on")
        raise Conflict(f"container {name} is not running", remedy=f"`labrt start {name}` starts it")
    container = found.runtime
    if detach:
        return _joined_in_background(container, words, how)
    foreground.require_terminal(interactive, tty)
    if tty:
        execution = container.exec(words, console_size=foreground.terminal_size(), **how)
        return foreground.converse(execution, interactive=interactive, keys=keys.parse(detach_keys))
    from labrt.engine import execs

    return execs.pump(container, words, (_writer(1), _writer(2)), stdin=0 if interactive else None, **how)


def _environment(given: tuple[str, ...], files: tuple[str, ...], tty: bool) -> list[str]:
    """NAME=VALUE as it is, NAME with our own value, or not at all; those of files first, that others win over them."""
    if files:
        from labrt.engine.options import records

        given = (*records.env_files(files), *given)
    own = [entry if "=" in entry else f"{entry}={os.environ[entry]}" for entry in given if _known(entry)]
    return [*(["TERM=xterm"] if tty else []), *own]


def _known(entry: str) -> bool:
    return "=" in entry or entry in os.environ


def _writer(fd: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    return write


def _joined_in_background(container: Runtime, words: tuple[str, ...], how: dict[str, Any]) -> int:
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        container.exec(words, stdio=(nothing, nothing, nothing), **how).close()
    finally:
        os.close(nothing)
    return 0
