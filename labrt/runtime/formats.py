"""One plan, several formats of containers: a config.json for Linux, written for kernels that have no namespaces.

    jail(config)        the config with a `freebsd` section: a jail         jail_conf(config, name)   jail.conf(5)
    zone(config)        the config with a `solaris` section: a zone         zonecfg(config, name)     zonecfg(1M)

To be read here, and run elsewhere: these kernels are none of ours. What a Linux container is put together from, kind by
kind of namespace and capability by capability, a jail or a zone is in one piece, with switches; so what has no switch
there is left out: seccomp, cgroups of a jail, single capabilities. The image's programs must be that kernel's, too.

See config-freebsd.md and config-solaris.md of the OCI runtime-spec; jail(8), zones(7).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from labrt.linux.mounts import Mount

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]

_KEPT = ("ociVersion", "process", "root", "hostname", "domainname", "annotations")
_OF_LINUX = ("capabilities", "noNewPrivileges", "apparmorProfile", "selinuxLabel", "oomScoreAdj", "scheduler",
             "ioPriority", "execCPUAffinity")  # fmt: skip


def write(config: Mapping[str, Any], format: str, name: str) -> str:
    """Write a config as oci, jail, jail.conf, zone or zonecfg. `name` is the container's there, where that is said."""
    import json

    if format in ("jail.conf", "zonecfg"):
        return {"jail.conf": jail_conf, "zonecfg": zonecfg}[format](config, name)
    made = {"jail": jail, "zone": zone}[format](config) if format != "oci" else config
    return json.dumps(made, indent=2) + "\n"


def _common(config: Mapping[str, Any]) -> Config:
    kept = {name: config[name] for name in _KEPT if config.get(name)}
    if kept.get("process"):
        kept["process"] = {key: value for key, value in kept["process"].items() if key not in _OF_LINUX}
    return kept


def _own(config: Mapping[str, Any]) -> set[str]:
    """The kinds of namespaces that the container has for itself."""
    return {entry["type"] for entry in _linux(config).get("namespaces") or () if not entry.get("path")}


def _linux(config: Mapping[str, Any]) -> dict[str, Any]:
    return config.get("linux") or {}


def _may(config: Mapping[str, Any], name: str) -> bool:
    return f"CAP_{name}" in (((config.get("process") or {}).get("capabilities") or {}).get("bounding") or ())


# FreeBSD --------------------------------------------------------------------------------------------------------------

# What a container has mounted, and how FreeBSD calls it. sysfs, cgroups and message queues' file system are Linux's.
_FILE_SYSTEMS = {"tmpfs": "tmpfs", "proc": "procfs", "devpts": "fdescfs"}


def jail(config: Mapping[str, Any]) -> Config:
    """Return the config for a jail of FreeBSD."""
    mounts = [*_jail_mounts(config)]
    devices = [
        {"path": entry["path"].removeprefix("/dev/"), "mode": (entry.get("fileMode") or 0o666) & 0o777}
        for entry in _linux(config).get("devices") or () if entry["path"].startswith("/dev/")
    ]  # fmt: skip
    section: Config = {"jail": _jail_section(config), **({"devices": devices} if devices else {})}
    return {**_common(config), "mounts": mounts, "freebsd": section}


def _jail_section(config: Mapping[str, Any]) -> Config:
    own = _own(config)
    network = {"vnet": "new"} if "network" in own else {"ip4": "inherit", "ip6": "inherit"}
    ipc = "new" if "ipc" in own else "inherit"
    return {
        "host": "new" if "uts" in own else "inherit",
        **network,
        **dict.fromkeys(("sysvmsg", "sysvsem", "sysvshm"), ipc),
        "enforceStatfs": 1 if "mount" in own else 0,
        "allow": {
            "setHostname": _may(config, "SYS_ADMIN") and "uts" in own,
            "rawSockets": _may(config, "NET_RAW"),
            "chflags": _may(config, "LINUX_IMMUTABLE"),
            "mount": ["tmpfs"] if _may(config, "SYS_ADMIN") else [],
            "quotas": _may(config, "SYS_ADMIN"),
            "mlock": _may(config, "IPC_LOCK"),
            "reservedPorts": _may(config, "NET_BIND_SERVICE"),
            "suser": bool(((config.get("process") or {}).get("capabilities") or {}).get("bounding")),
        },
    }


def _jail_mounts(config: Mapping[str, Any]) -> Iterator[Config]:
    for mount in config.get("mounts") or ():
        words = set(mount.get("options") or ())
        options = [word for word in ("ro", "nosuid", "noexec") if word in words or f"r{word}" in words]
        place = mount["destination"]
        if Mount.from_json(mount).is_bind:
            yield {"destination": place, "type": "nullfs", "source": mount["source"], "options": options}
        elif place == "/dev":
            yield {"destination": "/dev", "type": "devfs", "source": "devfs", "options": ["ruleset=4"]}
        elif mount.get("type") == "devpts":
            yield {"destination": "/dev/fd", "type": "fdescfs", "source": "fdescfs", "options": []}
        elif mount.get("type") in _FILE_SYSTEMS:
            kind = _FILE_SYSTEMS[mount["type"]]
            sizes = [word for word in mount.get("options") or () if word.startswith(("size=", "mode="))]
            yield {"destination": place, "type": kind, "source": kind, "options": options + sizes}


_PARAMETERS = {
    "host": "host", "vnet": "vnet", "ip4": "ip4", "ip6": "ip6", "sysvmsg": "sysvmsg", "sysvsem": "sysvsem",
    "sysvshm": "sysvshm", "enforceStatfs": "enforce_statfs",
}  # fmt: skip


