"""From exceptions to HTTP: one status per meaning, and a body {"message": …} as dockerd's.

    404 NotFound    409 Conflict    400 InvalidInput    501 NotSupported    401 Unauthorized    500 all else
"""

from __future__ import annotations

import json
import logging
from typing import Any

from aiohttp import web

from labrt.errors import (
    BuildFailed,
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ImageNotFound,
    InvalidInput,
    KernelError,
    LabrtError,
    NotFound,
    NotSupported,
    Unauthorized,
)

log = logging.getLogger("labrt.daemon")
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (InvalidInput, 400),
    (CommandNotFound, 400),
    (CommandNotExecutable, 400),
    (NotSupported, 501),
    (Unauthorized, 401),
)


def status(error: Exception) -> int:
    """Return the HTTP status for an exception."""
    return next((number for kind, number in _STATUSES if isinstance(error, kind)), 500)


def message(error: Exception) -> str:
    """Return what a client is told. Programs look for some words in it: `docker` chooses its exit code by them."""
    if isinstance(error, CommandNotFound | CommandNotExecutable):
        return f"failed to create task for container: {start_failed(error)}"
    return str(error)


def start_failed(error: Exception) -> str:
    """Say why a program did not start, with the words that runc has for it."""
    text, why = str(error), ""
    if isinstance(error, CommandNotFound) and not _says(text, "executable file not found", "no such file or directory"):
        why = ": executable file not found in $PATH"
    if isinstance(error, CommandNotExecutable) and not _says(text, "permission denied", "is a directory"):
        why = ": permission denied"
    return f"unable to start container process: {text}{why}"


def _says(text: str, *phrases: str) -> bool:
    return any(phrase in text for phrase in phrases)


def answer(error: Exception) -> web.Response:
    """Make the response. What no one foresaw is a mistake of ours, and goes to the log with where it was made."""
    number = status(error)
    if number == 500 and not isinstance(error, LabrtError):
        log.error("a mistake in labrt", exc_info=error)
        return reply(500, f"a mistake in labrt: {type(error).__name__}: {error}")
    if isinstance(error, KernelError):
        log.error("%s", error)
    return reply(number, message(error))


def reply(number: int, text: str) -> web.Response:
    """Make a response that says one thing."""
    return as_json({"message": text}, number)


def as_json(value: Any, number: int = 200) -> web.Response:
    """Make a response of a value. Of plain application/json: `docker` does not know a type with a charset behind it."""
    return web.Response(status=number, body=encoded(value) + b"\n", headers={"Content-Type": "application/json"})


def encoded(value: Any) -> bytes:
    """Write JSON. What is no UTF-8, such as a file's name in a container, is not to be a mistake of ours."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def in_stream(error: Exception) -> dict[str, Any]:
    """Return the last JSON object of a stream that had begun well."""
    text = message(error)
    code = {"code": error.code} if isinstance(error, BuildFailed) else {}  # `docker build` ends with it
    return {"errorDetail": code | {"message": text}, "error": text}


def no_image(name: str) -> ImageNotFound:
    """Say it as docker does."""
    from labrt.image.reference import Reference

    try:
        shown = Reference.parse(name).familiar
    except InvalidInput:
        shown = name
    return ImageNotFound(f"No such image: {shown}")
