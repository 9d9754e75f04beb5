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
    resources = config["linux"]["resources"]
    volumes = {use["destination"]: use["name"] for use in record.get("volumes", ())}
    return {
        "Id": container.id,
        "Created": rfc3339(record["created"]),
        "Path": process["args"][0],
        "Args": process["args"][1:],
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
        "HostConfig": {
            "AutoRemove": record["options"]["remove"],
            "NetworkMode": record["options"]["network"],
            "Memory": resources.get("memory", {}).get("limit", 0),
            "MemorySwap": resources.get("memory", {}).get("swap", 0),
            "NanoCpus": int(resources.get("cpu", {}).get("quota", 0) * 10_000),
            "PidsLimit": resources.get("pids", {}).get("limit"),
            "ReadonlyRootfs": config["root"]["readonly"],
        },
        "Mounts": [
            {**({"Type": "volume", "Name": volumes[mount["destination"]]} if mount["destination"] in volumes
                else {"Type": "bind"}),
             "Source": mount["source"], "Destination": mount["destination"],
             "RW": not {"ro", "rro"} & set(mount["options"])}
            for mount in config["mounts"] if mount["type"] == "bind"
        ],
        "Config": {
            "Hostname": config["hostname"],
            "User": config["annotations"].get("org.labrt.user", ""),
            "Tty": process["terminal"],
            "OpenStdin": record["options"]["interactive"],
            "Env": process["env"],
            "Cmd": process["args"],
            "Image": record["image"],
            "WorkingDir": process["cwd"],
        },
        "OCI": config,
    }  # fmt: skip


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
