"""Volumes: directories that outlive the containers they are mounted in.

    volumes = Volumes()
    volumes.create("data"); volumes.get("data").path; volumes.list(); volumes.remove("data"); volumes.prune()

A volume is a directory, /var/lib/labrt/volumes/NAME: `_data` is what containers see, volume.json says since when it is
there and whether it is anonymous: made for one container (-v /path, or its image's VOLUME), with 64 hex digits for a
name, and removed with it by `rm -v` and at the end of `run --rm`. An empty volume gets what the image has at its place,
when the container is made. Volumes are data: `reset` and `prune` leave them alone, only this module removes them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from labrt import paths
from labrt.engine.containers import Container, Containers
from labrt.engine.views import View, look
from labrt.errors import Conflict, InvalidInput, NotFound
from labrt.image import files
from labrt.image.tree import remove_path
from labrt.linux import mounts
from labrt.storage.copy import copy_tree
from labrt.storage.workshop import disk_usage

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
Use = dict[str, Any]  # what a container's record says of a volume of its: name, destination, anonymous
Uses = list[Use]


class Volume(NamedTuple):
    """One volume. `path` is the directory with its files, `created` in seconds since the epoch."""

    name: str
    path: str
    created: float
    anonymous: bool

    def inspect(self) -> dict[str, Any]:
        """Return it in the shape of the Engine API's Volume."""
        from labrt.engine.inspect import rfc3339

        labels = {"com.docker.volume.anonymous": ""} if self.anonymous else None
        return {
            "CreatedAt": rfc3339(self.created), "Driver": "local", "Labels": labels, "Mountpoint": self.path,
            "Name": self.name, "Options": None, "Scope": "local",
        }  # fmt: skip


