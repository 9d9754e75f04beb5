"""A machine, as its /proc and /sys tell of it.

The root is passed in: "/" is this machine, and a directory with recorded files (proc/sys/kernel/osrelease, …) is
another one. So every question the doctor asks of the kernel can be asked of a machine that is not here.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Host(NamedTuple):
    """Where a machine's /proc and /sys lie. `Host()` is the machine we are on."""

    root: str = "/"

    def path(self, name: str) -> str:
        """Return where `name`, an absolute path on that machine, lies here."""
        return os.path.join(self.root, name.lstrip("/"))

    def read(self, name: str) -> str | None:
        """Return a file's text without its last newline, or None when it is absent or may not be read."""
        try:
            with open(self.path(name), errors="replace") as stream:
                return stream.read().rstrip("\n")
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """Return the number a file begins with, or None when it is absent or holds none."""
        words = (self.read(name) or "").split()
        return int(words[0]) if words and words[0].isdecimal() else None

    def names(self, name: str) -> set[str]:
        """Return what a directory holds; nothing when it is absent."""
        try:
            return set(os.listdir(self.path(name)))
        except OSError:
            return set()

    def fields(self, name: str) -> dict[str, str]:
        """Return the `Name:   value` lines of a file such as /proc/meminfo."""
        lines = (line.partition(":") for line in (self.read(name) or "").splitlines())
        return {key: value.strip() for key, _, value in lines}
