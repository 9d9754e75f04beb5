"""Changing a container: its limits while it runs, its restart policy, its name.

    update(container, memory="64m", cpus=0.5, restart="always")

A limit is a file of the cgroup, and the kernel looks at it at each allocation, fork and tick of the scheduler: so a new
one holds from the next on. Nobody inside is asked. A limit of memory below what is in use makes the kernel reclaim, and
where that is not enough, kill (v2) or say EBUSY (v1). See cgroups(7); config-linux.md of the runtime-spec.

What the kernel has taken is then written into config.json, for the next start.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labrt.engine.options import resources
from labrt.engine.options.model import NAME, Options
from labrt.errors import Conflict, InvalidInput, KernelError, NotFound, NotSupported
from labrt.image import files
from labrt.linux import cgroups
from labrt.runtime.restarts import Policy

if TYPE_CHECKING:
    from labrt.engine.container import Container

LIMITS = ("memory", "memory_swap", "memory_reservation", "cpus", "cpu_shares", "cpu_period", "cpu_quota",
          "cpuset_cpus", "cpuset_mems", "pids_limit", "blkio_weight")  # fmt: skip


def update(container: Container, *, restart: str | None = None, **limits: Any) -> None:
    """Change what is given, and nothing else. `limits` are fields of Options; pids_limit -1 lifts that limit.

    All or nothing: Raises InvalidInput, or KernelError when the kernel refuses one, and then config.json is as before.
    """
    unknown = set(limits) - set(LIMITS)
    if unknown:
        raise InvalidInput(f"{sorted(unknown)[0]} cannot be changed", remedy=f"one of {', '.join(LIMITS)}, restart")
    policy = Policy.parse(restart) if restart is not None else None
    with container.locked():
        record, config = container.record(), container.runtime.config()
        host = record.setdefault("HostConfig", {})
        if policy and record["options"]["remove"] and policy.name != "no":
            raise Conflict("it is removed at its end, so nothing is left to restart", remedy="make one without --rm")
        if limits:
            wanted = _sections(limits, config["linux"].setdefault("resources", {}))
            if container.up:
                _apply(container, wanted)
            for name, section in wanted.items():
                config["linux"]["resources"][name] = {**config["linux"]["resources"].get(name, {}), **section}
            host |= _host_config(limits)
            _write(container, "config.json", config)
        if policy:
            host["RestartPolicy"] = policy.to_json()
            if container.up:
                with contextlib.suppress(Conflict):
                    container.runtime.ask(change={"restart": policy.to_json()})
        _write(container, "labrt.json", record)
    container.note("update", record)


def _sections(limits: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Return linux.resources, only what changes. Limits of memory belong together, so they come with the old ones."""
    given = {name: value for name, value in limits.items() if value is not None}
    memory = _memory(given, old.get("memory") or {})
    Options("-", **given | {name: memory[key] for name, key in _MEMORY.items() if key in memory})  # checks them
    cpu: dict[str, Any] = {}
    if "cpus" in given:
        cpu = {"period": 100_000, "quota": int(given["cpus"] * 100_000)}
    for name, key in (("cpu_period", "period"), ("cpu_quota", "quota"), ("cpu_shares", "shares"),
                      ("cpuset_cpus", "cpus"), ("cpuset_mems", "mems")):  # fmt: skip
        if given.get(name):
            cpu[key] = given[name]
    found: dict[str, Any] = {"memory": memory, "cpu": cpu}
    if given.get("pids_limit"):
        found["pids"] = {"limit": given["pids_limit"]}
    if given.get("blkio_weight"):
        found["blockIO"] = {"weight": given["blkio_weight"]}
    return {name: section for name, section in found.items() if section}


_MEMORY = {"memory": "limit", "memory_swap": "swap", "memory_reservation": "reservation"}


def _memory(given: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    if not set(given) & set(_MEMORY):
        return {}
    memory = {key: value for key, value in old.items() if key in ("limit", "swap")}
    if "memory" in given:
        memory["limit"] = resources.in_bytes(given["memory"])
    if "memory_reservation" in given:
        memory["reservation"] = resources.in_bytes(given["memory_reservation"])
    if both := resources.bytes_or_unlimited(given.get("memory_swap")):
        memory["swap"] = both
    elif "limit" in memory and "swap" not in memory:
        memory["swap"] = 2 * memory["limit"]
    elif 0 < memory.get("swap", 0) < memory.get("limit", 0):
        remedy = f"give --memory-swap, too: it is {memory['swap']} bytes now, memory and swap together"
        raise InvalidInput(f"--memory {given['memory']}: more than memory and swap together", remedy=remedy)
    return memory


def _apply(container: Container, wanted: Mapping[str, Any]) -> None:
    path = container.state.cgroup
    try:
        if not path:
            raise NotFound("it has no cgroup")
        cgroup = cgroups.load(path, parent="/")
    except NotFound:
        remedy = "only one that is in one has limits"
        raise NotSupported(f"container {container.name} has no cgroup", remedy=remedy) from None
    try:
        cgroup.apply(wanted)
    except KernelError as error:
        memory = wanted.get("memory") or {}
        if error.errno != errno.EINVAL or "swap" not in memory or cgroups.detect().mode == "unified":
            raise
        # v1 never lets memory be above memory and swap together: who raises both raises that one first.
        cgroup.apply({"memory": {"swap": memory["swap"]}})
        cgroup.apply(wanted)


def _host_config(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `inspect` reads in the record: what Docker has two ways to say. The rest it finds in config.json."""
    found: dict[str, Any] = {}
    if limits.get("cpus") is not None:
        found["NanoCpus"] = int(limits["cpus"] * 10**9)
    for name, key in (("cpu_period", "CpuPeriod"), ("cpu_quota", "CpuQuota")):
        if limits.get(name):
            found[key] = limits[name]
    return found


def rename(container: Container, name: str) -> None:
    """Give it another name: of all containers, only one has it. Raises InvalidInput or Conflict."""
    from labrt.engine.containers import Containers

    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name!r}: not a container's name", remedy="letters, digits, _ . -; two or more")
    with container.locked(), files.locked(os.path.join(container.where.containers, ".lock")):
        record = container.record()
        old = record["name"]
        for other, its in Containers(container.where).records():
            if its["name"] == name:
                raise Conflict(f"the name {name} is taken by container {other.id[:12]}", remedy="take another one")
        record["name"] = name
        _write(container, "labrt.json", record)
    with contextlib.suppress(Conflict):  # it does not run
        container.runtime.ask(change={"attributes": {"name": name}})
    container.note("rename", record, oldName=old)


def _write(container: Container, name: str, value: Mapping[str, Any]) -> None:
    files.replace(os.path.join(container.runtime.directory, name), json.dumps(value).encode())
