"""The commands of `labrt-oci`: which there are, and what their end means.

Exit codes are runc's: 0; the program's own for `run` and `exec` in the foreground; 255 when `exec` could not; else 1.
"""

from __future__ import annotations

import importlib
import os
import sys

from labrt.cli.oci import usage
from labrt.cli.oci.arguments import Usage, parse
from labrt.cli.oci.log import Log
from labrt.errors import LabrtError

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


    Values = dict[str, Any]
    Command = Callable[[Values, Values, list[str], Log], int]


def main(arguments: list[str]) -> int:
    """Do what the arguments say; return the exit code."""
    log, command = Log(), ""
    try:
        options, words = parse(usage.global_options(), arguments)
        if options["log_format"] not in ("text", "json"):
            raise Usage(f"unknown log-format {options['log_format']!r}: text or json")
        log = Log(options["log"], options["log_format"])
        if options["version"]:
            return _version()
        if options["help"] or not words or words[0] in ("help", "h"):
            print(usage.of_command(words[1]) if words[1:] and words[1] in usage.COMMANDS else usage.of_program())
            return 0
        command = words[0]
        return _call(command, options, words[1:], log)
    except (Usage, LabrtError, OSError) as error:
        if os.environ.get("LABRT_DEBUG"):
            import traceback

            traceback.print_exc()
        log.error(f"exec failed: {_text(error)}" if command == "exec" else _text(error))
        return 255 if command == "exec" else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1]
        log.error(f"a mistake in labrt: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        return 255 if command == "exec" else 1


def _call(command: str, options: Values, words: list[str], log: Log) -> int:
    if command not in COMMANDS:
        raise Usage(f"there is no command {command!r}: labrt-oci --help lists them")
    values, left = parse(usage.options_of(command), words, mixed=command not in ("exec", "ps"))
    if values["help"]:
        print(usage.of_command(command))
        return 0
    file, function, least, most = COMMANDS[command]
    if not least <= len(left) <= most:
        raise Usage(f'"labrt-oci {command}" wants: {usage.COMMANDS[command][0] or "no argument"}; it got {left}')
    if not options["root"]:
        from labrt.runtime.oci import record

        options["root"] = record.default_root()
    options["root"] = os.path.abspath(options["root"])
    what: Command = getattr(importlib.import_module(f"labrt.cli.oci.{file}"), function)
    return what(options, values, left, log)


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, LabrtError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return str(error)


def _version() -> int:
    import labrt
    from labrt.runtime import config

    print(f"labrt-oci version {labrt.__version__}\nspec: {config.OCI_VERSION}")
    return 0


# name: (its file, its function, fewest and most words after the options). A file is read when it is called for.
COMMANDS: dict[str, tuple[str, str, int, int]] = {
    "create": ("making", "create", 1, 1),
    "run": ("making", "run", 1, 1),
    "exec": ("making", "exec_", 1, sys.maxsize),
    "start": ("steering", "start", 1, 1),
    "kill": ("steering", "kill", 1, 2),
    "delete": ("steering", "delete", 1, 1),
    "pause": ("steering", "pause", 1, 1),
    "resume": ("steering", "resume", 1, 1),
    "update": ("steering", "update", 1, 1),
    "state": ("looking", "state", 1, 1),
    "list": ("looking", "list_", 0, 0),
    "ps": ("looking", "ps", 1, sys.maxsize),
    "spec": ("looking", "spec", 0, 0),
    "features": ("looking", "features", 0, 0),
    "events": ("looking", "events", 1, 1),
}
