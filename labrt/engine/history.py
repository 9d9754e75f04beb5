"""How an image came to be: one step for each line of its config's history, and the layer that the step made.

    history(image)          [Step(…), …], the newest first, as `docker history` lists them

A step that only changed the config has no layer and size 0. An image whose config has no history shows its layers.
Specification: OCI image-spec, config.md, "history". Notebook 12.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from labrt.image.config import History
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.image import Image


class Step(NamedTuple):
    """One step. `created` is RFC 3339 text or ""; `size` is in bytes, of its layer as stored; `layer` may be None."""

    created: str
    created_by: str
    comment: str
    size: int
    layer: Digest | None


def history(image: Image) -> list[Step]:
    """Return an image's steps, the newest first."""
    return [*_steps(image)][::-1]


def _steps(image: Image) -> Iterator[Step]:
    layers = iter(image.manifest.layers)
    for line in image.config.history:
        yield _step(line, None if line.empty_layer else next(layers, None))
    for layer in layers:  # more layers than the history tells of
        yield _step(History("", "", "", "", False), layer)


def _step(line: History, layer: Descriptor | None) -> Step:
    size, digest = (layer.size, layer.digest) if layer else (0, None)
    return Step(line.created, line.created_by, line.comment, size, digest)
