"""Layers that a build makes: written to a file, then a blob of the store.

    with scratch(layout) as fd: …; layer, diff_id = store(layout, fd)
    ensure(driver, layout, state)        all layers of a state are unpacked, too
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from labrt.builder.state import State
from labrt.image import descriptor as types
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout

if TYPE_CHECKING:
    from labrt.storage.driver import Driver

_CHUNK = 1 << 20


@contextlib.contextmanager
def scratch(layout: Layout) -> Iterator[int]:
    """Yield the descriptor of an empty file beside the store's blobs, which has no name. The caller holds a lease."""
    path = os.path.join(layout.ingest, f"build-{os.getpid()}-{os.urandom(4).hex()}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    try:
        yield fd
    finally:
        os.close(fd)


def store(layout: Layout, fd: int) -> tuple[Descriptor, Digest]:
    """Make what was written a blob of the store: an uncompressed layer, whose digest is its diff id."""
    size = os.fstat(fd).st_size
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        digest = Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())
        with layout.writer(digest, size) as writer:
            file.seek(writer.offset)
            while chunk := file.read(_CHUNK):
                writer.write(chunk)
    return Descriptor(types.OCI_LAYER, digest, size), digest


def ensure(driver: Driver, layout: Layout, state: State) -> None:
    """Unpack the layers that the driver does not have yet."""
    chain = state.chain
    for number, layer in enumerate(state.layers):
        if not driver.has(chain[number]):
            with layout.open(layer.digest) as blob:
                driver.add(chain[: number + 1], blob, state.diff_ids[number])
