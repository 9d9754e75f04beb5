"""The log of events: what happened to containers, images and volumes, in the shape of Docker's Engine API.

    append(where.events, "container", "start", id, {"image": "busybox", "name": "nap"})

One JSON object a line, in one file that everybody appends to who changes something: the command line, a notebook, each
container's monitor. One write(2) with O_APPEND lands at the end whole, whoever else writes; a kill in its midst may
leave half a line, which the next writer ends and readers skip. When the file is LARGEST it becomes events.1.jsonl, in
place of an older one. A lock keeps two from doing that at once. See open(2), flock(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping

LARGEST = 4 << 20  # bytes


def append(path: str, kind: str, action: str, id: str, attributes: Mapping[str, str] | None = None) -> None:
    """Note that something has happened, now. It is no reason to fail when it cannot be noted (a full disk)."""
    now = time.time_ns()
    actor = {"ID": id, "Attributes": dict(attributes or {})}
    event = {"Type": kind, "Action": action, "Actor": actor, "scope": "local",
             "time": now // 1_000_000_000, "timeNano": now}  # fmt: skip
    with contextlib.suppress(OSError):
        _append(path, json.dumps(event, ensure_ascii=False).encode(errors="replace") + b"\n")


def older(path: str) -> str:
    """Name the file of older events."""
    root, extension = os.path.splitext(path)
    return f"{root}.1{extension}"


def _append(path: str, line: bytes) -> None:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            if not _is_at(fd, path):  # it was moved away while we waited for the lock
                continue
            if size >= LARGEST:
                os.rename(path, older(path))
                continue
            begun = size > 0 and os.pread(fd, 1, size - 1) != b"\n"  # by one who was killed in the midst
            os.write(fd, b"\n" + line if begun else line)
            return
        finally:
            os.close(fd)


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
