"""The volumes of a Pod, and where each container has them.

A volume becomes a PersistentVolumeClaim, an anonymous one an emptyDir that goes with the pod, a path of the host a
hostPath; a tmpfs, and a /dev/shm of another size than usual, an emptyDir in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from labrt.engine.generate.description import SHM, Description, Mounted
from labrt.engine.generate.pod_words import Json, Leave, dns_label, quantity, tmpfs_size, without_nothing

_SPREAD = {"shared": "Bidirectional", "slave": "HostToContainer"}


def mounts(one: Description, volumes: dict[str, Json], leave: Leave) -> Iterator[Json]:
    """Yield what is mounted where, and note each volume of the pod under its name."""
    for mount in one.mounts:
        volume = _volume(one, mount, len(volumes), leave)
        same = next((other for other in volumes.values() if _alike(other, volume)), None)
        volumes.setdefault((same or volume)["name"], volume)
        spread = mount.propagation.removeprefix("r")
        if mount.propagation and spread not in _SPREAD:
            leave(f"{mount.propagation} on {mount.target}")
        yield without_nothing({
            "name": (same or volume)["name"], "mountPath": mount.target, "readOnly": mount.read_only or None,
            "mountPropagation": _SPREAD.get(spread),
        })  # fmt: skip
    if one.host["ShmSize"] != SHM and one.host["IpcMode"] in ("private", "shareable"):
        name = f"{dns_label(one.name)}-shm"
        size = quantity(one.host["ShmSize"])
        volumes[name] = {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}
        yield {"name": name, "mountPath": "/dev/shm"}  # noqa: S108


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two are the same volume: an emptyDir is each its own."""
    return "emptyDir" not in one and {**one, "name": ""} == {**other, "name": ""}


def _volume(one: Description, mount: Mounted, number: int, leave: Leave) -> Json:
    if mount.kind == "bind":
        kind = "Directory" if os.path.isdir(mount.source) else "File" if os.path.isfile(mount.source) else ""
        where = without_nothing({"path": mount.source, "type": kind})
        return {"name": f"{dns_label(mount.source)[:40].strip('-')}-host-{number}", "hostPath": where}
    if mount.kind == "volume" and mount.source:
        name = claim_name(mount.source)
        if name != mount.source:
            leave(f"the name of volume {mount.source}: its claim is called {name}")
        return {"name": f"{name}-pvc", "persistentVolumeClaim": {"claimName": name}}
    if mount.kind == "volume":
        return {"name": f"anonymous-{number}", "emptyDir": {}}
    rest = [word for word in mount.words if not word.startswith("size=") and word not in ("rw", "ro")]
    if rest:
        leave(f"--tmpfs {mount.target}:{','.join(rest)}: an emptyDir has a size only")
    size = tmpfs_size(mount.value("size"))
    return {"name": f"tmpfs-{number}", "emptyDir": without_nothing({"medium": "Memory", "sizeLimit": size})}


def claim_name(volume: str) -> str:
    """Return what a volume's claim is called. a_b and a-b are two volumes, so what must be changed gets a suffix."""
    label = dns_label(volume)
    return label if label == volume else f"{label}-{hashlib.sha256(volume.encode()).hexdigest()[:6]}"


def claim(volume: str) -> Json:
    """Return the claim of a volume: without one there is no such volume in a cluster."""
    size = {"requests": {"storage": "1Gi"}}  # what podman writes, too: a volume here has no size
    spec = {"accessModes": ["ReadWriteOnce"], "resources": size}
    about = {"name": claim_name(volume)}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": about, "spec": spec}
