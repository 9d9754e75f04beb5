"""What `labrt inspect` prints: a container or an image as a JSON object, in the shape of Docker's Engine API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labrt.engine.containers import Container
    from labrt.image.image import Image


def container_to_json(container: Container) -> dict[str, Any]:
    """As the Engine API's ContainerInspect, with the config.json that the runtime got as `OCI`."""
    record, state, config = container.record(), container.state, container.runtime.config()
    process = config["process"]
    path, *args = record["command"]
    return {
        "Id": container.id,
        "Created": rfc3339(record["created"]),
        "Path": path,
        "Args": args,
        "State": {
            "Status": container.status,
            "Running": container.up,
            "Paused": container.status == "paused",
            "Restarting": container.status == "restarting",
            "OOMKilled": state.oom_killed,
            "Dead": False,
            "Pid": state.pid if container.status in ("running", "paused") else 0,
            "ExitCode": state.exit_code or 0,
            "Error": state.error,
            "StartedAt": rfc3339(state.started),
            "FinishedAt": rfc3339(state.finished),
            **({"Health": health} if (health := container.health) else {}),
        },
        "RestartCount": state.restarts,
        "Image": record["image_id"],
        "Name": f"/{record['name']}",
        "LogPath": container.runtime.log,
        "HostConfig": _host_config(record.get("HostConfig") or {}, config),
        "Mounts": mounts(container),
        "NetworkSettings": _network_settings(container),
        "Config": {
            "Hostname": config.get("hostname", ""),
            "User": config["annotations"].get("org.labrt.user", ""),
            "Tty": process["terminal"],
            "OpenStdin": record["options"]["interactive"],
            "Env": process["env"],
            "Cmd": record["command"],
            "Image": record["image"],
            "WorkingDir": process["cwd"],
            **(record.get("Config") or {}),
        },
        "OCI": config,
    }


# Docker's HostConfig of a container for which nothing was asked: an option that was given is in its record.
_UNASKED: dict[str, Any] = {
    "Binds": None, "CapAdd": None, "CapDrop": None, "CgroupParent": "", "DeviceCgroupRules": None, "Devices": [],
    "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": [], "GroupAdd": None, "MemorySwappiness": None,
    "OomKillDisable": False, "OomScoreAdj": 0, "SecurityOpt": None, "Ulimits": [], "VolumesFrom": None,
    "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [],
    "BlkioDeviceWriteIOps": [], "PortBindings": {}, "PublishAllPorts": False,
}  # fmt: skip


def _host_config(recorded: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """What was asked for; and what `labrt update` may have changed since, from config.json."""
    resources = config["linux"].get("resources") or {}
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    by_quota = bool(recorded.get("CpuQuota") or recorded.get("CpuPeriod"))
    period, quota = cpu.get("period", 0), cpu.get("quota", 0)
    return {
        **_UNASKED,
        **recorded,
        "Memory": memory.get("limit", 0),
        "MemorySwap": memory.get("swap", 0),
        "MemoryReservation": memory.get("reservation", 0),
        "NanoCpus": max(0, quota * 10**9 // period) if period and not by_quota else 0,
        "CpuPeriod": period if by_quota else 0,
        "CpuQuota": quota if by_quota else 0,
        "CpuShares": cpu.get("shares", 0),
        "CpusetCpus": cpu.get("cpus", ""),
        "CpusetMems": cpu.get("mems", ""),
        "BlkioWeight": (resources.get("blockIO") or {}).get("weight", 0),
        "PidsLimit": (resources.get("pids") or {}).get("limit"),
        "ReadonlyRootfs": config["root"]["readonly"],
        "MaskedPaths": config["linux"].get("maskedPaths") or [],
        "ReadonlyPaths": config["linux"].get("readonlyPaths") or [],
    }


def mounts(container: Container) -> list[dict[str, Any]]:
    """What somebody wanted mounted, as docker's MountPoint: not what each container has."""
    from labrt.engine.others import visible

    config = container.runtime.config()
    sources = {mount["destination"]: mount["source"] for mount in config["mounts"]}
    found = []
    for mount in visible(container):
        volume = not mount.source.startswith("/")
        words = set(mount.options)
        spread = words & {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
        found.append({
            "Type": "volume" if volume else "bind",
            **({"Name": mount.source, "Driver": "local"} if volume else {}),
            "Source": sources[mount.destination],
            "Destination": mount.destination,
            "Mode": "ro" if {"ro", "rro"} & words else "",
            "RW": not {"ro", "rro"} & words,
            "Propagation": "" if volume else next(iter(spread), "rprivate"),
        })  # fmt: skip
    for mount in config["mounts"]:
        if mount["type"] == mount["source"] == "tmpfs" and mount["destination"] != "/dev":
            found.append({
                "Type": "tmpfs", "Source": "", "Destination": mount["destination"], "Mode": "",
                "RW": "ro" not in mount["options"], "Propagation": "",
            })  # fmt: skip
    return found


def _network_settings(container: Container) -> dict[str, Any]:
    from labrt.engine import network_views

    return network_views.settings(container)


def image_to_json(image: Image) -> dict[str, Any]:
    """As the Engine API's ImageInspect."""
    config = image.config
    return {
        "Id": str(image.id),
        "RepoTags": [image.reference.familiar],
        "RepoDigests": [f"{image.reference.name}@{image.descriptor.digest}"],
        "Created": config.created,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": image.size,
        "Author": config.author,
        "Config": {
            "User": config.user,
            "Env": list(config.env),
            "Cmd": list(config.cmd),
            "Entrypoint": list(config.entrypoint),
            "WorkingDir": config.working_dir,
            "Labels": dict(config.labels),
        },
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
    }


def rfc3339(seconds: float) -> str:
    """Write a time as the Engine API does: UTC, with nanoseconds; the year 1 stands for never."""
    if not seconds:
        return "0001-01-01T00:00:00Z"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1e9):09d}Z"
