"""From the body of POST /containers/create to labrt's options: what `docker run` was told, once more in its words.

Every field is understood, or has no effect here and stands in IGNORED, or is refused by its name if it asks for
something: nothing is dropped silently.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from labrt import paths
from labrt.engine.options import mount_words
from labrt.errors import InvalidInput, NotSupported

Body = Mapping[str, Any]

# Of no effect in labrt, whatever they say: for clients to read again, for Windows, or for drivers that labrt has not.
IGNORED = {
    "AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce", "ArgsEscaped", "Shell", "OnBuild", "ContainerIDFile",
    "Isolation", "Cgroup", "ExecIDs",
}  # fmt: skip
CONFIG = {
    "Hostname", "Domainname", "User", "ExposedPorts", "Tty", "OpenStdin", "Env", "Cmd", "Healthcheck", "Image",
    "Volumes", "WorkingDir", "Entrypoint", "NetworkDisabled", "MacAddress", "Labels", "StopSignal", "StopTimeout",
}  # fmt: skip
# Fields that are one option each, and are left out when they say nothing.
_SIMPLE = {
    "CgroupParent": "cgroup_parent", "Memory": "memory", "MemorySwap": "memory_swap",
    "MemoryReservation": "memory_reservation", "CpuShares": "cpu_shares", "CpuPeriod": "cpu_period",
    "CpuQuota": "cpu_quota", "CpusetCpus": "cpuset_cpus", "CpusetMems": "cpuset_mems", "PidsLimit": "pids_limit",
    "BlkioWeight": "blkio_weight", "OomScoreAdj": "oom_score_adj", "OomKillDisable": "oom_kill_disable",
    "AutoRemove": "remove", "ReadonlyRootfs": "read_only", "Privileged": "privileged", "CapAdd": "cap_add",
    "CapDrop": "cap_drop", "GroupAdd": "group_add", "Dns": "dns", "DnsOptions": "dns_option", "DnsSearch": "dns_search",
    "VolumesFrom": "volumes_from", "DeviceCgroupRules": "device_cgroup_rule", "CgroupnsMode": "cgroupns",
    "IpcMode": "ipc", "PidMode": "pid", "UTSMode": "uts", "UsernsMode": "userns", "ShmSize": "shm_size",
    "Init": "init", "Binds": "volumes", "PublishAllPorts": "publish_all",
}  # fmt: skip
_DISKS = {
    "BlkioWeightDevice": "blkio_weight_device", "BlkioDeviceReadBps": "device_read_bps",
    "BlkioDeviceWriteBps": "device_write_bps", "BlkioDeviceReadIOps": "device_read_iops",
    "BlkioDeviceWriteIOps": "device_write_iops",
}  # fmt: skip
_DEFAULT_WORDS = {"", "default", "private"}  # of the fields that name a namespace: what it is anyway


def options(body: Body, name: str | None, platform: str | None) -> dict[str, Any]:
    """Return the fields of Options. Raises InvalidInput or NotSupported, which name the field."""
    host = _object(body, "HostConfig")
    given = _config(body, host)
    given |= _host(host)
    if name:
        given["name"] = name.removeprefix("/")
    if platform:
        given["platform"] = platform
    return given | _network(body, host)


def _config(body: Body, host: Body) -> dict[str, Any]:
    _refuse_unknown(body, CONFIG | IGNORED | {"HostConfig", "NetworkingConfig"})
    if not isinstance(body.get("Image") or "", str) or not body.get("Image"):
        raise InvalidInput("no image specified")
    given: dict[str, Any] = {"image": body["Image"], "command": tuple(_words(body, "Cmd") or ())}
    plain = {
        "Hostname": "hostname", "Domainname": "domainname", "User": "user", "WorkingDir": "workdir", "Tty": "tty",
        "OpenStdin": "interactive", "StopSignal": "stop_signal", "StopTimeout": "stop_timeout",
    }  # fmt: skip
    given |= {field: body[name] for name, field in plain.items() if body.get(name) not in (None, "", False)}
    if "UTSMode" in host and host["UTSMode"] == "host":
        given.pop("hostname", None)
    if body.get("Entrypoint") is not None:
        given["entrypoint"] = _words(body, "Entrypoint")
    # A name without a value would be the daemon's own variable; dockerd takes it for one to be unset.
    given["env"] = [entry for entry in _strings(body, "Env") if "=" in entry]
    given["label"] = [f"{key}={value}" for key, value in _object(body, "Labels").items()]
    given["expose"] = [*_object(body, "ExposedPorts")]
    given["volumes"] = [*_strings(host, "Binds"), *_anonymous(body, host)]
    if body.get("MacAddress"):
        given["mac_address"] = body["MacAddress"]
    return given | _health(_object(body, "Healthcheck"))


def _anonymous(body: Body, host: Body) -> Iterator[str]:
    """Yield the places of anonymous volumes: Volumes names also those that have a bind."""
    taken = {bind.split(":")[1] for bind in _strings(host, "Binds") if ":" in bind}
    taken |= {str(mount.get("Target")) for mount in _objects(host, "Mounts")}
    for place in _object(body, "Volumes"):
        if place not in taken:
            yield place


def _health(check: Body) -> dict[str, Any]:
    given: dict[str, Any] = {}
    words = _strings(check, "Test")
    if words[:1] == ["NONE"]:
        return {"no_healthcheck": True}
    if words[:1] == ["CMD-SHELL"]:
        given["health_cmd"] = " ".join(words[1:])
    elif words:
        given["health_cmd"] = words[1:] if words[0] == "CMD" else words
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if check.get(name):
            option = {"StartPeriod": "start_period", "StartInterval": "start_interval"}.get(name, name.lower())
            given[f"health_{option}"] = f"{int(check[name])}ns"
    if check.get("Retries"):
        given["health_retries"] = check["Retries"]
    return given


def _host(host: Body) -> dict[str, Any]:
    handled = {*_SIMPLE, *_DISKS, *_SPECIAL, *IGNORED, "NetworkMode", "PortBindings", "Binds"}
    _refuse_unknown(host, handled)
    given: dict[str, Any] = {}
    for name, field in _SIMPLE.items():
        value = host.get(name)
        usual = field in ("ipc", "pid", "uts", "userns", "cgroupns") and value in _DEFAULT_WORDS
        if name == "Binds" or not value or usual:
            continue
        given[field] = [value] if field in ("cap_add", "cap_drop") and isinstance(value, str) else value
    for name, field in _DISKS.items():
        key = "Weight" if name == "BlkioWeightDevice" else "Rate"
        if _objects(host, name):
            given[field] = [f"{one['Path']}:{one[key]}" for one in _objects(host, name)]
    for name, special in _SPECIAL.items():
        if host.get(name) is not None:
            given |= special(host[name])
    if host.get("MaskedPaths") == [] and host.get("ReadonlyPaths") == []:
        given["security_opt"] = [*given.get("security_opt", []), "systempaths=unconfined"]
    return given


def _restart(policy: Body) -> dict[str, Any]:
    name, most = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    if most and name != "on-failure":
        raise InvalidInput("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    return {"restart": f"{name}:{most}" if most else name}


def _logging(config: Body) -> dict[str, Any]:
    options = config.get("Config") or {}
    given: dict[str, Any] = {"log_opt": [f"{key}={value}" for key, value in options.items()]} if options else {}
    return given | ({"log_driver": config["Type"]} if config.get("Type") else {})


def _ulimits(limits: list[Body]) -> dict[str, Any]:
    return {"ulimit": [f"{one['Name']}={one['Soft']}:{one['Hard']}" for one in limits]} if limits else {}


def _devices(devices: list[Body]) -> dict[str, Any]:
    words = []
    for one in devices:
        inside = one.get("PathInContainer") or one["PathOnHost"]
        words.append(f"{one['PathOnHost']}:{inside}:{one.get('CgroupPermissions') or 'rwm'}")
    return {"device": words} if words else {}


def _pairs(field: str, mark: str) -> Callable[[Body], dict[str, Any]]:
    def words(value: Body) -> dict[str, Any]:
        texts = [f"{key}{mark}{inner}" if inner or mark == "=" else key for key, inner in value.items()]
        return {field: texts} if texts else {}

    return words


def _mounts(mounts: list[Body]) -> dict[str, Any]:
    return {"mount": [_mount(one) for one in mounts]} if mounts else {}


def _mount(one: Body) -> str:
    """Write an entry of Mounts as `--mount` has it, one line of CSV."""
    options = {"BindOptions", "VolumeOptions", "TmpfsOptions"}
    _refuse_unknown(one, {"Type", "Source", "Target", "ReadOnly", "Consistency", *options})
    bind, volume, tmpfs = (_object(one, f"{kind}Options") for kind in ("Bind", "Volume", "Tmpfs"))
    read_only = {"ReadOnlyNonRecursive", "ReadOnlyForceRecursive"}
    _refuse_unknown(bind, {"Propagation", "NonRecursive", "CreateMountpoint", *read_only})
    _refuse_unknown(volume, {"NoCopy", "Labels", "DriverConfig"})
    _refuse_unknown(tmpfs, {"SizeBytes", "Mode"})
    kind, source = one.get("Type") or "", one.get("Source") or ""
    driver = _object(volume, "DriverConfig")
    if driver.get("Name") not in (None, "", "local") or driver.get("Options"):
        raise NotSupported("Mounts: VolumeOptions.DriverConfig names another driver than local")
    if kind == "bind" and bind.get("CreateMountpoint") and source.startswith("/") and not os.path.lexists(source):
        os.makedirs(source, 0o755)
    if kind == "bind" and not os.path.lexists(source):
        what = f'invalid mount config for type "bind": bind source path does not exist: {source}'
        raise InvalidInput(what)
    words = [f"type={kind}", f"target={one.get('Target') or ''}"]
    words += [f"source={source}"] if source else []
    words += ["readonly"] if one.get("ReadOnly") else []
    words += [f"bind-propagation={bind['Propagation']}"] if bind.get("Propagation") else []
    if bind.get("NonRecursive"):
        words.append("bind-recursive=disabled")
    elif bind.get("ReadOnlyNonRecursive"):
        words.append("bind-recursive=writable")
    words += ["volume-nocopy"] if volume.get("NoCopy") else []
    words += [f"tmpfs-size={tmpfs['SizeBytes']}"] if tmpfs.get("SizeBytes") else []
    words += [f"tmpfs-mode={int(tmpfs['Mode']):o}"] if tmpfs.get("Mode") else []
    return mount_words.line(*words)


def _refused(name: str, *fine: Any) -> Callable[[Any], dict[str, Any]]:
    """Make what refuses a field unless it says nothing."""

    def check(value: Any) -> dict[str, Any]:
        if value and value not in fine:
            shown = json.dumps(value)[:80]
            raise NotSupported(f"HostConfig.{name} {shown}: labrt cannot do that", remedy="leave it out")
        return {}

    return check


def _paths(name: str) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        if value:
            raise NotSupported(f"HostConfig.{name}: labrt has its own list", remedy="leave it out, or empty both")
        return {}

    return check


_SPECIAL: dict[str, Callable[[Any], dict[str, Any]]] = {
    "RestartPolicy": _restart,
    "LogConfig": _logging,
    "Ulimits": _ulimits,
    "Devices": _devices,
    "Mounts": _mounts,
    "NanoCpus": lambda value: {"cpus": value / 1e9} if value else {},
    "MemorySwappiness": lambda value: {"memory_swappiness": value} if value >= 0 else {},
    "ConsoleSize": lambda value: {"console_size": tuple(value)} if any(value) else {},
    "ExtraHosts": lambda value: {"add_host": value} if value else {},
    "Tmpfs": _pairs("tmpfs", ":"),
    "Sysctls": _pairs("sysctl", "="),
    "Annotations": _pairs("annotation", "="),
    "SecurityOpt": lambda value: {"security_opt": value} if value else {},
    "MaskedPaths": _paths("MaskedPaths"),
    "ReadonlyPaths": _paths("ReadonlyPaths"),
    "Runtime": _refused("Runtime", "labrt", "runc", "io.containerd.runc.v2"),
    "VolumeDriver": _refused("VolumeDriver", "local"),
    "StorageOpt": _refused("StorageOpt"),
    "Links": _refused("Links"),
    "DeviceRequests": _refused("DeviceRequests"),
    "KernelMemory": _refused("KernelMemory"),
    "KernelMemoryTCP": _refused("KernelMemoryTCP"),
    "CpuRealtimePeriod": _refused("CpuRealtimePeriod"),
    "CpuRealtimeRuntime": _refused("CpuRealtimeRuntime"),
    **{name: _refused(name) for name in ("CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth")},
}


# Networks -------------------------------------------------------------------------------------------------------------


def _network(body: Body, host: Body) -> dict[str, Any]:
    mode = host.get("NetworkMode") or "default"
    if body.get("NetworkDisabled"):
        mode = "none"
    if mode == "default":  # docker's is the bridge; an ordinary user's is what labrt's is
        mode = "bridge" if paths.owner() == 0 else ""
    given: dict[str, Any] = {"network": mode} if mode else {}
    endpoints = _object(_object(body, "NetworkingConfig"), "EndpointsConfig")
    if len(endpoints) > 1:
        raise NotSupported("a container is created on one network", remedy="connect it to the others afterwards")
    for endpoint in endpoints.values():
        given |= _endpoint(endpoint or {})
    ports = [*_published(_object(host, "PortBindings"))]
    return given | ({"publish": ports} if ports else {})


def _endpoint(endpoint: Body) -> dict[str, Any]:
    given: dict[str, Any] = {}
    addresses = _object(endpoint, "IPAMConfig")
    for value, field in ((addresses.get("IPv4Address"), "ip"), (addresses.get("IPv6Address"), "ip6"),
                         (endpoint.get("Aliases"), "network_alias"),
                         (endpoint.get("MacAddress"), "mac_address")):  # fmt: skip
        if value:
            given[field] = value
    return given


def _published(bindings: Body) -> Iterator[str]:
    """Yield each as `-p` has it: [ADDRESS:][PORT]:PORT/PROTOCOL."""
    for inside, places in bindings.items():
        for place in places or [{}]:
            address, port = place.get("HostIp") or "", place.get("HostPort") or ""
            address = f"[{address}]" if ":" in address and not address.startswith("[") else address
            yield f"{address}:{port}:{inside}" if address else f"{port}:{inside}" if port else inside


# Reading --------------------------------------------------------------------------------------------------------------


def _refuse_unknown(given: Body, known: set[str]) -> None:
    for name, value in given.items():
        if name not in known and value not in (None, "", 0, False, [], {}):
            raise NotSupported(f"labrt does not know the field {name!r:.60}", remedy="leave it out")


def _object(given: Body, name: str) -> Body:
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{name}: an object is wanted")
    return value


def _objects(given: Body, name: str) -> list[Body]:
    value = given.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InvalidInput(f"{name}: a list of objects is wanted")
    return value


def _strings(given: Body, name: str) -> list[str]:
    value = given.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidInput(f"{name}: a list of strings is wanted")
    return value


def _words(given: Body, name: str) -> list[str] | None:
    """Read a command: a list, or one word."""
    value = given.get(name)
    return [value] if isinstance(value, str) else None if value is None else _strings(given, name)
