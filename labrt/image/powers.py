"""What this process may give to the files that it unpacks: owners, devices, and the attributes that are root's.

    powers = Powers.ours()
    powers.owner(0, 42)          (0, 42), or -1 in the place of an id that cannot be given

Root on the machine gives everything, an ordinary user nothing. Root of a user namespace is in between: it gives the ids
that exist in there, file capabilities, and no device. An id that does not exist is left to root, as if the archive had
said so, for what else could be done with it? But a set-user-ID program of somebody else must not become root's: see
`mode`. See user_namespaces(7), chown(2), mknod(2).
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

Ranges = tuple[tuple[int, int], ...]  # (first id, how many)
NO_ID = (1 << 32) - 1
ALL: Ranges = ((0, NO_ID),)


class Powers(NamedTuple):
    """Which uids and gids can be given; `devices`: device nodes and trusted.* attributes can be made, too."""

    uids: Ranges
    gids: Ranges
    devices: bool

    @classmethod
    def of(cls, as_root: bool) -> Powers:
        """Those of root on the machine, or those of an ordinary user."""
        return cls(ALL, ALL, True) if as_root else cls((), (), False)

    @classmethod
    def ours(cls, *, proc: str = "/proc") -> Powers:
        """Those of this process."""
        if os.geteuid() != 0:
            return cls.of(False)
        try:
            uids, gids = (_map(f"{proc}/self/{name}") for name in ("uid_map", "gid_map"))
        except OSError:
            return cls.of(True)
        if uids == [(0, 0, NO_ID)]:  # only in the first user namespace has every id its own number
            return cls.of(True)
        return cls(_inside(uids), _inside(gids), False)

    @property
    def root(self) -> bool:
        """Whether this is root of anything at all."""
        return bool(self.uids)

    def owner(self, uid: int, gid: int) -> tuple[int, int]:
        """Return what to give to chown(2): -1, which leaves it as it is, for an id that cannot be given."""
        return uid if _has(self.uids, uid) else -1, gid if _has(self.gids, gid) else -1

    def mode(self, mode: int, owner: tuple[int, int]) -> int:
        """Take from a mode the bits that would make a program run as an owner who is not the one that was meant."""
        if not self.root:
            return mode
        taken = (stat.S_ISUID if owner[0] == -1 else 0) | (stat.S_ISGID if owner[1] == -1 else 0)
        return mode & ~taken


def _map(path: str) -> list[tuple[int, int, int]]:
    with open(path) as file:
        lines = [line.split() for line in file]
    return [(int(inside), int(outside), int(size)) for inside, outside, size in lines]


def _inside(lines: list[tuple[int, int, int]]) -> Ranges:
    return tuple((inside, size) for inside, _, size in lines)


def _has(ranges: Ranges, id: int) -> bool:
    return any(0 <= id - first < size for first, size in ranges)
