"""What need not be done again: for each step that was done, what came of it.

    cache = Cache(where)
    key = cache.key("RUN", chain_id, words, env, …)        a digest of all that the step depends on
    cache.find(key)                                        Record(created, layer, diff_id), or None
    cache.put(key, record)

A step's key is made of the chain id of the layers that it stands on, of the instruction as it was understood, and of a
digest of what it copies: of contents, never of times. So a step is done again when, and only when, something that it
depends on has changed; and what stands on it is done again only if something else has come of it.

One file a step, /var/lib/labrt/cache/build/steps/KEY; a layer is a blob of the store, which the record keeps there.
cache/build/mounts/ has the directories of RUN --mount=type=cache. `labrt prune` removes both. Notebook 20.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from labrt.image import files
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.paths import Paths


class Record(NamedTuple):
    """What came of a step: when it was done (RFC 3339), and its layer, if it made one; `value` is any other result."""

    created: str
    layer: Descriptor | None = None
    diff_id: Digest | None = None
    value: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        about: dict[str, Any] = {"created": self.created, "value": self.value}
        if self.layer is not None:
            about |= {"layer": self.layer.to_json(), "diff_id": str(self.diff_id)}
        return about

    @classmethod
    def from_json(cls, about: dict[str, Any]) -> Record:
        """As it was kept."""
        layer = Descriptor.from_json(about["layer"]) if "layer" in about else None
        diff_id = Digest.parse(about["diff_id"]) if "layer" in about else None
        return cls(str(about["created"]), layer, diff_id, str(about.get("value", "")))


class Cache:
    """The records of one user's labrt."""

    def __init__(self, where: Paths) -> None:
        self.place = os.path.join(where.cache, "build")
        self.steps = os.path.join(self.place, "steps")
        self.mounts = os.path.join(self.place, "mounts")

    @staticmethod
    def key(*parts: object) -> str:
        """Make a key of what a step depends on: anything that JSON can say."""
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def find(self, key: str, layout: Layout | None = None) -> Record | None:
        """Return what came of a step; None if it was never done, or its layer is not in the store any more."""
        record = self._read(os.path.join(self.steps, key))
        if record is not None and record.layer is not None and layout and not layout.has(record.layer.digest):
            return None
        return record

    def put(self, key: str, record: Record) -> None:
        """Remember. Not durably: after a power cut the step is done again."""
        self._make()
        files.replace(os.path.join(self.steps, key), json.dumps(record.to_json()).encode(), durable=False)

    def _make(self) -> None:
        if not os.path.isdir(self.steps):
            os.makedirs(self.steps, exist_ok=True)
            os.chmod(self.place, 0o700)  # private sources, downloads and the like lie in the caches of RUN

    def mount(self, id: str) -> str:
        """Return the directory of a RUN --mount=type=cache; the caller makes it."""
        self._make()
        return os.path.join(self.mounts, hashlib.sha256(id.encode()).hexdigest()[:32])

    def records(self) -> Iterator[tuple[str, Record]]:
        """Yield every key with its record."""
        with contextlib.suppress(FileNotFoundError):
            for key in sorted(os.listdir(self.steps)):
                record = self.find(key)
                if record is not None:
                    yield key, record

    def blobs(self) -> set[Digest]:
        """Return the digests of the layers that records need."""
        return {record.layer.digest for _, record in self.records() if record.layer is not None}

    def forget(self, key: str) -> None:
        """Remove a record; its layer goes when the store is swept, unless an image has it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.steps, key))

    @staticmethod
    def _read(path: str) -> Record | None:
        # Absent, emptied by a power cut, or of another version: then the step was never done.
        try:
            with open(path, "rb") as file:
                return Record.from_json(json.load(file))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def __repr__(self) -> str:
        return f"<Cache {self.place}: {len([*self.records()])} steps>"
