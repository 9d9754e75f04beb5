"""Where the command line begins: `labrt …` and `python -m labrt …` call `main`.

The order here is that of what takes longest. A command that starts a program needs a launcher (runtime/launcher.py), a
second Python that comes up by itself while this one reads the command and the engine. So it is begun first.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings

from labrt.cli import streams

STARTERS = ("run", "start", "exec")
PLAIN = {"run": ("RUN", "image", "run"), "exec": ("EXEC", "name", "execute")}  # their options, argument, function
OUTSIDERS = ("doctor", "lab", "login", "logout", "completion")  # these want nothing of a user's namespaces

TYPE_CHECKING = False  # as in syscalls.py: typing can wait, the launcher cannot
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn


def script() -> NoReturn:
    """Be the program `labrt`: do what this process's command line asks, and end with its exit code."""
    gc.set_threshold(50_000)  # to import makes many objects and no garbage: not to look for any saves some ms
    warnings.showwarning = _say_warning
    code = main()
    import contextlib  # by now read by others

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)  # what Python does before it ends, module by module, nobody needs: it takes 10 ms


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks, and return its exit code. `arguments` None: those of this process."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        streams.open_standard()
        if os.geteuid() != 0:
            _enter_own_namespaces(arguments)
        if arguments and arguments[0] in STARTERS and "--help" not in arguments and "_LABRT_COMPLETE" not in os.environ:
            from labrt.runtime import launcher

            launcher.default()
        from labrt.cli import signals

        signals.end_by_exception()
        code = _do(arguments)
        sys.stdout.flush()
        return code
    except BaseException as error:
        from labrt.cli import exitcodes

        return exitcodes.report(error, arguments[0] if arguments else "")


def _do(arguments: Sequence[str]) -> int:
    """Do at once what is typed plainly, and let click read all else: typed.py says why."""
    command = arguments[0] if arguments else ""
    if command in PLAIN and "_LABRT_COMPLETE" not in os.environ:
        from labrt.cli import container_options, typed

        options, place, work = PLAIN[command]
        given = typed.read(getattr(container_options, options), (place,), arguments[1:])
        if given and (given["words"] or command == "run"):
            from labrt.cli import programs

            code: int = getattr(programs, work)(**given)
            return code
    from labrt.cli import group

    return group.call(arguments)


def _enter_own_namespaces(arguments: Sequence[str]) -> None:
    """Go where an ordinary user's images and containers are. Help, and what completes a word, needs none of them."""
    if not arguments or arguments[0][:1] == "-" or arguments[0] in OUTSIDERS:
        return
    if "--help" in arguments or "_LABRT_COMPLETE" in os.environ:
        return
    from labrt.runtime import rootless

    rootless.enter()


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    from labrt.cli import exitcodes

    exitcodes.say(f"warning: {message}")
