"""config.json of the OCI runtime-spec: what a container shall be.

    default(["sh"])     the configuration that `docker run` gives a container, as a plain dict
    load(bundle)        read one, checked, with what it may leave out filled in
    validate(config)    refuse, by name, what is wrong or what labrt does not do: fields.py, rules.py

A plain dict, because that is what is on disk and what runc and crun read: `runc run -b BUNDLE` takes it as it stands.
See the specification's config.md and config-linux.md; notebook 16.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence

from labrt.errors import InvalidConfig, NotFound
from labrt.linux import rootfs
from labrt.linux.mounts import Mount

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.runtime.state import State

    Config = dict[str, Any]

OCI_VERSION = "1.1.0"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = "org.labrt.user"  # annotation: `docker run --user` as it was typed; init looks names up in the image's passwd
GROUPS = "org.labrt.groups"  # annotation: `--group-add`, names and numbers with commas between; looked up there, too

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


def user_annotation(config: Mapping[str, Any], user: str = "") -> str:
    """Return `docker run --user` as it was typed (or `user` in its place), or an empty string.

    With `--group-add` the groups stand behind it, after a tab: see program.find_user.
    """
    annotations = config.get("annotations") or {}
    user, groups = user or str(annotations.get(USER, "")), annotations.get(GROUPS)
    return f"{user}\t{groups}" if groups else user


def joining(config: Mapping[str, Any], state: State, process: Mapping[str, Any], user: str = "") -> dict[str, Any]:
    """What joiner.py must know to bring `process`, a process section, into the container that this config has become.

    `user` as for `user_annotation`.
    """
    linux = config["linux"]
    return {
        "pid": state.pid,
        "cgroup": state.cgroup,
        "process": process,
        "seccomp": linux.get("seccomp"),
        "linux": {name: linux.get(name) for name in ("personality", "memoryPolicy")},
        "state": state.to_oci(),
        "user": user_annotation(config, user),
    }


def load(bundle: str) -> Config:
    """Read and validate a bundle's config.json. Raises NotFound without one, and InvalidConfig.

    What comes back has `linux` and `mounts` in any case, and absolute paths where the file may have relative ones.
    """
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except FileNotFoundError:
        raise NotFound(f"{path} is not there", remedy="a bundle is a directory with a config.json") from None
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(f"{path}: {error}", remedy="it must be JSON, in UTF-8") from None
    validate(config)
    return settle(config, bundle)


def settle(config: Config, bundle: str) -> Config:
    """Fill in what a valid configuration may leave out, and make relative paths absolute, as config.md says."""
    config["linux"] = config.get("linux") or {}
    mounts = [_settled(mount, bundle) for mount in config.get("mounts") or ()]
    return {**config, "mounts": mounts}


def _settled(mount: dict[str, Any], bundle: str) -> dict[str, Any]:
    destination, source = mount["destination"], mount.get("source") or "none"
    return {
        **mount,
        "destination": destination if destination.startswith("/") else f"/{destination}",  # deprecated, but allowed
        "source": os.path.join(bundle, source) if Mount.from_json(mount).is_bind else source,
    }


def validate(config: Any) -> None:
    """Raise InvalidConfig, naming the property, if this cannot become a container here. See fields.py and rules.py."""
    from labrt.runtime import fields, rules

    fields.check(config, run=True)
    rules.check(config)


def namespaces_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The container's namespaces by kind (runtime-spec names): the path of one to join, or "" for a new one."""
    entries = (config.get("linux") or {}).get("namespaces") or ()
    return {entry["type"]: entry.get("path") or "" for entry in entries}


def resources(config: Mapping[str, Any]) -> dict[str, Any]:
    """The container's linux.resources. Device rules that forbid all devices end with those that all containers have.

    runc and crun add these as well, and those who write a config know it: podman's forbids all devices and leaves it
    to the runtime to allow /dev/null.
    """
    wanted = dict((config.get("linux") or {}).get("resources") or {})
    if _forbids_all(wanted.get("devices") or ()):
        wanted["devices"] = [*wanted["devices"], *(rule for rule in DEVICES if rule["allow"])]
    return wanted


def _forbids_all(rules: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a device that no rule is about is forbidden: the last rule for all of them says so."""
    allowed = True
    for rule in rules:
        numbers = [rule.get(name) for name in ("major", "minor")]
        anything = (rule.get("type") or "a") == "a" and all(number is None or number < 0 for number in numbers)
        if anything and {*(rule.get("access") or "rwm")} == {*"rwm"}:
            allowed = bool(rule.get("allow"))
    return not allowed


def sysctl_path(name: str) -> str:
    """Turn a sysctl's name into its path below /proc/sys, as sysctl(8): `net.ipv4.ip_forward`, `net/ipv4/conf/eth0.1`.

    Whichever of dot and slash comes first parts the words; the other one then stands for itself.
    """
    dot, slash = name.find("."), name.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name
    return name.translate({ord("."): "/", ord("/"): "."})
