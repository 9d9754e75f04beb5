"""Notebook 02: unpack an archive that a stranger has made, and let nothing out of its directory."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from labrt.lab.checks import attempt, verdict
from labrt.lab.checks.verdict import Check

EXPECTED = "all 5 honest entries in the directory, and nothing beside it"
UNWRITTEN = (
    "an archive is a list of names and contents; where would each name lead, when it is opened from here?",
    "os.path.realpath says where a path really leads, links on the way included; do that for each entry, just before",
    "place = os.path.realpath(os.path.join(top, member.name.lstrip('/'))), and os.path.commonpath([top, place]) == top",
)
HONEST = ("bin", "bin/tool", "..data", "bin/link", "here")


class Seen(NamedTuple):
    """What lies where afterwards: honest entries that are missing, and the ways out that worked."""

    missing: list[str]
    escaped: list[str]


def unpacks(unpack: Callable[[tarfile.TarFile, str], object]) -> Check:
    """Judge `unpack(archive, root)`: an archive with honest and with hostile entries, into a directory."""
    tried = attempt.run(lambda: _observe(unpack))
    if tried.problem:
        return verdict.not_yet("unpack", tried.problem, EXPECTED, tried.hints(UNWRITTEN))
    seen: Seen = tried.value
    saw = f"{len(HONEST) - len(seen.missing)} of the {len(HONEST)} honest entries in the directory, and beside it "
    saw += ", ".join(seen.escaped) or "nothing"
    return verdict.judged("unpack", saw, EXPECTED, _hints(seen))


def _observe(unpack: Callable[[tarfile.TarFile, str], object]) -> Seen:
    with tempfile.TemporaryDirectory() as place:
        root, outside = os.path.join(place, "box"), os.path.join(place, "outside")
        for directory in (root, outside, f"{root}-twin"):
            os.mkdir(directory)
        with tarfile.open(fileobj=io.BytesIO(hostile(place))) as archive:
            unpack(archive, root)
        missing = [name for name in HONEST if not os.path.lexists(os.path.join(root, name))]
        return Seen(missing, [*_escaped(place)])


def _escaped(place: str) -> Iterator[str]:
    """Name the ways out that led to a file outside."""
    ways = {
        "above": "by ..", "outside/absolute": "by an absolute path", "outside/linked": "through a link",
        "outside/last": "onto a link", "box-twin/file": "to a twin",
    }  # fmt: skip
    for path, way in ways.items():
        if os.path.exists(os.path.join(place, path)):
            yield f"a file {way}"


def hostile(place: str) -> bytes:
    """Make the archive: `place`/box is where it will be unpacked, and `place`/outside where it wants to."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, link
            content = b"" if kind != tarfile.REGTYPE else b"from the archive\n"
            entry.size = len(content)
            entry.mode = 0o755
            archive.addfile(entry, io.BytesIO(content))

        add("bin", tarfile.DIRTYPE)
        add("bin/tool")
        add("..data")  # two dots, and as honest as can be
        add("bin/link", tarfile.SYMTYPE, "tool")
        add("../above")
        add(os.path.join(place, "outside/absolute"))
        add("way", tarfile.SYMTYPE, "../outside")
        add("way/linked")
        add("last", tarfile.SYMTYPE, os.path.join(place, "outside/last"))
        add("last")
        add("../box-twin/file")
        add("here")
    return raw.getvalue()


def _hints(seen: Seen) -> tuple[str, ...]:
    if "a file by .." in seen.escaped:
        return (
            "there is a file beside the directory: a name began with ../",
            "join and resolve first, then look whether the result is still below the directory",
            UNWRITTEN[2],
        )
    if "a file by an absolute path" in seen.escaped:
        return (
            "a name began with / , and os.path.join throws away all that stands before one",
            "an absolute name is meant from the new root on",
            "member.name.lstrip('/')",
        )
    if "a file through a link" in seen.escaped or "a file onto a link" in seen.escaped:
        return (
            "the archive made a link first, and then wrote through it: its name has no .. at all",
            "a path is more than its text: os.path.realpath follows the links that are there by now",
            "resolve each entry just before it is written, not all of them at the beginning",
        )
    if "a file to a twin" in seen.escaped:
        return (
            "…/box-twin begins with …/box, and is another directory",
            "compare whole names, not letters",
            "os.path.commonpath([top, place]) == top",
        )
    if "..data" in seen.missing:
        return (
            "..data is an honest name (Kubernetes uses it): two dots alone are no crime",
            "not how a name is spelled counts, but where it leads",
            UNWRITTEN[2],
        )
    if seen.missing:
        return (
            f"honest entries are missing: {', '.join(seen.missing)}",
            "leave out the hostile ones, and go on with the next; member.isdir(), issym() and isreg() say what it is",
            "os.makedirs(place, exist_ok=True); os.symlink(member.linkname, place); archive.extractfile(member).read()",
        )
    return ()
