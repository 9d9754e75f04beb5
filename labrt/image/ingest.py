"""A blob on its way into the store: resumable, checked while it streams, and never seen before it is whole.

    with ingest(store, digest, size) as writer:
        for chunk in source(writer.offset):      # bytes that an earlier, killed attempt left are kept
            writer.write(chunk)

The bytes collect in `ingest/<algorithm>-<hex>` and get their name below `blobs/` by one rename, after digest and size
are right. Whatever is killed in between, no blob is ever wrong. Two processes that want one blob take turns: the
second waits and then finds it there (`offset == size`). Notebook 12.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from labrt.errors import DigestMismatch
from labrt.image import files
from labrt.image.digest import Digest

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import BinaryIO

_CHUNK = 1 << 20


class Writer:
    """A blob being written. `offset` is how many bytes are there already: go on from there."""

    def __init__(self, file: BinaryIO | None, digest: Digest, size: int) -> None:
        self.digest = digest
        self.size = size
        self.offset = 0
        self.wrong = False
        self._file = file
        self._hasher = digest.hasher()
        if file is None:
            self.offset = size
        elif os.fstat(file.fileno()).st_size > size:
            file.truncate(0)
        else:
            # A hash cannot be stored and resumed, so what is there is read again: cheap beside fetching it again.
            while chunk := file.read(_CHUNK):
                self._hasher.update(chunk)
                self.offset += len(chunk)

    @property
    def complete(self) -> bool:
        """Whether all bytes are here; when it is so from the start, nothing needs to be fetched."""
        return self.offset == self.size

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises DigestMismatch as soon as there are more than `size`."""
        if self.offset + len(chunk) > self.size:
            self.wrong = True
            raise DigestMismatch(f"{self.digest}: more than the {self.size} bytes that it should have")
        if self._file is not None and chunk:
            self._file.write(chunk)
            self._hasher.update(chunk)
            self.offset += len(chunk)

    def restart(self) -> None:
        """Forget what is there: the server cannot send a part, and begins anew."""
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._hasher = self.digest.hasher()
            self.offset = 0

    def check(self) -> None:
        """Raise DigestMismatch unless all bytes are here and they are the right ones."""
        if self.offset != self.size:
            raise DigestMismatch(
                f"{self.digest}: {self.offset} of {self.size} bytes came", remedy="try again: it goes on from there"
            )
        if self._file is not None and self._hasher.hexdigest() != self.digest.hex:
            self.wrong = True
            raise DigestMismatch(
                f"{self.digest}: the bytes have digest {self._hasher.hexdigest()}",
                remedy="try again; if it stays so, the source is broken or somebody changes bytes on the way",
            )

    def __repr__(self) -> str:
        return f"<Writer {self.digest.short} {self.offset} of {self.size} B>"


@contextlib.contextmanager
def ingest(store: str, digest: Digest, size: int) -> Iterator[Writer]:
    """Write one blob into the layout at `store`. On an error what came is kept, unless it is known to be wrong."""
    partial = os.path.join(store, "ingest", f"{digest.algorithm}-{digest.hex}")
    blob = os.path.join(store, "blobs", digest.algorithm, digest.hex)
    os.makedirs(os.path.dirname(partial), exist_ok=True)
    os.makedirs(os.path.dirname(blob), exist_ok=True)
    file = _claim(partial, blob)
    if file is None:
        _same_size(blob, digest, size)
        yield Writer(None, digest, size)
        return
    with _released(file):
        writer = Writer(file, digest, size)
        try:
            yield writer
            writer.check()
        finally:
            if writer.wrong:
                os.unlink(partial)
        file.flush()
        os.fchmod(file.fileno(), 0o644)  # not 0444: skopeo writes a manifest that is there once more
        os.fsync(file.fileno())
        os.rename(partial, blob)
        files.sync_directory(os.path.dirname(blob))


def _claim(partial: str, blob: str) -> BinaryIO | None:
    """Open the partial file and lock it; None when the blob is there already, or comes while we wait for the lock."""
    while not os.path.exists(blob):
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        file = os.fdopen(fd, "r+b")
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(partial)):
                if not os.path.exists(blob):
                    return file
                os.unlink(partial)  # the blob came after we had looked, and before we made this
        # Whoever had the lock renamed or removed the file that we opened: look again.
        file.close()
    return None


@contextlib.contextmanager
def _released(file: BinaryIO) -> Iterator[None]:
    """Unlock and close at the end. Explicitly: a child forked meanwhile would keep the lock of the shared open file."""
    try:
        yield
    finally:
        file.flush()
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
        file.close()


def _same_size(blob: str, digest: Digest, size: int) -> None:
    found = os.stat(blob).st_size
    if found != size:
        raise DigestMismatch(f"{digest}: it has {found} bytes, not the {size} that were announced")
