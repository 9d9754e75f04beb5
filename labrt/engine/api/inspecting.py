"""What a container is, in docker's shape: the engine's `inspect`, and what only a client of this API has said of it.

`remember` keeps, in the container's directory, the request that it was made by: api.json. For one that was made by
`labrt run` there is none, and its record says as much as is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from labrt.engine.container import Container
from labrt.image import files
from labrt.image.config import ImageConfig

_STDIO = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce")


def remember(container: Container, body: dict[str, Any], image: ImageConfig) -> None:
    """Keep what was asked for, with what the image adds to it."""
    replaced = bool(body.get("Entrypoint"))
    config = {name: body.get(name) or False for name in _STDIO}
    cmd = body.get("Cmd") or ([] if replaced else [*image.cmd])
    config |= {
        "Image": body["Image"],
        "Cmd": ([cmd] if isinstance(cmd, str) else cmd) or None,
        "Volumes": ({place: {} for place in image.volumes} | (body.get("Volumes") or {})) or None,
        "Env": _environment(body.get("Env") or [], [*image.env]),
        "OnBuild": None,
        "WorkingDir": body.get("WorkingDir") or image.working_dir,
        "User": body.get("User") or image.user,
    }
    network = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    kept = {"Config": config, "HostConfig": body.get("HostConfig") or {}, "Endpoints": network}
    files.replace(_path(container), json.dumps(kept).encode())


def _environment(given: list[str], usual: list[str]) -> list[str]:
    """Return what was given, and of the image's what was not given anew: a name alone takes it away."""
    names = {entry.partition("=")[0] for entry in given}
    return [entry for entry in given if "=" in entry] + [e for e in usual if e.partition("=")[0] not in names]


def asked(container: Container) -> dict[str, Any]:
    """Return what `remember` kept, or an empty object."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(_path(container), "rb") as file:
        kept: dict[str, Any] = json.load(file)
        return kept
    return {}


def _path(container: Container) -> str:
    return os.path.join(container.runtime.directory, "api.json")


def container(one: Container, *, execs: list[str] | None = None, size: bool = False) -> dict[str, Any]:
    """Return all of it."""
    from labrt.engine.api import networks
    from labrt.engine.images import Images

    found, kept, directory = one.inspect(), asked(one), one.runtime.directory
    found.pop("OCI")
    found["HostConfig"] = _host_config(found["HostConfig"], kept.get("HostConfig", {}))
    found["Config"] |= kept.get("Config", {})
    found["Config"].setdefault("AttachStdout", False)
    driver = Images(one.where).driver
    found |= {
        "ResolvConfPath": f"{directory}/resolv.conf", "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts", "Driver": driver.name, "Platform": "linux", "MountLabel": "",
        "ProcessLabel": "", "AppArmorProfile": "", "ExecIDs": execs or None,
        "GraphDriver": {"Name": driver.name, "Data": None},
        "NetworkSettings": networks.settings(one),
    }  # fmt: skip
    if size:
        found |= {"SizeRw": driver.usage(one.id), "SizeRootFs": root_size(one)}
    return found


def root_size(one: Container) -> int:
    """Return the bytes of its image's layers and its own."""
    from labrt.engine.images import Images
    from labrt.errors import LabrtError

    images = Images(one.where)
    size = images.driver.usage(one.id)
    with contextlib.suppress(LabrtError):
        size += images.find(str(one.image_id)).size
    return size


def _host_config(found: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Put docker's usual values where nobody said anything: its clients read fields without asking."""
    usual: dict[str, Any] = {
        "ContainerIDFile": "", "VolumeDriver": "", "ConsoleSize": [0, 0], "Cgroup": "", "Links": None, "Isolation": "",
        "DeviceRequests": None, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpuCount": 0, "CpuPercent": 0,
        "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
    }  # fmt: skip
    told = {name: given[name] for name in ("PortBindings", "ConsoleSize", "Mounts", "Binds") if given.get(name)}
    merged = usual | found | told
    mode = given.get("NetworkMode")
    return merged | ({"NetworkMode": mode} if mode and mode != "default" else {})
