"""Reading JSON that a stranger wrote.

    parse_object(raw, "manifest")         bytes to a Fields, or InvalidManifest
    fields.string("mediaType")            a value of that type, or InvalidManifest that names the place

A registry can send anything: lists where objects belong, numbers of a million digits, brackets a hundred thousand deep.
Whatever it is, the answer is a value of the wanted type or one InvalidManifest, never a KeyError or RecursionError.
Go programs write null for an empty list; so null counts as absent everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from labrt.errors import InvalidDigest, InvalidManifest
from labrt.image.digest import Digest

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeVar

    T = TypeVar("T")

# As the OCI distribution-spec asks of registries: a manifest of at most 4 MiB must be taken, a larger one need not be.
LIMIT = 4 << 20

_NAMES = {dict: "an object", list: "a list", str: "a string", int: "a number", bool: "true or false", float: "a number"}


def parse_object(raw: bytes, where: str, *, limit: int = LIMIT) -> Fields:
    """Parse bytes as one JSON object. `where` names the document in errors; `limit` is in bytes."""
    if len(raw) > limit:
        raise InvalidManifest(f"the {where} has {len(raw)} bytes", remedy=f"at most {limit} are read")
    try:
        value = json.loads(raw.decode(), parse_constant=_no_constant)
        if b"\\u" in raw:
            # An escaped half of a surrogate pair is a str that no file and no socket can take.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise InvalidManifest(f"the {where} is nested too deep") from None
    except ValueError as error:
        raise InvalidManifest(f"the {where} is no JSON: {error}") from None
    return Fields(value, where)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class Fields:
    """One JSON object while it is read. Every reader takes a key and, where absence is allowed, a default."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise InvalidManifest(f"{where} must be a JSON object, not {_NAMES.get(type(value), 'null')}")
        self.value: dict[str, Any] = value
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self.value.get(key) is not None

    def _get(self, key: str, kind: type[T], default: T | None) -> T:
        value = self.value.get(key)
        if value is None:
            if default is None:
                raise InvalidManifest(f"{self.where} lacks {key!r}")
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = _NAMES.get(type(value), "something else")
            raise InvalidManifest(f"{self.where}.{key} must be {_NAMES[kind]}, not {found}")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        """Read a string; without a default it must be there."""
        return self._get(key, str, default)

    def integer(self, key: str, default: int | None = None) -> int:
        """Read a whole number; without a default it must be there."""
        return self._get(key, int, default)

    def boolean(self, key: str, default: bool) -> bool:
        """Read true or false."""
        return self._get(key, bool, default)

    def object(self, key: str) -> Fields:
        """Read an object; an absent one is empty."""
        return Fields(self._get(key, dict, {}), f"{self.where}.{key}")

    def objects(self, key: str) -> Iterator[Fields]:
        """Read a list of objects, in order; an absent one is empty."""
        for number, item in enumerate(self._get(key, list, [])):
            yield Fields(item, f"{self.where}.{key}[{number}]")

    def strings(self, key: str) -> tuple[str, ...]:
        """Read a list of strings; an absent one is empty."""
        items = self._get(key, list, [])
        if not all(isinstance(item, str) for item in items):
            raise InvalidManifest(f"{self.where}.{key} must be a list of strings")
        return tuple(items)

    def mapping(self, key: str) -> dict[str, str]:
        """Read an object of strings; an absent one is empty."""
        items = self._get(key, dict, {})
        if not all(isinstance(item, str) for item in items.values()):
            raise InvalidManifest(f"{self.where}.{key} must map strings to strings")
        return dict(items)

    def digest(self, key: str) -> Digest:
        """Read a digest, which must be there."""
        return digest(self.string(key), f"{self.where}.{key}")


def digest(text: str, where: str) -> Digest:
    """Parse a digest inside a document: InvalidManifest, which names the place, when it is none."""
    try:
        return Digest.parse(text)
    except InvalidDigest as error:
        raise InvalidManifest(f"{where}: {error.message}", remedy=error.remedy) from None
