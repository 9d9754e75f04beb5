"""What the host has just now, as far as containers could have changed it; and what changed between two looks.

    before = lab.snapshot()
    with mounts.tmpfs(place): during = lab.snapshot()
    before.compare(during)          # a picture: one row per kind, with what is new and what is gone
    during - before                 # {"mounts": {"/tmp/demo"}, "ledger": {"mount /tmp/demo"}}

Everything is read from /proc, /sys and labrt's own directories at the moment of asking. See proc(5). Notebook 00.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from labrt import paths
from labrt.errors import LabrtError
from labrt.lab import show
from labrt.lab.show import Picture, Shown
from labrt.linux import cgroups, ledger, procfs
from labrt.linux.cgroups import systemd, tree

KINDS = ("mounts", "cgroups", "namespaces", "interfaces", "containers", "ledger")


@dataclass(frozen=True, repr=False)
class Snapshot(Shown, Mapping[str, frozenset[str]]):
    """What was there, by kind: mounts, cgroups (labrt's), namespaces, network interfaces, containers, ledger."""

    things: Mapping[str, frozenset[str]]

    def __getitem__(self, kind: str) -> frozenset[str]:
        return self.things[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self.things)

    def __len__(self) -> int:
        return len(self.things)

    def __sub__(self, other: Snapshot) -> dict[str, frozenset[str]]:
        """What is here and was not there, by kind; kinds without anything are left out."""
        return {kind: new for kind in self if (new := self[kind] - other.get(kind, frozenset()))}

    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {kind: len(found) for kind, found in self.things.items()}

    def compare(self, later: Snapshot, *, caption: str = "The host") -> Picture:
        """Draw what became of the host between this snapshot and a later one."""
        rows = []
        for kind in self:
            came, went = sorted(later[kind] - self[kind]), sorted(self[kind] - later[kind])
            words = [f"+ {show.short_ids(name)}" for name in came] + [f"− {show.short_ids(name)}" for name in went]
            shown = ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")
            rows.append((kind, len(self[kind]), len(later[kind]), shown or "the same"))
        return show.table(["", "before", "after", "what changed"], rows, caption=caption)

    def __repr__(self) -> str:
        return f"<Snapshot: {', '.join(f'{count} {kind}' for kind, count in self.counts().items())}>"

    def picture(self) -> Picture:
        """Draw it."""
        return show.table(["on this host", "how many"], self.counts().items())


def snapshot(where: paths.Paths | None = None) -> Snapshot:
    """Look at the host. `where` None means this user's places, for the ledger and the containers."""
    where = where or paths.default()
    return Snapshot(
        {
            "mounts": frozenset(mount.mount_point for mount in procfs.mountinfo()),
            "cgroups": frozenset(_cgroups()),
            "namespaces": frozenset(_namespaces()),
            "interfaces": frozenset(_names("/sys/class/net")),
            "containers": frozenset(name[:12] for name in _names(where.containers) if not name.startswith(".")),
            "ledger": frozenset(f"{entry.kind} {entry.what}" for entry in ledger.entries(where.ledger)),
        }
    )


def _names(directory: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(directory)
    return []


def _cgroups() -> Iterator[str]:
    """Every cgroup below labrt's parents, its own and systemd's slice; once, though on v1 it is in several trees."""
    for parent in (cgroups.PARENT, f"/{systemd.SLICE}"):
        with contextlib.suppress(LabrtError):
            for one in cgroups.load(parent, parent="/").paths.values():
                top = os.path.dirname(one.rstrip("/"))
                yield from (path.removeprefix(top) for path in tree.below(one))


def _namespaces() -> Iterator[str]:
    """Every namespace that a process is in, as `pid:[4026531836]`, as far as we may look."""
    for pid in filter(str.isdecimal, _names("/proc")):
        for kind in _names(f"/proc/{pid}/ns"):
            if not kind.endswith("_for_children"):
                with contextlib.suppress(OSError):
                    yield os.readlink(f"/proc/{pid}/ns/{kind}")
