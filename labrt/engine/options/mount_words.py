"""--mount key=value,key=value: the same as -v and --tmpfs, in full.

    type=bind,source=/srv,target=/data,readonly,bind-propagation=rslave
    type=volume,source=NAME,target=/data,volume-nocopy
    type=tmpfs,target=/run,tmpfs-size=64m,tmpfs-mode=1770

The line is one of CSV, as Docker's: quote a field that has a comma in it.
"""

from __future__ import annotations

import csv
import io
import os
from typing import Any, NamedTuple

from labrt.engine.options import mounts
from labrt.engine.options.model import NAME
from labrt.errors import InvalidInput
from labrt.linux.mounts import PROPAGATION, Mount

TYPES = ("bind", "volume", "tmpfs")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_BOOLEANS = {"readonly", "volume-nocopy", "bind-nonrecursive"}
_OF_TYPE = {
    "bind": {"bind-propagation", "bind-nonrecursive", "bind-recursive"},
    "volume": {"volume-nocopy", "volume-driver"},
    "tmpfs": {"tmpfs-size", "tmpfs-mode"},
}


class Words(NamedTuple):
    """What one --mount says. `size` is in bytes, None for half of the memory; `mode` is None for 1777."""

    type: str
    target: str
    source: str = ""
    readonly: bool = False
    propagation: str = "rprivate"
    recursive: str = "enabled"
    nocopy: bool = False
    size: int | None = None
    mode: int | None = None

    def to_mount(self) -> Mount:
        """Make the value that the runtime gets; a volume's source is its name."""
        if self.type == "tmpfs":
            words = ["nosuid", "nodev", "noexec", *(["ro"] if self.readonly else [])]
            words += [f"size={self.size}"] if self.size else []
            words += [f"mode={self.mode:o}"] if self.mode is not None else []
            return Mount(self.target, "tmpfs", "tmpfs", tuple(words))
        mount = mounts.bind(
            self.target, self.source, read_only=self.readonly, propagation=self.propagation,
            recursive=self.recursive != "disabled",
        )  # fmt: skip
        if self.readonly and self.recursive == "writable":  # the mounts below it keep their right to be written to
            words_of = tuple("ro" if word == "rro" else word for word in mount.options)
            return mount._replace(options=words_of)
        return mount


def parse(text: str) -> Words:
    """Read one --mount. Raises InvalidInput that names the word."""
    given = _fields(text)
    kind = given.pop("type", "volume")
    if kind not in TYPES:
        raise _wrong(text, f"there is no type {kind!r}", f"one of {', '.join(TYPES)}")
    foreign = sorted(given.keys() - {"source", "target", "readonly"} - _OF_TYPE[kind])
    if foreign:
        known = ", ".join(sorted({"source", "target", "readonly"} | _OF_TYPE[kind]))
        raise _wrong(text, f"{foreign[0]!r} says nothing of a {kind}", f"known: {known}")
    target, source = given.get("target", ""), given.get("source", "")
    mounts.check_destination(target, f"--mount {text}")
    _check_source(text, kind, source)
    return Words(
        type=kind,
        target=target,
        source=source,
        readonly=given.get("readonly") == "true",
        propagation=_one_of(text, given, "bind-propagation", "rprivate", PROPAGATION),
        recursive=_recursion(text, given),
        nocopy=given.get("volume-nocopy") == "true",
        size=_size(text, given.get("tmpfs-size")),
        mode=_mode(text, given.get("tmpfs-mode")),
    )


def _fields(text: str) -> dict[str, str]:
    """Split into {key: value}, keys in lower case and by their first names; a bare key is a boolean's true."""
    try:
        (row,) = csv.reader([text], strict=True)
    except (ValueError, csv.Error):
        raise _wrong(text, "not understood", "type=bind,source=/srv,target=/data") from None
    given = {}
    for field in row:
        key, equals, value = field.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if key in _BOOLEANS:
            value = {"": "true" if not equals else "", "1": "true", "0": "false"}.get(value, value)
            if value not in ("true", "false"):
                raise _wrong(text, f"{field!r} is neither true nor false", f"{key}=true")
        elif not equals or not value:
            raise _wrong(text, f"{field!r} has no value", "KEY=VALUE,KEY=VALUE")
        given[key] = value
    return given


def _check_source(text: str, kind: str, source: str) -> None:
    if kind == "tmpfs":
        if source:
            raise _wrong(text, "memory has no source", "leave out source")
    elif kind == "volume":
        if source and not NAME.fullmatch(source):
            raise _wrong(text, f"{source!r} is no volume's name", "letters, digits, _ . -; two or more")
    elif not source.startswith("/"):
        raise _wrong(text, f"the source {source!r} is not absolute", 'write "$PWD/…" for one from here')
    elif not os.path.lexists(source):
        raise _wrong(text, f"{source} does not exist", "make it first; -v would make a directory")


def _one_of(text: str, given: dict[str, str], key: str, usual: str, known: Any) -> str:
    value = given.get(key, usual)
    if value not in known:
        raise _wrong(text, f"{key}={value} is not known", f"one of {', '.join(known)}")
    return value


def _recursion(text: str, given: dict[str, str]) -> str:
    if given.get("bind-nonrecursive") == "true":
        return "disabled"
    return _one_of(text, given, "bind-recursive", "enabled", ("enabled", "disabled", "writable", "readonly"))


def _size(text: str, value: str | None) -> int | None:
    if value is None:
        return None
    from labrt.linux.cgroups import units

    try:
        return units.parse_size(value)
    except InvalidInput as error:
        raise _wrong(text, error.message, error.remedy) from None


def _mode(text: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not set(value) <= set("01234567") or int(value, 8) > 0o7777:
        raise _wrong(text, f"tmpfs-mode={value} is no mode", "octal, like 1777")
    return int(value, 8)


def _wrong(text: str, what: str, remedy: str) -> InvalidInput:
    return InvalidInput(f"--mount {text}: {what}", remedy=remedy)


def line(*fields: str) -> str:
    """Write one --mount of its fields, "type=bind", "source=/a,b" and so on."""
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(fields)
    return written.getvalue()


def to_api(text: str) -> dict[str, Any]:
    """Write it as an entry of docker's HostConfig.Mounts."""
    words = parse(text)
    entry: dict[str, Any] = {"Type": words.type, "Target": words.target}
    entry |= {"Source": words.source} if words.source else {}
    entry |= {"ReadOnly": True} if words.readonly else {}
    if words.propagation != "rprivate" or words.recursive != "enabled":
        entry["BindOptions"] = {"Propagation": words.propagation, "NonRecursive": words.recursive == "disabled"}
    if words.nocopy:
        entry["VolumeOptions"] = {"NoCopy": True}
    if words.size or words.mode is not None:
        entry["TmpfsOptions"] = {"SizeBytes": words.size or 0, "Mode": words.mode or 0o1777}
    return entry
