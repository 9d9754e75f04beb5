"""What a RUN is given: its command, its environment, and what --mount, --network and --security say.

    for text in instruction.flag_list("mount"): parse(text)     Mount("cache", "/root/.cache", …)
    Run(args, env, cwd, …)                                      what the engine is to run; mounting.py makes its mounts

    bind     files of the context, or of another stage or image; what is written to them is thrown away
    cache    a directory that stays from build to build, and is in no layer     tmpfs    memory
    secret   a file that is in no layer                                         ssh      the socket of one's ssh-agent
"""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Callable, Mapping
from typing import NamedTuple

from labrt.errors import InvalidInput

_ALIASES = {
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite",
}  # fmt: skip
_OF_TYPE = {
    "bind": ("from", "source", "target", "readonly", "readwrite"),
    "cache": ("from", "gid", "id", "mode", "readonly", "readwrite", "sharing", "source", "target", "uid"),
    "tmpfs": ("size", "target"),
    "secret": ("env", "gid", "id", "mode", "required", "target", "uid"),
    "ssh": ("gid", "id", "mode", "required", "target", "uid"),
}
_SWITCHES = ("readonly", "readwrite", "required")
SHARINGS = ("shared", "private", "locked")
SECURITIES = ("sandbox", "insecure")
NETWORKS = ("default", "none", "host")  # of RUN --network
SSH_SOCKET = "/run/buildkit/ssh_agent.{}"  # where programs that know docker's builds look for it


class Mount(NamedTuple):
    """One --mount. `target` may be relative to WORKDIR; "" where a default serves. `mode` None: the usual."""

    type: str
    target: str = ""
    source: str = ""
    origin: str = ""  # --mount=from=
    id: str = ""
    readonly: bool = False
    required: bool = False
    sharing: str = "shared"
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size: str = ""
    env: str = ""


class Run(NamedTuple):
    """What is to be run, as the engine gets it. `binds` are (path on the host, place, read-only), `tmpfs` as --tmpfs.

    `hidden` are the places of mounts, which are no part of the layer. `latest` cuts times down to this one, in seconds.
    """

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    network: str
    privileged: bool
    binds: tuple[tuple[str, str, bool], ...]
    tmpfs: tuple[str, ...]
    hidden: tuple[str, ...]
    add_host: tuple[str, ...] = ()
    latest: int | None = None
    limits: Mapping[str, object] = {}


def parse(text: str, expand: Callable[[str], str]) -> Mount:
    """Read `type=cache,target=/x`. `expand` puts variables in. Raises InvalidInput."""
    words = _words(text)
    kind = words.pop("type", "bind")
    if kind not in _OF_TYPE:
        raise InvalidInput(f"--mount={text:.200}: no type {kind:.40}", remedy=f"one of {', '.join(_OF_TYPE)}")
    for key in words:
        if key not in _OF_TYPE[kind]:
            remedy = f"it takes {', '.join(_OF_TYPE[kind])}"
            raise InvalidInput(f"--mount={text:.200}: type={kind} has no {key:.40}", remedy=remedy)
    found = {key: expand(value) for key, value in words.items()}
    readonly = _switch(text, found, "readonly", kind == "bind")
    if "readwrite" in found:
        readonly = not _switch(text, found, "readwrite", True)
    if found.get("sharing", "shared") not in SHARINGS:
        raise InvalidInput(f"--mount={text:.200}: no such sharing", remedy=f"one of {', '.join(SHARINGS)}")
    mount = Mount(
        kind, found.get("target", ""), found.get("source", ""), found.get("from", ""), found.get("id", ""), readonly,
        _switch(text, found, "required", False), found.get("sharing", "shared"),
        _number(text, found["mode"], 8) if "mode" in found else None, _number(text, found.get("uid", "0"), 10),
        _number(text, found.get("gid", "0"), 10), found.get("size", ""), found.get("env", ""),
    )  # fmt: skip
    return _checked(text, mount)


def _checked(text: str, mount: Mount) -> Mount:
    if not mount.target and mount.type in ("bind", "cache", "tmpfs"):
        raise InvalidInput(f"--mount={text:.200}: no target", remedy="target=/where")
    if mount.type == "secret" and not (mount.id or mount.target):
        raise InvalidInput(f"--mount={text:.200}: no id", remedy="id=NAME, as in --secret id=NAME,src=FILE")
    if mount.type == "secret" and not mount.id:
        return mount._replace(id=posixpath.basename(mount.target))
    return mount


def _words(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in next(csv.reader([text], strict=True), []):
        key, equals, value = part.partition("=")
        key = _ALIASES.get(key.strip().lower(), key.strip().lower())
        if not key or (not equals and key not in _SWITCHES) or key in found:
            raise InvalidInput(f"--mount={text:.200}: {part:.40} is not understood", remedy="type=…,target=…")
        found[key] = value if equals else "true"
    return found


def _switch(text: str, found: Mapping[str, str], key: str, default: bool) -> bool:
    value = found.get(key, str(default)).lower()
    if value not in ("true", "false", "1", "0"):
        raise InvalidInput(f"--mount={text:.200}: {key}={value:.40} is neither true nor false")
    return value in ("true", "1")


def _number(text: str, value: str, base: int) -> int:
    try:
        number = int(value, base)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise InvalidInput(f"--mount={text:.200}: {value:.40} is no number", remedy="mode=0600, uid=1000")
    return number
