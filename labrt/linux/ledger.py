"""The ledger: what labrt has made in the kernel and has not yet taken down.

Every mount, cgroup, process and directory is written here *before* it is made, and struck out after it is gone.
Whatever is killed in between, the ledger still names what may be left, and `labrt.reset()` takes it down.

One entry is one small file in /run/labrt/ledger: creating a file is atomic and unlinking it too, so no lock and no
repair is needed, and several processes can write at once. /run is emptied at boot, and so are all kernel objects.

    with ledger.recorded("mount", "/mnt/demo", make=lambda: syscalls.mount(…), undo=lambda: syscalls.umount2(…)):
        …
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator

from labrt import paths
from labrt.shapes import Record

_count = itertools.count()


class Entry(Record):
    """One thing that may exist.

    `kind` is mount, cgroup, process, directory, container, loop or dm, or of networks bridge, nft or forwarding.
    `what` is its path, its pid, for a loop device the file, for all else its name.
    """

    kind: str
    what: str
    file: str
    made_by: int = 0
    since: float = 0.0
    detail: dict[str, str] = {}

    @property
    def owner_alive(self) -> bool:
        """Whether the process that wrote this entry still runs (its number may have gone to another since)."""
        return os.path.exists(f"/proc/{self.made_by}")


def record(kind: str, what: str, *, directory: str | None = None, **detail: str) -> Entry:
    """Write an entry before the thing is made. `directory` is another ledger's place, None means this user's."""
    directory = directory or paths.default().ledger
    now = time.time()
    name = f"{time.time_ns():020d}-{os.getpid()}-{next(_count)}-{kind}.json"
    entry = Entry(kind, what, os.path.join(directory, name), os.getpid(), now, detail)
    line = json.dumps({"kind": kind, "what": what, "made_by": entry.made_by, "since": now, "detail": detail})
    temporary = os.path.join(directory, f".{name}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        os.makedirs(directory, 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)
    os.rename(temporary, entry.file)  # a reader never sees half an entry
    return entry


def strike(entry: Entry) -> None:
    """Strike an entry out: the thing is gone. Harmless when somebody else (a reset) was faster."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(entry.file)


def strike_all(kind: str, what: str, *, directory: str | None = None) -> None:
    """Strike out every entry of one thing, whoever wrote it."""
    for entry in entries(directory):
        if (entry.kind, entry.what) == (kind, what):
            strike(entry)


def entries(directory: str | None = None) -> list[Entry]:
    """Read the ledger, oldest entry first."""
    directory = directory or paths.default().ledger
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            file = os.path.join(directory, name)
            if name.startswith("."):
                continue
            # Gone by now, or not one of ours: the lab's ledger shows the latter, here they must not be in the way.
            with contextlib.suppress(FileNotFoundError, ValueError, TypeError), open(file) as stream:
                found.append(Entry(file=file, **json.load(stream)))
    return found


@contextlib.contextmanager
def recorded(kind: str, what: str, make: Callable[[], object], undo: Callable[[], object]) -> Iterator[Entry]:
    """Record, make, run the block, undo, strike out. `make` makes all or nothing; a failed `undo` keeps the entry."""
    entry = record(kind, what)
    try:
        make()
    except BaseException:
        strike(entry)
        raise
    try:
        yield entry
    finally:
        undo()
        strike(entry)
