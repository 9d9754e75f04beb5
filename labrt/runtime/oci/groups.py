"""The cgroup of a container of `labrt-oci`, named by linux.cgroupsPath.

    ""                       /labrt/ID
    "/docker/c0ffee"         from the trees' mount points
    "pods/c0ffee"            below /labrt
    "slice:prefix:name"      with --systemd-cgroup: systemd's unit prefix-name.scope in that slice

    with Group(config, id, …) as group:     made; and taken down again if the block fails
        … clone init, born into group.cgroup …
        group.go_home()

systemd starts a scope only with a process in it. That is we ourselves: init is cloned in there, and we go home.
"""

from __future__ import annotations

import os
import posixpath
from types import TracebackType

from labrt import paths
from labrt.errors import Conflict, InvalidConfig, LabrtError, NotSupported
from labrt.linux import cgroups, ledger, procfs

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labrt.linux.cgroups import properties


class Group:
    """A container's cgroup. `cgroup` is None where a rootless caller may make none, and no limit is asked for."""

    def __init__(self, config: dict[str, Any], id: str, *, rootless: bool, systemd: bool) -> None:
        self.cgroup: cgroups.Cgroup | None = None
        self.scope = ""
        self._home = ""
        self._rootless = rootless and not _limits(config)
        self._config = config
        path = config["linux"].get("cgroupsPath") or ""
        if systemd:
            self.slice, self.scope = unit_of(path, id)
            self.path = ""  # systemd will tell
        else:
            self.path = posixpath.normpath(posixpath.join(cgroups.PARENT, path or id))

    def __enter__(self) -> Group:
        try:
            self.cgroup = self._start_scope() if self.scope else _make(self.path)
            self.path = self.cgroup.path
        except NotSupported:
            if not self._rootless:
                raise
            self.path = self.scope = ""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.go_home()  # or `remove` would end us as well
        if kind is not None and self.cgroup:
            remove(self.cgroup, self.scope)

    def _start_scope(self) -> cgroups.Cgroup:
        from labrt.linux.cgroups import systemd

        if not systemd.present():
            remedy = "leave it out, and name a path in linux.cgroupsPath"
            raise NotSupported("--systemd-cgroup: systemd does not run here", remedy=remedy)
        if cgroups.detect().mode != "unified":
            raise NotSupported("--systemd-cgroup: labrt does this with cgroup v2 only")
        self._home = next(line.path for line in procfs.cgroup() if not line.controllers)
        path = systemd.start(os.getpid(), self.scope, self.slice, properties=_properties(self._config))
        ledger.record("cgroup", path)
        return cgroups.load(path, parent="/")

    def go_home(self) -> None:
        """Leave the scope to init, if we are in it."""
        if self._home and self.cgroup:
            home, self._home = self._home, ""
            if home == "/":
                tree = cgroups.detect().v2
                assert tree is not None
                cgroups.files.write(f"{tree.mountpoint}/cgroup.procs", os.getpid())
            else:
                cgroups.load(home, parent="/").add(os.getpid())


def unit_of(path: str, id: str) -> tuple[str, str]:
    """Read "slice:prefix:name": the slice and the unit's name. Else in system.slice, a user's in user.slice."""
    usual = "user.slice" if paths.owner() else "system.slice"
    if not path:
        return usual, f"labrt-{id}.scope"
    parts = path.split(":")
    if len(parts) != 3 or not parts[2] or "/" in path:
        remedy = 'with --systemd-cgroup it is "slice:prefix:name", such as "system.slice:labrt:c0ffee"'
        raise InvalidConfig(f"linux.cgroupsPath: {path!r} names no unit of systemd", remedy=remedy)
    slice, prefix, name = parts
    if slice and not _is_slice(slice):
        remedy = "its name ends in .slice; a-b.slice lies in a.slice"
        raise InvalidConfig(f"linux.cgroupsPath: {slice!r} is no slice", remedy=remedy)
    if name.endswith(".slice"):
        raise InvalidConfig(f"linux.cgroupsPath: {name!r} is a slice, which holds no process of its own")
    return slice or usual, f"{prefix}-{name}.scope" if prefix else f"{name}.scope"


def _is_slice(name: str) -> bool:
    """Whether it is a slice's name. Each dash begins a slice within the one before it, "-.slice" is the root."""
    stem = name.removesuffix(".slice")
    return stem != name and (stem == "-" or all(stem.split("-")))


def _properties(config: dict[str, Any]) -> list[properties.Property]:
    """What systemd is told of the container: its limits, and what annotations say. The last one wins."""
    from labrt.linux.cgroups import properties

    told = [*properties.of_resources(config["linux"].get("resources") or {}),
            *properties.of_annotations(config.get("annotations") or {})]  # fmt: skip
    return [*{one[0]: one for one in told}.values()]


def set_limits(cgroup: cgroups.Cgroup, scope: str, wanted: Mapping[str, Any]) -> None:
    """Change limits: as systemd knows them, then in the files, exactly. Raises InvalidConfig and NotSupported."""
    if scope:
        from labrt.linux.cgroups import properties, systemd

        systemd.set_properties(scope, properties.of_resources(wanted))
    cgroup.apply(wanted)


def _make(path: str) -> cgroups.Cgroup:
    if path == "/":
        raise InvalidConfig("linux.cgroupsPath: the root of the tree can be no container's")
    if ":" in path:
        raise InvalidConfig(f"linux.cgroupsPath: {path} is systemd's way to name one", remedy="give --systemd-cgroup")
    try:
        return cgroups.create(path, parent="/", every_tree=True)
    except Conflict:
        there = cgroups.load(path, parent="/", every_tree=True)
        if there.procs:
            remedy = "choose another linux.cgroupsPath: `delete` would end them, too"
            raise Conflict(f"the cgroup {path} has processes already: {there.procs}", remedy=remedy) from None
        there.remove()  # left by a container that was killed with its runtime
    return cgroups.create(path, parent="/", every_tree=True)


def remove(cgroup: cgroups.Cgroup, scope: str) -> None:
    """Take a container's cgroup down, with all that is in it."""
    cgroup.remove()
    if scope:
        from labrt.linux.cgroups import systemd

        try:
            systemd.stop_unit(scope)
        except LabrtError:
            return  # a scope that is empty goes by itself


def _limits(config: dict[str, Any]) -> bool:
    """Whether a config asks for limits, which without a cgroup nobody would keep."""
    resources = dict(config["linux"].get("resources") or {})
    resources.pop("devices", None)
    return any(resources.values())
