"""Containers as the services of a compose file, in the words of the compose-spec.

    document, left_out = write([Description.of(container), …])

Nearly everything of `docker run` has a word here. A network is made anew for the project, so that the file works where
there is none; a volume keeps its name, and with it what is in it. In every value `$` is doubled, since Compose puts
variables in place of $NAME. See https://github.com/compose-spec/compose-spec, 05-services.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labrt.engine.generate.description import SHM, Description, Mounted
from labrt.engine.generate.text import looks_secret

if TYPE_CHECKING:
    from labrt.runtime.networks.definition import Network

Leave = Callable[[str], None]
Json = dict[str, Any]
_SECONDS = (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod"),
            ("start_interval", "StartInterval"))  # fmt: skip
_RATES = {"BlkioDeviceReadBps": "device_read_bps", "BlkioDeviceWriteBps": "device_write_bps",
          "BlkioDeviceReadIOps": "device_read_iops", "BlkioDeviceWriteIOps": "device_write_iops"}  # fmt: skip


def write(containers: Sequence[Description]) -> tuple[Json, list[str]]:
    """Return the document, and a line for each thing that it does not say."""
    left_out: list[str] = []
    services = {one.name: _service(one, containers, left_out.append) for one in containers}
    volumes = {mount.source: {"name": mount.source} for one in containers for mount in one.mounts
               if mount.kind == "volume" and mount.source}  # fmt: skip
    networks = {name: _network(name, containers, left_out.append) for one in containers for name in _own(one)}
    document = {"services": services, **({"networks": networks} if networks else {}),
                **({"volumes": volumes} if volumes else {})}  # fmt: skip
    escaped: Json = _literal(document)
    return escaped, left_out


def _literal(value: Any) -> Any:
    """Double every $ in values; Compose leaves names alone."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _service(one: Description, containers: Sequence[Description], leave: Leave) -> Json:
    if not one.reference:
        leave(f"{one.name}: its image has no name, only the id {one.image}: tag it, and write that name here")
    if any(map(looks_secret, one.env)):
        leave(f"{one.name}: secrecy: variables stand below as they are, and by their names some are secrets")
    if one.host["AutoRemove"]:
        leave(f"{one.name}: --rm: `docker compose down` removes it")
    if one.host["UsernsMode"]:
        leave(f"{one.name}: --uidmap, --gidmap, --userns: dockerd maps users for all containers, by userns-remap")
    if one.host["CpusetMems"]:
        leave(f"{one.name}: --cpuset-mems {one.host['CpusetMems']}")
    parts = (_image_and_words(one), _who(one, containers), _connected(one, containers), _files(one), _power(one.host),
             _limits(one), _kept(one))  # fmt: skip
    found = {key: value for part in parts for key, value in part.items()}
    return {key: value for key, value in found.items() if value not in (None, "", [], {}, 0, False)}


def _image_and_words(one: Description) -> Json:
    return {
        "image": one.image,
        "container_name": one.name,
        "entrypoint": one.entrypoint,
        "command": one.command,
        "environment": one.env,
        "working_dir": one.workdir,
        "user": one.user,
        "stdin_open": bool(one.config["OpenStdin"]),
        "tty": bool(one.config["Tty"]),
    }


def _who(one: Description, containers: Sequence[Description]) -> Json:
    """Its names, and the namespaces that it shares."""
    host = one.host
    ipc = "" if host["IpcMode"] == "private" else host["IpcMode"]
    return {
        "hostname": one.hostname,
        "domainname": one.config["Domainname"],
        "ipc": _mode(ipc, containers),
        "pid": _mode(host["PidMode"], containers),
        "uts": host["UTSMode"],
        "cgroup": host["CgroupnsMode"] if host["CgroupnsMode"] == "host" else "",
        "extra_hosts": [text.replace("=", ":", 1) for text in host["ExtraHosts"] or ()],
        "dns": host["Dns"],
        "dns_search": host["DnsSearch"],
        "dns_opt": host["DnsOptions"],
    }


def _mode(mode: str, containers: Sequence[Description]) -> str:
    """Write container:ID as the service that it is here, or by the name that it has."""
    id = mode.removeprefix("container:")
    if id == mode:
        return mode
    return next((f"service:{one.name}" for one in containers if one.id == id), mode)


def _own(one: Description) -> list[str]:
    """Name the networks that the project makes. On the default one nobody has a name: that is network_mode's."""
    return [wish["network"] for wish in one.networks if wish["network"] not in ("bridge", "pasta", "slirp4netns")]


def _connected(one: Description, containers: Sequence[Description]) -> Json:
    own = set(_own(one))
    wishes = [wish for wish in one.networks if wish["network"] in own]
    return {
        "network_mode": "" if own else _mode(one.host["NetworkMode"], containers),
        "networks": {wish["network"]: _endpoint(wish) or None for wish in wishes},
        "mac_address": next((wish["mac"] for wish in one.networks if wish["mac"]), ""),
        "ports": [*_ports(one)],
        "expose": [f"{port.inner}/{port.protocol}" for port in one.ports if not port.outer],
    }


def _endpoint(wish: Mapping[str, Any]) -> Json:
    found = {"aliases": wish["aliases"], "ipv4_address": wish["ip"], "ipv6_address": wish["ip6"]}
    return {key: value for key, value in found.items() if value}


def _ports(one: Description) -> Iterator[str]:
    for port in one.ports:
        if port.outer:
            address = f"[{port.address}]" if ":" in port.address else port.address
            outer = "" if port.outer == "0" else port.outer
            ends = [address] if address else []
            ends += [outer] if outer or address else []
            yield ":".join([*ends, f"{port.inner}/{port.protocol}"])


