"""What a learner has done, kept in their home: attempts, what passed, and the very functions that did.

    lab.progress()                      a table of all exercises
    lab.progress.load("01")             the record of one
    lab.progress.learned("01")          the learner's own function, made anew of the source that passed; None: not yet

One JSON file per exercise in ~/.local/share/labrt/progress ($XDG_DATA_HOME; with LABRT_ROOT, in there), so that it
outlives a kernel, a new release and a machine that is provisioned anew. Written under another name, then renamed: a
file is never half. With a function go the names that it uses: imports, constants, and other functions of the notebook.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import os
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from labrt import paths
from labrt.errors import NotFound
from labrt.image import files
from labrt.lab import show
from labrt.lab.show import Picture


@dataclass
class Record:
    """What is known of one exercise. `told` counts how often each first hint was given; times are in epoch seconds."""

    number: str
    attempts: int = 0
    passed_at: float | None = None
    told: dict[str, int] = field(default_factory=dict)
    last: str = ""  # the source that was tried last
    source: str = ""  # the source that passed, with all that it needs
    function: str = ""  # the name in it
    guesses: dict[str, str] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)  # what was asked of this learner alone: given.py
    literals: list[Any] = field(default_factory=list)  # numbers and texts that attempts had in them, in order
    solution_at: float | None = None  # when the solution was shown first

    @property
    def hints(self) -> int:
        """How many hints were shown; who is told a third time has seen three."""
        return sum(min(times, 3) for times in self.told.values())

    @property
    def passed(self) -> bool:
        """Whether it ever passed."""
        return self.passed_at is not None


def load(number: str) -> Record:
    """Read the record of an exercise; a new one where there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError), open(_file(number), encoding="utf-8") as stream:
        return Record(**json.load(stream))
    return Record(number)


def save(record: Record) -> None:
    """Keep a record."""
    file = _file(record.number)
    os.makedirs(os.path.dirname(file), 0o700, exist_ok=True)
    files.replace(file, json.dumps(asdict(record), indent=1).encode())


def forget(number: str) -> bool:
    """Remove the record of an exercise. False when there was none."""
    try:
        os.unlink(_file(number))
    except FileNotFoundError:
        return False
    return True


def _file(number: str) -> str:
    if not number.replace("-", "").replace("_", "").isalnum():
        raise NotFound(f"{number!r} is no exercise", remedy='they are called "00" to "21"')
    return os.path.join(paths.progress(), f"{number}.json")


def progress() -> Picture:
    """Show how far this learner has come: every exercise, whether it passed, and after how many attempts."""
    from labrt.lab.exercise import EXERCISES

    rows, done = [], 0
    for number, exercise in sorted(EXERCISES.items()):
        record = load(number)
        done += record.passed
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.passed_at)) if record.passed_at else ""
        state = "ok" if record.passed else "tried" if record.attempts else ""
        rows.append((number, exercise.name, exercise.about, state, record.attempts or "", when))
    caption = f"{done} of {len(rows)} exercises passed; kept in {paths.progress()}"
    return show.table(["", "exercise", "what it is about", "", "attempts", "passed"], rows, caption=caption)


# A function, kept -----------------------------------------------------------------------------------------------------


def source_of(function: object) -> str:
    """Return the source of a function as it was typed; nothing where it cannot be found (and of other things)."""
    if not isinstance(function, FunctionType):
        return ""
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return ""


MOST_LITERALS = 500


def literals_of(source: str) -> list[Any]:
    """Name the numbers and texts that stand in a piece of Python, each once."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    values = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return list(dict.fromkeys(value for value in values if type(value) in (int, str) and len(str(value)) < 100))


def source_with_needs(function: object) -> str:
    """Return the source of a function together with all of the notebook's that it uses, to be run elsewhere."""
    pieces: dict[str, str] = {}
    if isinstance(function, FunctionType):
        _collect(function.__name__, function, pieces)
    return "\n".join(pieces.values())


def _collect(name: str, value: Any, pieces: dict[str, str]) -> None:
    """Add what makes `value` under `name`, after all that it needs itself."""
    if name in pieces:
        return
    module = getattr(value, "__module__", None)
    if isinstance(value, ModuleType):
        pieces[name] = f"import {value.__name__} as {name}\n"
    elif isinstance(value, FunctionType) and module == "__main__":
        pieces[name] = ""  # it may use itself
        for used in sorted(_names(value.__code__)):
            if used in value.__globals__:
                _collect(used, value.__globals__[used], pieces)
        pieces[name] = pieces.pop(name) + source_of(value)
    elif isinstance(module, str) and module != "__main__" and hasattr(value, "__qualname__"):
        pieces[name] = f"from {module} import {value.__qualname__.split('.')[0]} as {name}\n"
    elif isinstance(value, str | int | float | bytes | bool | tuple | list | dict) or value is None:
        pieces[name] = f"{name} = {value!r}\n"


def _names(code: Any) -> set[str]:
    """Name all globals that a piece of code may use, those of functions within it included."""
    inner = (_names(constant) for constant in code.co_consts if hasattr(constant, "co_names"))
    return set(code.co_names).union(*inner)


def learned(number: str) -> Callable[..., Any] | None:
    """Make the learner's own function anew, of the source that passed its check. None when it has not passed yet."""
    record = load(number)
    if not record.source:
        return None
    import linecache

    # Known to linecache, so that a traceback and lab.source show its lines.
    name = f"<what you wrote for {number}>"
    linecache.cache[name] = (len(record.source), None, record.source.splitlines(keepends=True), name)
    scope: dict[str, Any] = {"__name__": f"learned_{number}"}
    exec(compile(record.source, name, "exec"), scope)
    return scope.get(record.function)
