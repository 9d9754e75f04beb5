"""A container in the foreground: `run`, `start -a`, `attach`.

What happens at the other ends of the road:
    its output is read by nobody any more (`| head -1`)   it goes on; 141, as if SIGPIPE had ended us
    Ctrl-P Ctrl-Q                                         it goes on; 0
    the third Ctrl-C (or SIGTERM) that it does not heed   it goes on, and we say how to end it; 128 + signal
    we are killed                                         it goes on
Whenever it goes on without us, its monitor removes it at its end, if `--rm`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection

from labrt.cli import exitcodes
from labrt.cli.remote import Attached, Console
from labrt.cli.session import DETACH_KEYS, Outcome, Session
from labrt.errors import ContainerNotFound, LabrtError
from labrt.linux import pty
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from labrt.engine.containers import Container
    from labrt.runtime.container import Execution

STDIN = 0


def require_terminal(interactive: bool, tty: bool) -> None:
    """Refuse `-it` when what would be typed comes from no terminal. Raises NoTerminal."""
    if interactive and tty and not os.isatty(STDIN):
        raise exitcodes.NoTerminal("the input device is not a TTY", remedy="use -i without -t for a pipe or a file")


def terminal_size() -> tuple[int, int] | None:
    """Return rows and columns of the terminal that we write to, or else read from; None when there is none."""
    for fd in (1, 0, 2):
        if os.isatty(fd):
            with contextlib.suppress(LabrtError):
                rows, columns = pty.get_size(fd)
                return (rows, columns) if rows and columns else None
    return None


class Manners(Record):
    """How one is attached: the keys that leave, whether signals are passed on, which outputs are shown."""

    keys: bytes = DETACH_KEYS
    proxy: bool = True
    shown: Collection[int] = (1, 2)


def run(
    container: Container, *, remove: bool, interactive: bool, tty: bool, manners: Manners | None = None
) -> int:
    """Start a container that was just created, and follow it to its end. With `remove` nothing is left of it then."""
    try:
        code, outcome = follow(container, stdin=interactive, tty=tty, start=True, manners=manners)
    except BaseException:  # Ctrl-C, too; but one that runs goes on without us
        with contextlib.suppress(ContainerNotFound):
            if remove and not container.state.started:
                discard(container)
        raise
    if remove and outcome is Outcome.ENDED:
        discard(container)
    return code


def discard(container: Container) -> None:
    """Remove it, unless its monitor was faster."""
    with contextlib.suppress(ContainerNotFound):
        container.remove(force=True)


def follow(
    container: Container, *, stdin: bool, tty: bool, start: bool, manners: Manners | None = None
) -> tuple[int, Outcome]:
    """Be attached until the end, or until we leave. Returns the exit code for our caller, and how it came to it.

    `start`: its program is still to be started. Raises CommandNotFound and the like when it cannot be.
    """
    manners = manners or Manners()
    raw = stdin and tty and os.isatty(STDIN)
    joined = container.launch(stdin=stdin) if start else container.attach(stdin=stdin)
    with joined as attached, contextlib.closing(Attached(attached, starting=start)) as remote:
        session = Session(
            remote,
            stdin=STDIN if stdin else None,
            raw=raw,
            forward=None if raw or not manners.proxy else container.kill,
            size=terminal_size if tty else None,
            keys=manners.keys,
            shown=manners.shown,
        )
        outcome = session.run()
        attached.raise_failure()
    if outcome is Outcome.ENDED:
        code = attached.exit_code if attached.exit_code is not None else container.wait()
        return (255 if code is None else code), outcome
    return _left(outcome, _name(container), session.last_signal), outcome


def _name(container: Container) -> str:
    try:
        return container.name
    except ContainerNotFound:  # it has just removed itself
        return container.id[:12]


def _left(outcome: Outcome, name: str, number: int) -> int:
    if outcome is Outcome.DETACHED:
        print("read escape sequence", file=sys.stderr)
        return 0
    if outcome is Outcome.UNREAD:
        return exitcodes.of_signal(signal.SIGPIPE)
    exitcodes.say(f"left after three signals; {name} goes on (`labrt rm -f {name}` ends it)")
    return exitcodes.of_signal(number)


def converse(execution: Execution, *, interactive: bool, keys: bytes = DETACH_KEYS) -> int:
    """Be at the terminal of an `exec` until its program's end. Returns its exit code."""
    with contextlib.closing(execution), contextlib.closing(Console(execution)) as console:
        raw = interactive and os.isatty(STDIN)
        session = Session(console, stdin=STDIN if interactive else None, raw=raw, size=terminal_size, keys=keys)
        outcome = session.run()
        if outcome is not Outcome.ENDED:
            return _left(outcome, "it", signal.SIGINT)
        code = execution.wait()
    return 255 if code is None else code
