"""One process, seen from both sides: by the host, and by itself. The difference between the two is the container.

    lab.sides(container.state.pid)          a picture, and in a terminal a table

What it sees itself is asked by a child that enters its namespaces, as `nsenter` would. See namespaces(7), setns(2).
"""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from labrt.errors import NotFound
from labrt.lab import show
from labrt.lab.show import COLOURS, FAINT, Picture
from labrt.linux import namespaces, process, procfs

_SHORT = 34  # characters of a value in the picture


class Fact(NamedTuple):
    """One thing that both sides have an answer to."""

    what: str
    outside: str
    inside: str


def sides(pid: int) -> Picture:
    """Draw a process of this machine from both sides; `pid` is its number here. Raises NotFound when it is gone."""
    return draw(facts(pid), title=f"Process {pid}, from both sides")


def facts(pid: int) -> list[Fact]:
    """Ask /proc here, and in the namespaces of the process, the same questions."""
    if not os.path.exists(f"/proc/{pid}"):
        raise NotFound(f"there is no process {pid}", remedy="is the container still running? container.status")
    here, there = namespaces.of("self"), namespaces.of(pid)
    outside = _answers(pid)
    inside = process.run_in_child(lambda: _answers_inside(pid))
    found = [Fact(what, outside[what], inside[what]) for what in outside]
    apart = [kind for kind in there if here[kind].inode != there[kind].inode]
    return [*found, *(Fact(f"{kind} namespace", str(here[kind].inode), str(there[kind].inode)) for kind in apart)]


def _answers(pid: int) -> dict[str, str]:
    return {
        "process id": str(pid),
        "hostname": socket.gethostname(),
        "mounts": _mounts(procfs.mountinfo()),
        "network": " ".join(name for _, name in socket.if_nameindex()),
        "cgroup": _cgroup(pid),
    }


def _answers_inside(pid: int) -> dict[str, str]:
    """Enter its namespaces one kind after the other; the mount namespace is only read, from outside."""
    number, mounts = procfs.status(pid)["NSpid"].split()[-1], procfs.mountinfo(pid)
    namespaces.enter(pid, "uts,net,cgroup")
    return {
        "process id": number,
        "hostname": socket.gethostname(),
        "mounts": _mounts(mounts),
        "network": " ".join(name for _, name in socket.if_nameindex()),
        "cgroup": _cgroup(pid),
    }


def _mounts(found: list[procfs.MountInfo]) -> str:
    root = next((mount.fstype for mount in reversed(found) if mount.mount_point == "/"), "unknown")
    return f"{len(found)}, / is {root}"


def _cgroup(pid: int) -> str:
    """Its cgroup, as the reader's cgroup namespace shows it: the longest path of all trees tells the most."""
    return max((line.path for line in procfs.cgroup(pid)), key=len, default="none")


def draw(found: list[Fact], *, title: str) -> Picture:
    """Draw two frames side by side; between them `=` or `≠`, fact by fact."""
    height = 58 + 24 * len(found)
    frame = f"fill:none;stroke:{FAINT};stroke-width:1"
    inner = f"fill:none;stroke:{COLOURS['brand']};stroke-width:2;stroke-dasharray:7 4"
    parts = [
        f'<rect x="136" y="4" width="286" height="{height - 8}" rx="6" style="{frame}"/>',
        f'<rect x="466" y="4" width="286" height="{height - 8}" rx="6" style="{inner}"/>',
        show.text_at(148, 28, "the host sees", bold=True),
        show.text_at(478, 28, "it sees", bold=True),
    ]
    for row, fact in enumerate(found):
        y = 56 + 24 * row
        sign = "=" if fact.outside == fact.inside else "≠"
        parts += [show.text_at(8, y, fact.what), show.text_at(438, y, sign, bold=True)]
        parts += [show.text_at(148, y, _cut(fact.outside)), show.text_at(478, y, _cut(fact.inside))]
    text = show.said(title, [("", "the host sees", "", "it sees"), *(
        (fact.what, fact.outside, "=" if fact.outside == fact.inside else "≠", fact.inside) for fact in found
    )])  # fmt: skip
    return Picture(show.svg(760, height, title, text, parts), text)


def _cut(text: str) -> str:
    text = show.short_ids(text)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
