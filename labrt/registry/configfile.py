"""Docker's config.json, changed in place: one change at a time, never half written, and nobody else's to read.

    edit(path, lambda document: document["auths"].pop("ghcr.io", None))

What the file says that is not ours stays: other programs keep their settings there. A link is followed, so that what it
leads to is changed and the link stays a link.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from labrt.errors import InvalidInput

_MODE = 0o600  # a password in base64 is a password


def edit(path: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Read the file, let `change` change the document, and write it whole. A file that is not there is made."""
    real = os.path.realpath(path)
    directory = os.path.dirname(real)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with _alone(directory):
            document = _read(real)
            change(document)
            _write(real, json.dumps(document, indent="\t").encode() + b"\n")
    except OSError as error:
        remedy = "point DOCKER_CONFIG at a directory that you may write"
        raise InvalidInput(f"{path} cannot be written: {error.strerror}", remedy=remedy) from None


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
        document = json.loads(raw) if raw.strip() else {}
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        # Not chained: a JSON error quotes what it could not read, and that may be a password.
        raise InvalidInput(f"{path} is not Docker's config.json", remedy="mend or remove it, then sign in") from None
    return document


def _write(path: str, data: bytes) -> None:
    temporary = os.path.join(os.path.dirname(path), f".config-{os.getpid()}-{os.urandom(4).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def _alone(directory: str) -> Iterator[None]:
    """Hold the lock of the directory itself, so that no lock file is left in a stranger's folder. See flock(2)."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