def _network(name: str, containers: Sequence[Description], leave: Leave) -> Json | None:
    """Describe a network; its addresses only where one of the containers wants one of them."""
    from labrt.errors import NotFound
    from labrt.runtime.networks import definition

    try:
        network = definition.load(containers[0].container.where.networks, name)
    except NotFound:
        leave(f"network {name}: it was removed, and only its name is known")
        return None
    fixed = any(wish["ip"] or wish["ip6"] for one in containers for wish in one.networks if wish["network"] == name)
    found = {
        "driver": network.driver if network.driver != "bridge" else "",
        "driver_opts": dict(network.options), "internal": network.internal, "labels": dict(network.labels),
        "enable_ipv6": bool(network.of(6)), "ipam": {"config": _addresses(network)} if fixed else {},
    }  # fmt: skip
    return {key: value for key, value in found.items() if value} or None


def _addresses(network: Network) -> list[Json]:
    return [{"subnet": one.subnet, "gateway": one.gateway} | ({"ip_range": one.ip_range} if one.ip_range else {})
            for one in network.subnets]  # fmt: skip


def _files(one: Description) -> Json:
    host = one.host
    return {
        "read_only": host["ReadonlyRootfs"],
        "volumes": [_volume(mount) for mount in one.mounts if mount.kind != "tmpfs" and not mount.from_image],
        "tmpfs": [":".join(filter(None, (mount.target, ",".join(mount.words))))
                  for mount in one.mounts if mount.kind == "tmpfs"],
        "shm_size": host["ShmSize"] if host["ShmSize"] != SHM else 0,
        "devices": [":".join(one.values()) for one in host["Devices"] or ()],
        "device_cgroup_rules": host["DeviceCgroupRules"],
    }  # fmt: skip


def _volume(mount: Mounted) -> Json:
    found = {"type": mount.kind, "source": mount.source, "target": mount.target, "read_only": mount.read_only,
             "bind": {"propagation": mount.propagation} if mount.propagation else {}}  # fmt: skip
    return {key: value for key, value in found.items() if value}


def _power(host: Mapping[str, Any]) -> Json:
    return {
        "privileged": host["Privileged"],
        "cap_add": [name.removeprefix("CAP_") for name in host["CapAdd"] or ()],
        "cap_drop": [name.removeprefix("CAP_") for name in host["CapDrop"] or ()],
        "security_opt": [text.replace("=", ":", 1) for text in host["SecurityOpt"] or ()],
        "group_add": host["GroupAdd"],
    }


def _limits(one: Description) -> Json:
    host = one.host
    memory, swap, pids = host["Memory"], host["MemorySwap"], host["PidsLimit"] or 0
    return {
        "mem_limit": max(memory, 0),
        "memswap_limit": swap if swap != 2 * memory else 0,
        "mem_reservation": host["MemoryReservation"],
        "mem_swappiness": host["MemorySwappiness"],
        "oom_kill_disable": host["OomKillDisable"],
        "oom_score_adj": host["OomScoreAdj"],
        "cpus": host["NanoCpus"] / 10**9,
        "cpu_shares": host["CpuShares"],
        "cpu_period": host["CpuPeriod"],
        "cpu_quota": host["CpuQuota"],
        "cpuset": host["CpusetCpus"],
        "pids_limit": pids if pids > 0 else 0,
        "blkio_config": _disks(host),
        "cgroup_parent": host["CgroupParent"],
        "ulimits": {limit["Name"]: {"soft": limit["Soft"], "hard": limit["Hard"]} for limit in host["Ulimits"] or ()},
        "sysctls": dict(host.get("Sysctls") or {}),
    }


def _disks(host: Mapping[str, Any]) -> Json:
    weights = [{"path": entry["Path"], "weight": entry["Weight"]} for entry in host["BlkioWeightDevice"] or ()]
    found = {"weight": host["BlkioWeight"], "weight_device": weights}
    for key, word in _RATES.items():
        found[word] = [{"path": entry["Path"], "rate": entry["Rate"]} for entry in host[key] or ()]
    return {key: value for key, value in found.items() if value}


def _kept(one: Description) -> Json:
    """What is remembered of it, for later."""
    host, policy, log = one.host, one.host["RestartPolicy"], one.host["LogConfig"]
    name = policy.get("Name") or "no"
    most = policy.get("MaximumRetryCount")
    return {
        "labels": one.labels,
        "annotations": host.get("Annotations"),
        "init": host.get("Init"),
        "restart": "" if name == "no" else f"{name}:{most}" if most else name,
        "stop_signal": one.stop_signal,
        "stop_grace_period": f"{one.config['StopTimeout']}s" if (one.config["StopTimeout"] or -1) >= 0 else "",
        "healthcheck": {} if one.healthcheck_is_the_images else _healthcheck(one),
        "logging": {"driver": log["Type"], "options": log["Config"]} if log["Config"] else {},
        "runtime": host["Runtime"] if host["Runtime"] != "labrt" else "",
    }


def _healthcheck(one: Description) -> Json:
    check = one.healthcheck
    if check is None:
        return {"disable": True}
    found: Json = {"test": list(check["Test"])}
    found |= {word: f"{check[key] / 1e9:g}s" for word, key in _SECONDS if check.get(key)}
    return found | ({"retries": check["Retries"]} if check.get("Retries") else {})
