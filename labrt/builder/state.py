"""An image on its way: config, layers and history after each step, and the image that it would be now.

    state = State.of(image); state.config["Env"] = […]; state.add(layer, diff_id); state.note("ENV A=1", created)
    state.image(layout)          put into the store, nameless; two states that are equal are one image

Specification: OCI image-spec, config.md.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from labrt.image.config import ImageConfig, chain_ids
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.image import Image
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference


class State:
    """What a stage has come to. `config` is the "config" object, `other` all else of the image's config."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.config: dict[str, Any] = {}
        self.other: dict[str, Any] = {}
        self.layers: list[Descriptor] = []
        self.diff_ids: list[Digest] = []
        self.history: list[dict[str, Any]] = []
        self.created = ""
        self.author = ""

    @classmethod
    def of(cls, image: Image) -> State:
        """Begin with an image."""
        state = cls(image.platform)
        value = json.loads(image.config.raw)
        state.config = value.pop("config", None) or {}
        state.history = value.pop("history", None) or []
        state.created, state.author = value.get("created") or "", value.get("author") or ""
        # What docker's classic builds left there is about a container that is gone.
        state.other = {key: it for key, it in value.items() if key not in ("container", "container_config", "rootfs")}
        state.layers, state.diff_ids = list(image.manifest.layers), list(image.config.diff_ids)
        return state

    def clone(self) -> State:
        """Begin another stage with this one."""
        return copy.deepcopy(self)

    @property
    def chain(self) -> tuple[Digest, ...]:
        """The chain ids of the layers, base first."""
        return chain_ids(self.diff_ids)

    @property
    def top(self) -> str:
        """The chain id of the topmost layer, "" if there is none."""
        return str(self.chain[-1]) if self.diff_ids else ""

    def add(self, layer: Descriptor, diff_id: Digest) -> None:
        """Put a layer on top."""
        self.layers.append(layer)
        self.diff_ids.append(diff_id)

    def note(self, created_by: str, created: str, *, layer: bool) -> None:
        """Write what was done into the history."""
        self.created = created
        line: dict[str, Any] = {"created": created, "created_by": created_by}
        self.history.append(line if layer else {**line, "empty_layer": True})

    def raw(self) -> bytes:
        """Return the image's config. Its digest is the image's id."""
        platform = self.platform
        value = {
            **self.other, "created": self.created, "architecture": platform.architecture, "os": platform.os,
            **({"variant": platform.variant} if platform.variant else {}),
            **({"author": self.author} if self.author else {}),
            "config": {key: value for key, value in self.config.items() if value not in (None, "", [], {})},
            "rootfs": {"type": "layers", "diff_ids": [*map(str, self.diff_ids)]},
            "history": self.history,
        }  # fmt: skip
        return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()

    @property
    def id(self) -> Digest:
        """The id of the image that it would be now."""
        return Digest.of(self.raw())

    def image(self, layout: Layout, reference: Reference | None = None) -> Image:
        """Put config and manifest into the store, and return the image. It has no name there yet."""
        raw = self.raw()
        pointer, manifest = layout.put_image(raw, self.layers, self.platform)
        named = reference or Reference.unnamed("built", manifest.config.digest.short)
        return Image(named, pointer, manifest, ImageConfig.parse(raw))
