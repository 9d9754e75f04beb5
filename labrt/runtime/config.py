"""config.json of the OCI runtime-spec: what a container shall be.

    default(["sh"])     the configuration that `docker run` gives a container, as a plain dict
    validate(config)    refuse, by name, what is wrong or what labrt does not do

A plain dict, because that is what is on disk and what runc and crun read: `runc run -b BUNDLE` takes it as it stands.
See the specification's config.md and config-linux.md; notebook 16.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labrt.errors import InvalidConfig
from labrt.linux import namespaces, rootfs

Config = dict[str, Any]

OCI_VERSION = "1.1.0"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = "org.labrt.user"  # annotation: `docker run --user` as it was typed; init looks names up in the image's passwd

# As Docker: making a node is allowed (it opens nothing), opening one only for these. "m" mknod, "r" read, "w" write.
DEVICES = (
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},  # null
    {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},  # zero
    {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rwm"},  # full
    {"allow": True, "type": "c", "major": 1, "minor": 8, "access": "rwm"},  # random
    {"allow": True, "type": "c", "major": 1, "minor": 9, "access": "rwm"},  # urandom
    {"allow": True, "type": "c", "major": 5, "minor": 0, "access": "rwm"},  # tty
    {"allow": True, "type": "c", "major": 5, "minor": 1, "access": "rwm"},  # console
    {"allow": True, "type": "c", "major": 5, "minor": 2, "access": "rwm"},  # ptmx
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},  # pts/*
)


def default(
    args: Sequence[str], *, env: Iterable[str] = (PATH,), cwd: str = "/", rootfs_path: str = "rootfs"
) -> Config:
    """Return Docker's configuration for a container that runs `args`: all namespaces, 14 capabilities, a filter."""
    from labrt.linux import capabilities, seccomp_default

    caps = capabilities.Capabilities.of_root(capabilities.DEFAULT).to_oci()
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": list(env),
            "cwd": cwd,
            "capabilities": {name: names for name, names in caps.items() if names},
            "rlimits": [],
            "noNewPrivileges": False,
        },
        "root": {"path": rootfs_path, "readonly": False},
        "hostname": "labrt",
        "mounts": [mount.to_json() for mount in rootfs.DEFAULT_MOUNTS],
        "annotations": {},
        "linux": {
            "namespaces": [{"type": kind} for kind in ("mount", "pid", "network", "ipc", "uts", "cgroup")],
            "resources": {"devices": [dict(rule) for rule in DEVICES]},
            "maskedPaths": list(rootfs.MASKED),
            "readonlyPaths": list(rootfs.READONLY),
            "seccomp": seccomp_default.default_profile(capabilities.names(capabilities.DEFAULT)),
        },
    }


def user_annotation(config: Mapping[str, Any]) -> str:
    """Return `docker run --user` as it was typed, or an empty string."""
    return str((config.get("annotations") or {}).get(USER, ""))


# What this runtime honours. A field that it would silently ignore could be the one that somebody's safety hangs on.
_KNOWN = {
    "": {"ociVersion", "process", "root", "hostname", "domainname", "mounts", "annotations", "linux"},
    "process": {
        "terminal", "consoleSize", "user", "args", "env", "cwd", "capabilities", "rlimits", "noNewPrivileges",
        "oomScoreAdj",
    },
    "root": {"path", "readonly"},
    "linux": {
        "namespaces", "resources", "cgroupsPath", "devices", "maskedPaths", "readonlyPaths", "rootfsPropagation",
        "seccomp", "sysctl", "uidMappings", "gidMappings",
    },
}  # fmt: skip


def validate(config: Mapping[str, Any]) -> None:
    """Raise InvalidConfig, naming the field, if this cannot become a container."""
    _only_known(config, "")
    for field, kind in (("process", dict), ("root", dict), ("linux", dict), ("ociVersion", str)):
        if not isinstance(config.get(field), kind):
            raise InvalidConfig(f"config.json: {field} is {config.get(field)!r}", remedy=f"a {kind.__name__} is wanted")
    for field in ("process", "root", "linux"):
        _only_known(config[field], field)
    process = config["process"]
    args, cwd = process.get("args"), process.get("cwd")
    if not args or not all(isinstance(arg, str) for arg in args):
        raise InvalidConfig(f"config.json: process.args is {args!r}", remedy="a list of at least one string")
    if not isinstance(cwd, str) or not cwd.startswith("/"):
        raise InvalidConfig(f"config.json: process.cwd is {cwd!r}", remedy="an absolute path in the container")
    for entry in process.get("env") or ():
        if not isinstance(entry, str) or "=" not in entry or "\0" in entry:
            raise InvalidConfig(f"config.json: process.env has {entry!r}", remedy="NAME=value")
    for mount in config.get("mounts") or ():
        if not str(mount.get("destination", "")).startswith("/"):
            raise InvalidConfig(f"config.json: a mount on {mount.get('destination')!r}", remedy="an absolute path")
    for entry in config["linux"].get("namespaces") or ():
        if entry.get("type") not in namespaces.FLAG_OF_OCI_NAME:
            known = ", ".join(namespaces.FLAG_OF_OCI_NAME)
            raise InvalidConfig(f"linux.namespaces: there is no type {entry.get('type')!r}", remedy=f"one of {known}")
    check_sysctls(config)


def _only_known(section: Mapping[str, Any], name: str) -> None:
    # null and empty say nothing, so nobody misses them.
    unknown = sorted(key for key in section if key not in _KNOWN[name] and section[key])
    if unknown:
        where = f"{name}." if name else ""
        raise InvalidConfig(f"config.json: labrt does not do {where}{unknown[0]}", remedy="take it out of the config")


def new_namespaces(config: Mapping[str, Any]) -> set[str]:
    """The kinds of namespace that the container gets anew (runtime-spec names); those with a path are joined."""
    return {entry["type"] for entry in config["linux"].get("namespaces") or () if not entry.get("path")}


_IPC_SYSCTLS = {"msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"}


def check_sysctls(config: Mapping[str, Any]) -> None:
    """Refuse a sysctl that does not belong to one of the container's own namespaces: it would change the host."""
    own = new_namespaces(config)
    for name in config["linux"].get("sysctl") or {}:
        first, _, rest = name.partition(".")
        in_ipc = (first == "kernel" and rest in _IPC_SYSCTLS) or name.startswith("fs.mqueue.")
        if "/" in name or ".." in name or not ((first == "net" and "network" in own) or (in_ipc and "ipc" in own)):
            raise InvalidConfig(
                f"linux.sysctl: {name} is not the container's own", remedy="net.* and kernel.shm*, msg*, sem are"
            )
