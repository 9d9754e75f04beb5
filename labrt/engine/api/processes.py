"""GET /containers/{id}/top: the processes of a container, in ps's words. See engine/top.py."""

from __future__ import annotations

import shlex
from typing import Any

from labrt.engine import top
from labrt.engine.container import Container
from labrt.errors import InvalidInput, LabrtError


def table(container: Container, arguments: str) -> dict[str, Any]:
    """Return titles and rows. What ps does not understand is a LabrtError: clients expect a 500."""
    if arguments.strip() in ("", "-ef"):
        return {"Titles": [*top.TITLES], "Processes": [process.row() for process in container.top()]}
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise InvalidInput(f"ps {arguments!r:.100}: {error}") from None
    try:
        head, lines = top.ps(words, top.pids(container))
    except InvalidInput as error:
        raise LabrtError(error.message[:300]) from None
    titles = head.split()
    return {"Titles": titles, "Processes": [line.split(None, len(titles) - 1) for line in lines]}
