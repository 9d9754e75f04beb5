"""What a container of a Pod may use and who it is: quantities, users; and which of docker's options no pod has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labrt.engine.generate.description import Description
from labrt.engine.generate.pod_words import Leave, quantity

# Docker's name of a limit on disks, and how it is typed.
DISKS = {
    "BlkioWeight": "--blkio-weight", "BlkioWeightDevice": "--blkio-weight-device",
    "BlkioDeviceReadBps": "--device-read-bps", "BlkioDeviceWriteBps": "--device-write-bps",
    "BlkioDeviceReadIOps": "--device-read-iops", "BlkioDeviceWriteIOps": "--device-write-iops",
}  # fmt: skip
_NODE = "it is the node's to say"


def resources(host: Mapping[str, Any], leave: Leave) -> dict[str, Any]:
    """Return limits, which the kernel enforces, and requests, by which a node is chosen and CPU time is weighed."""
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    if host["Memory"] > 0:
        limits["memory"] = quantity(host["Memory"])
    if host["MemoryReservation"] > 0:
        requests["memory"] = quantity(host["MemoryReservation"])
    milli = host["NanoCpus"] // 10**6
    if host["CpuQuota"] > 0:
        milli = host["CpuQuota"] * 1000 // (host["CpuPeriod"] or 100_000)
    if milli:
        limits["cpu"] = f"{milli}m" if milli % 1000 else str(milli // 1000)
    shares = host["CpuShares"] * 1000 // 1024  # the kubelet's own sum, backwards
    if shares and milli and shares > milli:
        leave(f"--cpu-shares {host['CpuShares']}: a request may not be more than the limit")
    elif shares:
        requests["cpu"] = f"{shares}m"
    return {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


def user(one: Description, leave: Leave) -> tuple[int | None, int | None]:
    """Return its uid and gid, if they are not the image's. A name's are looked up in the container's /etc/passwd."""
    if not one.user:
        return None, None
    uid, colon, gid = one.user.partition(":")
    if uid.isdecimal() and (not colon or gid.isdecimal()):
        return int(uid), int(gid) if colon else None
    from labrt.errors import LabrtError

    try:
        return _look_up(one)
    except LabrtError as error:
        leave(f"--user {one.user}: Kubernetes wants numbers, and {error.message}")
        return None, None


def _look_up(one: Description) -> tuple[int, int]:
    import os

    from labrt.engine import views
    from labrt.runtime import program

    def find(view: views.View) -> tuple[int, int]:
        os.chroot(view.root)
        found = program.find_user(one.user)
        return found.uid, found.gid

    return views.look(one.container, find)


def leave_out(one: Description, leave: Leave) -> None:
    """Say what was asked for and no pod can ask for."""
    host = one.host
    for option, value, why in _unsayable(one):
        if value:
            leave(f"{option}{'' if value is True else f' {value}'}{f': {why}' if why else ''}")
    for device in host["Devices"] or ():
        leave(f"--device {device['PathOnHost']}: a node's device plugin hands devices out")
    for rule in host["DeviceCgroupRules"] or ():
        leave(f"--device-cgroup-rule {rule!r}")
    for limit in host["Ulimits"] or ():
        leave(f"--ulimit {limit['Name']}={limit['Soft']}:{limit['Hard']}: {_NODE}")
    for key, option in DISKS.items():
        if host[key]:
            leave(f"{option}: {_NODE}")


def _unsayable(one: Description) -> list[tuple[str, Any, str]]:
    host = one.host
    swap, pids = host["MemorySwap"], host["PidsLimit"] or 0
    return [
        ("--memory-swap", swap if swap not in (0, 2 * host["Memory"]) else 0, _NODE),
        ("--memory-swappiness", host["MemorySwappiness"], _NODE),
        ("--oom-kill-disable", host["OomKillDisable"], ""),
        ("--oom-score-adj", host["OomScoreAdj"], "it follows from limits and requests"),
        ("--pids-limit", pids if pids > 0 else 0, _NODE),
        ("--cpuset-cpus", host["CpusetCpus"], "a node's CPU manager gives CPUs away"),
        ("--cpuset-mems", host["CpusetMems"], _NODE),
        ("--cgroup-parent", host["CgroupParent"], "the pod's cgroup is its parent"),
        ("--cgroupns host", host["CgroupnsMode"] == "host", ""),
        ("--uts host", host["UTSMode"] == "host", "hostNetwork brings the hostname with it"),
        ("--ipc none", host["IpcMode"] == "none", ""),
        ("--init", bool(host.get("Init")), "put tini into the image, or share the pod's process namespace"),
        ("--rm", host["AutoRemove"], "a Job with ttlSecondsAfterFinished goes by itself"),
        ("--domainname", one.config["Domainname"], "subdomain, with a Service of that name"),
        ("--stop-signal", one.stop_signal, "the image's STOPSIGNAL counts"),
        ("--log-opt", ",".join(sorted(host["LogConfig"]["Config"])), _NODE),
        ("--runtime", host["Runtime"] if host["Runtime"] != "labrt" else "", "runtimeClassName names a RuntimeClass"),
        ("--mac-address", ",".join(wish["mac"] for wish in one.networks if wish["mac"]), ""),
        ("--ip", ",".join(filter(None, (wish[key] for wish in one.networks for key in ("ip", "ip6")))), ""),
    ]  # fmt: skip
