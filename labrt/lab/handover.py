"""Between two classes: a machine as the next one wants to find it.

    labrt lab reset                     asks first; lab.handover.hand_over() does not

Gone afterwards: containers and all else that labrt made in the kernel, volumes, networks, the learner's name, progress
and functions; with `notebooks`, also what was typed into the course's notebooks, where the checkout is git's. Images
and layers stay: nobody has to pull them again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from labrt import paths
from labrt.errors import Conflict, LabrtError, NotFound
from labrt.lab import ledger
from labrt.linux.ledger import entries


class HandedOver(NamedTuple):
    """What was done, as rows of subject and words; and whether nothing stayed."""

    rows: Sequence[tuple[str, str]]
    ok: bool

    def __str__(self) -> str:
        from labrt.lab import show

        return show.columns(list(self.rows))


def hand_over(notebooks: str | None = None) -> HandedOver:
    """Make the machine as new for this user. `notebooks`: the directory whose notebooks shall be as git has them."""
    rows = []
    taken = ledger.reset(quiet=True)
    volumes, networks = _volumes(), _networks()
    taken_too = ledger.reset(quiet=True)  # a bridge, whose network is gone
    rows.append(("kernel", repr(taken).removeprefix("<Reset: ").removesuffix(">")))
    rows.append(("volumes", ", ".join(volumes) or "there were none"))
    rows.append(("networks", ", ".join(networks) or "there were none"))
    rows.append(("progress", _progress()))
    if notebooks:
        rows.append(("notebooks", _notebooks(notebooks)))
    left = [entry for entry in entries() if entry.detail.get("role") != "keeper"]
    return HandedOver(rows, taken.ok and taken_too.ok and not left)


def _volumes() -> list[str]:
    from labrt.engine.volumes import Volumes

    return list(Volumes().prune(all=True)[0])


def _networks() -> list[str]:
    from labrt.engine.networks import Networks

    gone = []
    for network in Networks().list():
        with contextlib.suppress(Conflict, NotFound):
            Networks().remove(network.name)
            gone.append(network.name)
    return gone


def _progress() -> str:
    place = paths.progress()
    try:
        count = sum(name.endswith(".json") for name in os.listdir(place))
    except FileNotFoundError:
        return "there was none"
    shutil.rmtree(place)
    return f"{count} exercises forgotten"


def changed(notebooks: str) -> list[str]:
    """Name the notebooks of a directory that are not as git has them. NotFound where git knows none of them."""
    done = _git(notebooks, "status", "--porcelain", "-z", "--untracked-files=no", "--", ":(glob)*.ipynb")
    return [os.path.basename(line[3:]) for line in done.split("\0") if line]


def _notebooks(directory: str) -> str:
    try:
        names = changed(directory)
        if names:
            _git(directory, "checkout", "HEAD", "--", *names)
    except LabrtError as error:
        return f"not looked at: {error.message}"
    return f"as handed out again: {', '.join(names)}" if names else "are as they were handed out"


def _git(directory: str, *words: str) -> str:
    """Ask git. The checkout may be another user's than who asks: for this question that is no danger."""
    command = ["git", "-c", f"safe.directory={os.path.dirname(os.path.realpath(directory))}", "-C", directory, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NotFound("git is absent") from None
    if done.returncode:
        raise NotFound(f"git says: {done.stderr.strip()[:200]}")
    return done.stdout
