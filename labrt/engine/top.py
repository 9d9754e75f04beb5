"""The processes of a container, as the host sees them: in its cgroup, with the host's pids.

    for process in processes(container): …        uid, pid, ppid, …, cmd: what `ps -ef` shows
    ps(["-o", "pid,rss"], pids(container))        other columns: this machine's ps(1) is asked

All of it is in /proc, no program is run in the container: what its image has for a `ps` need not even be there, and
could not lie. See proc_pid_stat(5).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from labrt.errors import Conflict, InvalidInput, LabrtError, NotFound, NotSupported
from labrt.linux import cgroups, namespaces, procfs

if TYPE_CHECKING:
    from labrt.engine.container import Container

TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One process. `user` is a name of the host's, `started` seconds since the epoch, `cpu` seconds of CPU time."""

    user: str
    pid: int
    ppid: int
    share: int  # of one CPU since its start, in percent
    started: float
    tty: str
    cpu: float
    command: str

    def row(self) -> list[str]:
        """Write it as a line of ps, with TITLES above; the start is the date if it is more than a day ago."""
        today, seconds = time.time() - self.started < 86400, int(self.cpu)
        began = time.strftime("%H:%M" if today else "%b%d", time.localtime(self.started))
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return [self.user, str(self.pid), str(self.ppid), str(self.share), began, self.tty, clock, self.command]

    def __rich_repr__(self) -> Iterator[tuple[str, Any]]:
        yield "pid", self.pid
        yield "user", self.user
        yield "command", self.command


def processes(container: Container) -> list[Process]:
    """List them, by pid. Raises Conflict when it is not running."""
    found = []
    for pid in pids(container):
        with contextlib.suppress(NotFound):  # it has ended meanwhile
            found.append(_process(pid))
    return found


def pids(container: Container) -> list[int]:
    """Return the host's numbers of its processes. Raises Conflict when it is not running."""
    state = container.state
    if not (state.pid and state.alive):
        raise Conflict(f"container {container.name} is not running", remedy=f"`labrt start {container.name}`")
    if state.cgroup:
        with contextlib.suppress(NotFound, NotSupported):
            return cgroups.load(state.cgroup, parent="/").procs
    # Without a cgroup (an ordinary user to whom none is delegated), its PID namespace says who belongs to it.
    ours = namespaces.of(state.pid)["pid"]
    everybody = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    return [pid for pid in everybody if _is_in(pid, ours)]


def ps(options: Sequence[str], wanted: Collection[int]) -> tuple[str, list[str]]:
    """Run this machine's ps for all processes; return its head, and the lines of those that are wanted.

    Raises InvalidInput for what ps does not understand, and for columns without a PID.
    """
    import shutil
    import subprocess

    program = shutil.which("ps")
    if program is None:
        raise NotSupported("there is no ps on this machine", remedy="apt-get install procps; or give no options")
    done = subprocess.run([program, *options], capture_output=True, text=True, check=False, errors="replace")
    head, *lines = done.stdout.splitlines() or [""]
    columns = head.split()
    if done.returncode or "PID" not in columns:
        raise InvalidInput(f"ps {' '.join(options)}: {done.stderr.strip() or 'no column is called PID'}",
                           remedy="-ef, aux, or -o pid,…")  # fmt: skip
    column, pids = columns.index("PID"), {str(pid) for pid in wanted}
    return head, [line for line in lines if (fields := line.split())[column:] and fields[column] in pids]


def _is_in(pid: int, namespace: object) -> bool:
    try:
        return namespaces.of(pid)["pid"] == namespace
    except (LabrtError, OSError, KeyError):
        return False


def _process(pid: int) -> Process:
    fields = procfs.read(pid, "stat").rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    age = max(uptime - int(fields[19]) / TICKS, 0.0)
    line = _printable(procfs.read(pid, "cmdline").rstrip("\0").replace("\0", " "))
    uid = int(procfs.status(pid)["Uid"].split()[0])
    used = ticks / TICKS
    share = int(100 * used / age) if age >= 1 else 0
    command = line or f"[{_printable(procfs.stat(pid).comm)}]"
    return Process(_user(uid), pid, int(fields[1]), share, time.time() - age, _tty(int(fields[4])), used, command)


def _printable(text: str) -> str:
    """Replace what would move the cursor of who looks, as ps(1) does: a process chooses its own name."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _tty(number: int) -> str:
    major, minor = os.major(number), os.minor(number)
    if not number:
        return "?"
    # Unix 98 terminals, as /dev/pts has them, have majors 136 to 143, 256 each.
    return f"pts/{(major - 136) * 256 + minor}" if 136 <= major <= 143 else f"{major}:{minor}"
