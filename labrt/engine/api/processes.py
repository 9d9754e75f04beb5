"""GET /containers/{id}/top: the processes of a container, in ps's words.

Without arguments they come from the engine; with others ps(1) of the host is asked, for its columns are without number.
"""

from __future__ import annotations

import shlex
import time
from typing import Any

from labrt.engine.container import Container
from labrt.errors import InvalidInput, LabrtError, NotSupported

TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")


def table(container: Container, arguments: str) -> dict[str, Any]:
    """Return titles and rows."""
    if arguments.strip() in ("", "-ef"):
        return {"Titles": [*TITLES], "Processes": [_row(process) for process in container.top()]}
    return _ps(container, arguments)


def _row(process: Any) -> list[str]:
    minutes, seconds = divmod(int(process.cpu), 60)
    today = time.time() - process.started < 86400
    began = time.strftime("%H:%M" if today else "%b%d", time.localtime(process.started))
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    return [process.user, str(process.pid), str(process.ppid), str(process.share), began, process.tty, clock,
            process.command]  # fmt: skip


def _ps(container: Container, arguments: str) -> dict[str, Any]:
    """Ask ps for all processes, and keep the container's: its arguments may choose, but not others'."""
    import subprocess

    from labrt.engine.top import pids

    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise InvalidInput(f"ps {arguments!r:.100}: {error}") from None
    try:
        done = subprocess.run(["ps", *words], capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        remedy = "install procps, or leave its options out"
        raise NotSupported("there is no ps(1) on this machine", remedy=remedy) from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise LabrtError(f"ps: {done.stderr.strip()[:300]}")
    titles, ours = lines[0].split(), set(map(str, pids(container)))
    if "PID" not in titles:
        raise LabrtError("Couldn't find PID field in ps output")
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    place = titles.index("PID")
    return {"Titles": titles, "Processes": [row for row in rows if len(row) > place and row[place] in ours]}
