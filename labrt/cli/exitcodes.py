"""From exceptions to exit codes, and to one line on standard error.

    125         labrt itself could not: wrong usage, or whatever kept `run` and `create` from getting to the program
    126, 127    the program could not be executed; was not found
    128 + n     ended by signal n: Ctrl-C is 130, a reader that went away (`| head -1`) is 141
    1           another command failed
    otherwise   the program's own

`of` decides the one and `message` the other; nothing else in labrt does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from labrt.errors import CommandNotExecutable, CommandNotFound, InvalidInput, LabrtError

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

OWN, NOT_EXECUTABLE, NOT_FOUND, FAILED = 125, 126, 127, 1


class Terminated(BaseException):
    """A signal that would have ended us. Raised by its handler, so that everything under way is tidied up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class NoTerminal(InvalidInput):
    """`-it` without a terminal to type at. Docker's exit code for this is 1, also in `run`."""


def of(error: Any, command: str) -> int:
    """Return the exit code for what ended `command`."""
    if _is_clicks(error, "UsageError"):
        return OWN
    if _is_clicks(error, "Abort"):
        return of_signal(signal.SIGINT)
    known: list[tuple[type[BaseException], int]] = [
        (CommandNotFound, NOT_FOUND),
        (CommandNotExecutable, NOT_EXECUTABLE),
        (NoTerminal, FAILED),
        (LabrtError, OWN if command in ("run", "create") else FAILED),
        (KeyboardInterrupt, of_signal(signal.SIGINT)),
        (BrokenPipeError, of_signal(signal.SIGPIPE)),
        (BaseException, OWN if command in ("run", "create") else FAILED),
    ]
    if _is_clicks(error, "Exit"):
        return int(error.exit_code)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, Terminated):
        return of_signal(error.number)
    return next(code for kind, code in known if isinstance(error, kind))


def _is_clicks(error: BaseException, name: str) -> bool:
    """Whether it is this exception of click's; before anybody has imported click, it is not."""
    click = sys.modules.get("click.exceptions")
    return click is not None and isinstance(error, getattr(click, name))


def of_signal(number: int) -> int:
    """Return the exit code of what a signal ended, as a shell gives it."""
    return 128 + number


def report(error: Any, command: str) -> int:
    """Say what went wrong, in one line, and return the exit code."""
    if isinstance(error, BrokenPipeError) and not isinstance(error, LabrtError):
        # Whoever read our output has enough. Python would complain about what it cannot flush.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    text = message(error)
    if text:
        say(text)
    if _is_clicks(error, "UsageError") and error.ctx:
        print(error.ctx.get_usage(), file=sys.stderr)
    if os.environ.get("LABRT_DEBUG") and text:
        import traceback

        traceback.print_exception(error)
    return of(error, command)


def message(error: Any) -> str:
    """Return what to print for an error: one line, with what to do about it. "" for those that speak for themselves."""
    if _is_clicks(error, "UsageError"):
        path = error.ctx.command_path if error.ctx else "labrt"
        return f"{error.format_message().rstrip('.')} (`{path} --help` shows how)"
    if isinstance(error, LabrtError):
        return str(error)
    if _is_clicks(error, "ClickException"):
        return str(error.format_message())
    spoken = _is_clicks(error, "Exit") or _is_clicks(error, "Abort") or isinstance(error, BrokenPipeError)
    if spoken or not isinstance(error, Exception):
        return ""
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return f"a mistake in labrt: {type(error).__name__}: {error} (LABRT_DEBUG=1 shows where)"


def say(what: object) -> None:
    """Print one line on standard error, as all of labrt's own messages are printed."""
    line = " ".join(str(what).split())
    with contextlib.suppress(OSError, AttributeError):  # nobody hears: not a reason to end otherwise
        print(f"labrt: {line}", file=sys.stderr, flush=True)
