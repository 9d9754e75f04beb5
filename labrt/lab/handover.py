"""Between two classes: a machine as the next one wants to find it.

    labrt lab reset                     asks first; lab.handover.hand_over() does not

Gone afterwards: containers and all else that labrt made in the kernel, volumes, networks, the learner's name, progress
and functions; with `notebooks`, also what was typed into the course's notebooks, where the checkout is git's. Images
and layers stay: nobody has to pull them again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

from labrt import paths
from labrt.errors import LabrtError, NotFound
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

    return list(Networks().prune())


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
    """Ask git, as the one whose directory it is.

    A repository's own configuration names programs that git runs (core.fsmonitor, filters, hooks): who may write there
    would else have root run them. SUDO_UID, by which git trusts that user for root, is not passed on.
    """
    owner = os.stat(directory)
    theirs: dict[str, Any] = {}
    if os.geteuid() == 0 and owner.st_uid:
        theirs = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": ()}
    env = {"PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C"}
    try:
        done = subprocess.run(["git", "-C", directory, *words], capture_output=True, text=True, env=env, **theirs)
    except FileNotFoundError:
        raise NotFound("git is absent") from None
    if done.returncode:
        raise NotFound(f"git says: {done.stderr.strip()[:200]}")
    return str(done.stdout)
