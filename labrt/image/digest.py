"""Digests: the name of a piece of content is the hash of its bytes.

    Digest.parse("sha256:8f2f…")     text to value, checked once
    Digest.of(b"…")                  the digest of bytes
    digest.hasher()                  a running hash, for streams

Two blobs with one digest are the same blob: that is why layers are shared, pulls can be checked and images cannot
change. Specification: OCI image-spec, descriptor.md, "Digests". Notebook 12.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Callable

from labrt.errors import InvalidDigest
from labrt.shapes import Protocol, Record

# sha256 is what everybody writes; sha512 is the other one that the specification lets an implementation verify.
_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile("[0-9a-f]+")
_SMALL = 1 << 16  # bytes: a manifest, a config


class Hasher(Protocol):
    """What labrt uses of a hashlib object."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes in."""
        ...

    def hexdigest(self) -> str:
        """Return the hash of all bytes so far, in lower-case hex."""
        ...


class Digest(Record):
    """`algorithm:hex`. Made by `parse` or `of`; `str()` gives the text back."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Check and split `sha256:<64 hex digits>` (or sha512 and 128). Raises InvalidDigest."""
        algorithm, colon, digits = text.partition(":") if isinstance(text, str) else ("", "", "")
        if not colon:
            raise InvalidDigest(f"{text!r:.100} is no digest", remedy="write sha256:<64 lower-case hex digits>")
        if algorithm not in _LENGTHS:
            raise InvalidDigest(f"unknown digest algorithm {algorithm!r:.40}", remedy="labrt knows sha256 and sha512")
        if len(digits) != _LENGTHS[algorithm] or not _HEX.fullmatch(digits):
            wanted = f"{_LENGTHS[algorithm]} lower-case hex digits"
            raise InvalidDigest(f"{text!r:.150} is no {algorithm} digest", remedy=f"after the colon come {wanted}")
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of these bytes."""
        if algorithm == "sha256" and len(data) <= _SMALL:
            return cls(algorithm, _builtin_sha256()(data).hexdigest())
        import hashlib

        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def hasher(self) -> Hasher:
        """Return an empty running hash of this digest's algorithm."""
        import hashlib

        return hashlib.new(self.algorithm)

    @property
    def short(self) -> str:
        """The first 12 hex digits, as `docker images` prints them."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def __repr__(self) -> str:
        return f"<Digest {self.algorithm}:{self.short}…>"


def _builtin_sha256() -> Callable[[bytes], Hasher]:
    """Return Python's own sha256, as `random` takes it: hashlib brings all of OpenSSL, 3 ms of every `labrt run`."""
    with contextlib.suppress(ImportError):
        module = importlib.import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256")
        return module.sha256  # type: ignore[no-any-return]
    import hashlib  # an interpreter that was built without it

    return hashlib.sha256


EMPTY = Digest("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")  # of no bytes at all
