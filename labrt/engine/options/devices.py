"""Devices of the host in a container: --device, --device-cgroup-rule, and all of them with --privileged.

Two things keep a container from a device: there is no node for it in its /dev, and the cgroup lets nobody open it,
whatever node is made. --device changes both for one device, --device-cgroup-rule only the latter, for devices that come
and go. See mknod(2), cgroups/devices.py.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput

_RULE = re.compile(r"([abc]) (\d+|\*):(\d+|\*) ([rwm]{1,3})")
# Of the container itself, not of the host: its terminals, its shared memory.
_ITS_OWN = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/ptmx")  # noqa: S108


class Device(NamedTuple):
    """One `--device`: on the host, in the container, and what may be done: r(ead), w(rite), m(ake a node)."""

    host: str
    inside: str
    access: str


def check(options: Options) -> None:
    """Raise InvalidInput for what is not understood."""
    for text in options.device:
        parse(text)
    for text in options.device_cgroup_rule:
        rule(text)


def parse(text: str) -> Device:
    """Read HOST[:INSIDE][:ACCESS]. Two parts are HOST:ACCESS when the second is made of r, w and m."""
    parts = text.split(":")
    if len(parts) == 2 and _is_access(parts[1]):
        parts = [parts[0], parts[0], parts[1]]
    host, inside, access = [*parts, *(parts[0], "rwm")[len(parts) - 1 :]] if len(parts) < 4 else ("", "", "")
    if not host.startswith("/") or not inside.startswith("/") or ".." in inside.split("/"):
        remedy = "/dev/NAME[:/dev/THERE][:rwm]"
        raise InvalidInput(f"--device {text!r}: not understood", remedy=remedy)
    if not _is_access(access):
        raise InvalidInput(f"--device {text}: {access!r} is no access", remedy="made of r, w and m")
    return Device(host, inside, access)


def _is_access(text: str) -> bool:
    return 0 < len(text) <= 3 and set(text) <= set("rwm") and len(set(text)) == len(text)


def rule(text: str) -> dict[str, Any]:
    """Read `--device-cgroup-rule "c 13:* rwm"` as an entry of linux.resources.devices."""
    match = _RULE.fullmatch(text)
    if not match:
        raise InvalidInput(f"--device-cgroup-rule {text!r}: not understood", remedy='like "c 13:* rwm"')
    entry: dict[str, Any] = {"allow": True, "type": match[1], "access": match[4]}
    numbers = {"major": match[2], "minor": match[3]}
    return entry | {name: int(number) for name, number in numbers.items() if number != "*"}


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write nodes and rules into config.json. Raises InvalidInput for a device that the host does not have."""
    nodes, rules = [], config["linux"]["resources"]["devices"]
    if options.privileged:
        nodes += [node for _, node in _below("/dev", "/dev") if not _is_its_own(node["path"])]
        rules.append({"allow": True, "access": "rwm"})
    for text in options.device:
        device = parse(text)
        found = list(_find(device))
        nodes += found
        if not options.privileged:
            rules += [_allow(node, device.access) for node in found]
    if not options.privileged:
        rules += map(rule, options.device_cgroup_rule)
    if nodes:
        config["linux"]["devices"] = list({node["path"]: node for node in nodes}.values())


def _is_its_own(path: str) -> bool:
    return any(path == own or path.startswith(f"{own}/") for own in _ITS_OWN)


def _allow(node: dict[str, Any], access: str) -> dict[str, Any]:
    return {"allow": True, "type": node["type"], "major": node["major"], "minor": node["minor"], "access": access}


def _find(device: Device) -> Iterator[dict[str, Any]]:
    """Describe the host's node, or all below it when it is a directory."""
    path = os.path.realpath(device.host)
    node = _describe(path, device.inside)
    found = [node] if node else [one for _, one in _below(path, device.inside)]
    if not found:
        what = "no device" if os.path.exists(path) else "no such file"
        raise InvalidInput(f"--device {device.host}: {what}", remedy="see `ls -l /dev`")
    yield from found


def _below(path: str, inside: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Describe each device below a directory, links left out: (its path here, the node)."""
    for directory, _, names in os.walk(path):
        for name in sorted(names):
            here = os.path.join(directory, name)
            node = _describe(here, os.path.join(inside, os.path.relpath(here, path)))
            if node:
                yield here, node


def _describe(path: str, inside: str) -> dict[str, Any] | None:
    """Return an entry of linux.devices, or None for what is no device."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    mode = stat.S_IMODE(status.st_mode)
    return {
        "path": inside, "type": kind, "major": major, "minor": minor,
        "fileMode": mode, "uid": status.st_uid, "gid": status.st_gid,
    }  # fmt: skip


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's Devices and DeviceCgroupRules."""
    devices = map(parse, options.device)
    return {
        "Devices": [
            {"PathOnHost": one.host, "PathInContainer": one.inside, "CgroupPermissions": one.access} for one in devices
        ],
        "DeviceCgroupRules": list(options.device_cgroup_rule) or None,
    }
