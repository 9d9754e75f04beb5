"""The cgroup of a container of `labrt-oci`, named by linux.cgroupsPath.

    ""                       /labrt/ID
    "/docker/c0ffee"         from the trees' mount points
    "pods/c0ffee"            below /labrt
    "slice:prefix:name"      with --systemd-cgroup: systemd's unit prefix-name.scope in that slice
"""

from __future__ import annotations

import posixpath
from typing import Any

from labrt.errors import Conflict, InvalidConfig, NotSupported
from labrt.linux import cgroups


def path_of(config: dict[str, Any], id: str) -> str:
    """Return where the cgroup of a container is to be, from the trees' mount points."""
    path = config["linux"].get("cgroupsPath") or id
    return posixpath.normpath(posixpath.join(cgroups.PARENT, path))


def make(path: str, *, rootless: bool) -> cgroups.Cgroup | None:
    """Make the cgroup; None, for a `rootless` caller, where this user may make none."""
    try:
        return _make(path)
    except NotSupported:
        if rootless:
            return None
        raise


def _make(path: str) -> cgroups.Cgroup:
    if path == "/":
        raise InvalidConfig("linux.cgroupsPath: the root of the tree can be no container's")
    try:
        return cgroups.create(path, parent="/", every_tree=True)
    except Conflict:
        there = cgroups.load(path, parent="/", every_tree=True)
        if there.procs:
            remedy = "choose another linux.cgroupsPath: `delete` would end them, too"
            raise Conflict(f"the cgroup {path} has processes already: {there.procs}", remedy=remedy) from None
        there.remove()  # left by a container that was killed with its runtime
    return cgroups.create(path, parent="/", every_tree=True)


def limits(config: dict[str, Any]) -> bool:
    """Whether a config asks for limits, which without a cgroup nobody would keep."""
    resources = dict(config["linux"].get("resources") or {})
    resources.pop("devices", None)
    return any(resources.values())