class Volumes:
    """All volumes of one user's labrt."""

    def __init__(self, where: paths.Paths | None = None) -> None:
        self.where = where or paths.default()

    def create(self, name: str | None = None) -> Volume:
        """Make a volume, anonymous without a name. One that is here already is left as it is, and returned."""
        with self._locked():
            return self._create(name or None)

    def get(self, name: str) -> Volume:
        """Find one by its name. Raises NotFound."""
        try:
            with open(os.path.join(self._directory(name), "volume.json"), "rb") as file:
                about = json.load(file)
        except FileNotFoundError:
            raise NotFound(f"no volume is called {name}", remedy="`labrt volume ls` lists them") from None
        return Volume(name, os.path.join(self._directory(name), "_data"), about["created"], about["anonymous"])

    def list(self) -> list[Volume]:
        """List them all, sorted by name."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in filter(NAME.fullmatch, sorted(os.listdir(self.where.volumes))):
                with contextlib.suppress(NotFound):
                    found.append(self.get(name))
        return found

    def users(self, name: str) -> Sequence[Container]:
        """Return the containers that have it, running or not."""
        every = Containers(self.where).list(all=True)
        return [one for one in every if name in (use["name"] for use in _uses_of(one))]

    def remove(self, name: str) -> None:
        """Remove a volume with all that is in it. Raises NotFound, and Conflict while a container has it."""
        with self._locked():
            self.get(name)
            users = self.users(name)
            if users:
                raise Conflict(f"volume {name} is in use by container {users[0].name}", remedy="`labrt rm` that first")
            self._remove(name)

    def prune(self, *, all: bool = False) -> tuple[Sequence[str], int]:  # noqa: A002 - docker's word
        """Remove the anonymous ones that no container has, or `all` such. Returns their names and bytes."""
        gone, freed = [], 0
        for volume in self.list():
            if volume.anonymous or all:
                size = disk_usage(volume.path)
                with contextlib.suppress(Conflict, NotFound):
                    self.remove(volume.name)
                    gone.append(volume.name)
                    freed += size
        return gone, freed

    # For containers ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def provided(self, mounts_json: Sequence[dict[str, Any]]) -> Iterator[Uses]:
        """Make the volumes that these mounts of a config.json name as `source` ("": anonymous), and write their paths.

        While the block makes the container, nobody removes them; when it fails, those made here go again.
        """
        with self._locked():
            made, uses = [], []
            try:
                for mount in mounts_json:
                    known = mount["source"] and os.path.isdir(self._directory(mount["source"]))
                    volume = self._create(mount["source"] or None)
                    made += [] if known else [volume.name]
                    uses.append({
                        "name": volume.name, "destination": mount["destination"], "anonymous": not mount["source"],
                    })  # fmt: skip
                    mount["source"] = volume.path
                yield uses
            except BaseException:
                for name in made:
                    self._remove(name)
                raise

    def fill(self, container: Container, uses: Sequence[Use]) -> None:
        """Copy what the container's image has at its volumes' places into those that are empty, owner and mode too.

        Not into one that another container has: its files would change under that one's hands. In the block of
        `provided`, when the container's root is prepared.
        """
        empty = [use for use in uses if not os.listdir(self._data(use["name"])) and not self.users(use["name"])]
        if empty:
            places = [(use["destination"], self._data(use["name"])) for use in empty]
            look(container, lambda view: _fill(view, places), confined=False)

    def release(self, uses: Sequence[Use]) -> None:
        """Remove the anonymous ones among these, after their container; if another one has got hold of one it stays."""
        for use in uses:
            if use["anonymous"]:
                with contextlib.suppress(Conflict, NotFound):
                    self.remove(use["name"])

    # Housekeeping -----------------------------------------------------------------------------------------------------

    def _directory(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise InvalidInput(f"{name!r:.80} is no volume's name", remedy="letters, digits, _ . -; two or more")
        return os.path.join(self.where.volumes, name)

    def _data(self, name: str) -> str:
        return os.path.join(self._directory(name), "_data")

    def _create(self, name: str | None) -> Volume:
        anonymous, name = name is None, name or os.urandom(32).hex()
        directory = self._directory(name)
        with contextlib.suppress(NotFound):
            return self.get(name)
        os.makedirs(self._data(name), 0o755, exist_ok=True)  # the directory of one who was killed here
        os.chmod(self._data(name), 0o755)  # whatever our umask is
        about = {"created": time.time(), "anonymous": anonymous}
        files.replace(os.path.join(directory, "volume.json"), json.dumps(about).encode())
        return self.get(name)

    def _remove(self, name: str) -> None:
        directory = self._directory(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, "volume.json"))  # first: half of it is no volume
        remove_path(directory)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        if not os.path.isdir(self.where.volumes):
            os.makedirs(self.where.volumes, exist_ok=True)
            os.chmod(self.where.volumes, 0o700)  # set-user-ID programs of images come here
        return files.locked(os.path.join(self.where.volumes, ".lock"))

    def __repr__(self) -> str:
        return f"<Volumes in {self.where.volumes}: {len(self.list())}>"


def _uses_of(container: Container) -> list[Use]:
    with contextlib.suppress(NotFound):  # it has just been removed
        uses: list[Use] = container.record().get("volumes", [])
        return uses
    return []


def _fill(view: View, places: Sequence[tuple[str, str]]) -> None:
    """In a child that alone sees the image's root: copy each place's directory, whole or not at all.

    The place is found as a process in the container would find it, so that no link leads out of the image.
    """
    for destination, data in places:
        try:
            found = mounts.open_in_root(view.root, destination)
        except OSError:  # the image has nothing there, or links that lead to nothing
            continue
        new = f"{data}-{os.urandom(4).hex()}"
        try:
            inside = f"/proc/self/fd/{found}/."
            if os.path.isdir(inside) and not os.listdir(data):
                copy_tree(inside, new)
                os.rename(new, data)  # which the kernel refuses, were `data` not empty
        except BaseException:
            remove_path(new)
            raise
        finally:
            os.close(found)