def jail_conf(config: Mapping[str, Any], name: str) -> str:
    """Write it as jail.conf(5) has it, for `jail -c NAME`."""
    section, process = _jail_section(config), config.get("process") or {}
    lines = [f"path = {_quoted(config['root']['path'])};"]
    if config.get("hostname") and section["host"] == "new":
        lines.append(f"host.hostname = {_quoted(config['hostname'])};")
    # A new vnet is said by the bare word; jail(8).
    lines += [
        f"{_PARAMETERS[key]};" if key == "vnet" else f"{_PARAMETERS[key]} = {_quoted(value)};"
        for key, value in section.items() if key in _PARAMETERS and key != "host"
    ]  # fmt: skip
    for key, allowed in section["allow"].items():
        word = re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key)
        if key == "mount":
            lines += ["allow.mount;", *(f"allow.mount.{kind};" for kind in allowed)] if allowed else []
        else:
            lines.append(f"allow.{word};" if allowed else f"allow.no{word};")
    for mount in _jail_mounts(config):
        line = f"{mount['source']} {config['root']['path']}{mount['destination']} {mount['type']}"
        lines.append(_mount_line(line, mount["options"]))
    if process.get("args"):
        words = " ".join(_shell(word) for word in process["args"])
        lines.append(f"exec.start = {_quoted(words)};")
    lines.append("exec.clean;")
    return f"{_name(name)} {{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def _mount_line(line: str, options: list[str]) -> str:
    fields = f"{line} {','.join(options) or 'rw'} 0 0"
    return f"mount += {_quoted(fields)};"


# Solaris --------------------------------------------------------------------------------------------------------------

# Privileges of Solaris beyond or below its default set, by the capability of Linux that is nearest: privileges(7).
_PRIVILEGES = {
    "NET_RAW": "net_rawaccess", "SYS_TIME": "sys_time", "IPC_LOCK": "proc_lock_memory", "SYS_NICE": "proc_priocntl",
    "SYS_RESOURCE": "sys_resource", "NET_ADMIN": "sys_ip_config",
}  # fmt: skip


def zone(config: Mapping[str, Any]) -> Config:
    """Return the config for a zone of Solaris."""
    return {**_common(config), "mounts": [*_zone_mounts(config)], "solaris": _zone_section(config)}


def _zone_section(config: Mapping[str, Any]) -> Config:
    resources = _linux(config).get("resources") or {}
    cpu, memory = resources.get("cpu") or {}, resources.get("memory") or {}
    more = [privilege for name, privilege in _PRIVILEGES.items() if _may(config, name)]
    section: Config = {
        "milestone": "svc:/milestone/container:default",
        "limitpriv": ",".join(["default", *more]),
    }
    shared = next((mount for mount in config.get("mounts") or () if mount["destination"] == "/dev/shm"), None)  # noqa: S108
    for word in (shared or {}).get("options") or ():
        if word.startswith("size="):
            section["maxShmMemory"] = word.removeprefix("size=")
    if (cpu.get("quota") or 0) > 0:
        section["cappedCPU"] = {"ncpus": f"{cpu['quota'] / (cpu.get('period') or 100_000):g}"}
    caps = {name: memory.get(key) for name, key in (("physical", "limit"), ("swap", "swap"))}
    capped = {name: str(value) for name, value in caps.items() if value and value > 0}
    if capped:
        section["cappedMemory"] = capped
    if "network" in _own(config):
        section["anet"] = [{"linkname": "net0", "lowerLink": "auto", "linkProtection": "mac-nospoof, ip-nospoof"}]
    return section


def _zone_mounts(config: Mapping[str, Any]) -> Iterator[Config]:
    for mount in config.get("mounts") or ():
        words = set(mount.get("options") or ())
        if Mount.from_json(mount).is_bind:
            options = ["ro"] if words & {"ro", "rro"} else []
            source = mount["source"]
            yield {"destination": mount["destination"], "type": "lofs", "source": source, "options": options}


def zonecfg(config: Mapping[str, Any], name: str) -> str:
    """Write it as commands for `zonecfg -z NAME -f FILE`."""
    section = _zone_section(config)
    lines = ["create -b", f"set zonepath={_quoted(config['root']['path'])}", "set autoboot=false"]
    lines += [f"set limitpriv={_quoted(section['limitpriv'])}"]
    if "maxShmMemory" in section:
        lines.append(f"set max-shm-memory={section['maxShmMemory']}")
    for resource, key in (("capped-cpu", "cappedCPU"), ("capped-memory", "cappedMemory")):
        if key in section:
            lines += [f"add {resource}", *(f"    set {what}={value}" for what, value in section[key].items()), "end"]
    for link in section.get("anet") or ():
        lines += ["add anet", *(f"    set {_dashed(what)}={_quoted(value)}" for what, value in link.items()), "end"]
    for mount in _zone_mounts(config):
        lines += [
            "add fs", f"    set dir={_quoted(mount['destination'])}", f"    set special={_quoted(mount['source'])}",
            f"    set type={mount['type']}", *(f"    add options {word}" for word in mount["options"]), "end",
        ]  # fmt: skip
    lines += ["verify", "commit"]
    return f"# zonecfg -z {_name(name)} -f FILE\n" + "".join(f"{line}\n" for line in lines)


# Words ----------------------------------------------------------------------------------------------------------------


def _dashed(word: str) -> str:
    return re.sub("[A-Z]", lambda match: f"-{match[0].lower()}", word)


def _name(name: str) -> str:
    """A name as both have it: letters, digits, - and _."""
    return re.sub("[^A-Za-z0-9_-]", "_", name)


def _quoted(value: Any) -> str:
    """A value in quotes, of which nothing leads out: both files are read by programs of root's."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("$", "\\$")
    return f'"{text}"'


def _shell(word: str) -> str:
    import shlex

    return shlex.quote(word)
