"""Time namespaces: clocks of one's own that count from another moment. Not the time of day, which all share.

    enter_new({"boottime": (604800, 0)})    this process's uptime is now a week more

See time_namespaces(7), clock_gettime(2); notebook 05.
"""

from __future__ import annotations

import errno
import os

from labrt.errors import kernel_error
from labrt.linux import heldproc, syscalls
from labrt.linux.flags import CLONE

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Mapping


def enter_new(offsets: Mapping[str, tuple[int, int]], proc: int | None = None) -> None:
    """Make a time namespace, move its clocks, and enter it. `offsets`: seconds and nanoseconds, by clock.

    In three steps: unshare(2) makes it for our children only, for its clocks can be moved just until the first process
    is in it (a clone3 straight into a new one is too late); setns(2) then takes us in. Needs CAP_SYS_TIME for a clock,
    and a single thread. `proc` is of heldproc.hold; None: whatever is at /proc.
    """
    syscalls.unshare(CLONE.NEWTIME)
    held = heldproc.hold() if proc is None else proc
    try:
        for clock, (seconds, nanoseconds) in offsets.items():
            _move(held, f"{clock} {seconds} {nanoseconds}")
        links = heldproc.open_below(held, "self/ns", os.O_PATH | os.O_DIRECTORY)
    finally:
        if proc is None:
            os.close(held)
    try:
        namespace = os.open("time_for_children", os.O_RDONLY | os.O_CLOEXEC, dir_fd=links)
    finally:
        os.close(links)
    try:
        syscalls.setns(namespace, CLONE.NEWTIME)
    finally:
        os.close(namespace)


def _move(proc: int, line: str) -> None:
    fd = heldproc.open_below(proc, "self/timens_offsets", os.O_WRONLY)
    try:
        os.write(fd, line.encode())
    except OSError as error:
        remedy = "a clock may neither go below 0 nor some 146 years ahead" if error.errno == errno.ERANGE else ""
        raise kernel_error(f"write('/proc/self/timens_offsets', {line!r})", error.errno or 0, remedy=remedy) from error
    finally:
        os.close(fd)
