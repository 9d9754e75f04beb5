"""What a config.json must keep that no single property shows: one function per rule of the OCI runtime-spec.

    check(config)     raises InvalidConfig that names the property; `config` has gone through fields.check

Most are about one thing: a container must not change what it shares with the host. Without a namespace of its own its
hostname would be the machine's, its mounts everybody's. See config.md and config-linux.md.
"""

from __future__ import annotations

import os

from labrt.errors import InvalidConfig
from labrt.linux import mount_options, namespaces
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime.fields import wrong

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Config = Mapping[str, Any]


def check(config: Config) -> None:
    """Go through all rules."""
    for rule in (_root, _process, _namespaces, _users, _names, _clocks, _mounts, _sysctls, _devices, _labels,
                 _personality, _seccomp, _interfaces, _hooks):  # fmt: skip
        rule(config)


def own(config: Config, kind: str) -> bool:
    """Whether the container is in a namespace of this kind that is not ours: a new one, or another's."""
    path = oci.namespaces_of(config).get(kind)
    if not path:
        return path is not None
    try:
        file = namespaces.KIND_OF_OCI_NAME[kind]
        return os.stat(path).st_ino != os.stat(f"/proc/self/ns/{file}").st_ino
    except OSError:
        return True  # it cannot be entered, and the error will say why


def _linux(config: Config) -> Mapping[str, Any]:
    linux: Mapping[str, Any] = config.get("linux") or {}
    return linux


def _root(config: Config) -> None:
    if config.get("root") is None:
        raise InvalidConfig("root: is missing", remedy="everywhere but on Windows a container has a root")
    version = config["ociVersion"]
    if version.split(".")[0] not in ("0", "1"):
        raise wrong("ociVersion", version, "is a version that labrt does not know", "it knows 1.x")


def _process(config: Config) -> None:
    process = config.get("process")
    if process is None:
        return  # it can be created; `start` refuses
    if not process.get("args"):
        raise wrong("process.args", process.get("args"), "has no entry", "a list of at least one string")
    kinds = [entry["type"] for entry in process.get("rlimits") or ()]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise wrong("process.rlimits", kind, "is there twice", "once is enough")
    affinity = process.get("execCPUAffinity") or {}
    if process.get("scheduler") or affinity:
        from labrt.linux import scheduler

        if process.get("scheduler"):
            scheduler.pack(process["scheduler"])
        for name in ("initial", "final"):
            scheduler.cpus(affinity.get(name) or "", f"process.execCPUAffinity.{name}")


def _namespaces(config: Config) -> None:
    entries = _linux(config).get("namespaces") or ()
    kinds = [entry["type"] for entry in entries]
    for index, entry in enumerate(entries):
        where = f"linux.namespaces[{index}]"
        if kinds.count(entry["type"]) > 1:
            raise wrong(f"{where}.type", entry["type"], "is there twice", "a process is in one of each kind")
        if (entry.get("path") or "/")[0] != "/":
            raise wrong(f"{where}.path", entry["path"], "is no absolute path")
        if not os.path.exists(f"/proc/self/ns/{namespaces.KIND_OF_OCI_NAME[entry['type']]}"):
            raise wrong(f"{where}.type", entry["type"], "is no namespace of this kernel", "see /proc/self/ns")
    if oci.namespaces_of(config).get("mount") != "":
        _without_mounts(config)


def _without_mounts(config: Config) -> None:
    """In a mount namespace that is not the container's alone nothing can be mounted: the others would see it."""
    linux = _linux(config)
    for name, value in (
        ("mounts", config.get("mounts")),
        ("root.readonly", (config.get("root") or {}).get("readonly")),
        *((f"linux.{name}", linux.get(name)) for name in ("maskedPaths", "readonlyPaths", "rootfsPropagation")),
    ):
        if value:
            remedy = 'add {"type": "mount"} to linux.namespaces'
            raise wrong(name, value, "wants a mount namespace of the container's own: it would be the host's", remedy)


def _users(config: Config) -> None:
    linux = _linux(config)
    path = oci.namespaces_of(config).get("user")
    for name, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if linux.get(name) and path is None:
            raise wrong(f"linux.{name}", linux[name], "wants a user namespace", 'add {"type": "user"}, or leave it out')
        if path == "" and not linux.get(name):
            problem = f"linux.{name}: is missing: in the new user namespace nobody would be anybody"
            raise InvalidConfig(problem, remedy=f"map at least 0, as in linux.{other}")


def _names(config: Config) -> None:
    for name in ("hostname", "domainname"):
        if config.get(name):
            if not own(config, "uts"):
                raise wrong(name, config[name], "would rename the host", 'add {"type": "uts"} to linux.namespaces')
            if len(config[name].encode()) > 64:
                raise wrong(name, config[name], "is longer than 64 bytes, see sethostname(2)")


def _clocks(config: Config) -> None:
    offsets = _linux(config).get("timeOffsets")
    if not offsets:
        return
    for name, value in offsets.items():
        if name not in ("monotonic", "boottime"):
            raise wrong("linux.timeOffsets", name, "is no clock of a time namespace", "monotonic or boottime")
        if value and abs(value.get("secs") or 0) > 1 << 33:
            raise wrong(f"linux.timeOffsets.{name}.secs", value["secs"], "is more than the kernel can move a clock")
    if oci.namespaces_of(config).get("time") != "":
        raise wrong("linux.timeOffsets", offsets, "wants a new time namespace", 'add {"type": "time"}')


def _mounts(config: Config) -> None:
    for index, mount in enumerate(config.get("mounts") or ()):
        where = f"mounts[{index}]"
        options = set(mount.get("options") or ())
        if not mount["destination"]:
            raise wrong(f"{where}.destination", "", "is no path")
        bound = Mount.from_json(mount).is_bind
        if bound and not mount.get("source"):
            raise wrong(f"{where}.source", mount.get("source"), "is no path to bind")
        parsed = mount_options.parse(mount.get("options") or ())
        if bound and parsed.data:
            raise wrong(f"{where}.options", parsed.data, "is no option of a bind mount", "see config.md")
        if "tmpcopyup" in options and (bound or mount.get("type") != "tmpfs"):
            raise wrong(f"{where}.options", "tmpcopyup", "is for a tmpfs only")
        maps = [name for name in ("uidMappings", "gidMappings") if mount.get(name)]
        if len(maps) == 1:
            raise wrong(f"{where}.{maps[0]}", mount[maps[0]], "goes with the other of uidMappings and gidMappings")
        mapped = options & {"idmap", "ridmap"}
        if maps or mapped:
            _idmapped(config, where, bound, maps, sorted(mapped))


def _idmapped(config: Config, where: str, bound: bool, maps: list[str], options: list[str]) -> None:
    given = options[0] if options else maps[0]
    if not bound:
        raise wrong(f"{where}.options", given, "is for bind mounts: a file system of one's own needs no other owners")
    if not maps and "user" not in oci.namespaces_of(config):
        remedy = "give the mount uidMappings and gidMappings, or the container a user namespace"
        raise wrong(f"{where}.options", given, "has no mapping to use", remedy)


_IPC_SYSCTLS = {"msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"}


def _sysctls(config: Config) -> None:
    """Refuse a sysctl that does not belong to one of the container's own namespaces: it would change the host."""
    for name in _linux(config).get("sysctl") or {}:
        words = oci.sysctl_path(name).split("/")
        first, rest = words[0], "/".join(words[1:])
        in_ipc = (first == "kernel" and rest in _IPC_SYSCTLS) or words[:2] == ["fs", "mqueue"]
        mine = (
            (first == "net" and own(config, "network"))
            or (in_ipc and own(config, "ipc"))
            or (first == "kernel" and rest == "domainname" and own(config, "uts"))
        )
        if not mine or not all(words) or ".." in words or "." in words:
            remedy = "net.*, kernel.shm*, msg*, sem, fs.mqueue.* and kernel.domainname are, each with its namespace"
            raise InvalidConfig(f"linux.sysctl: {name} is not the container's own", remedy=remedy)


def _devices(config: Config) -> None:
    for index, device in enumerate(_linux(config).get("devices") or ()):
        for name in ("major", "minor") if device["type"] != "p" else ():
            if device.get(name) is None or device[name] < 0:
                raise wrong(f"linux.devices[{index}].{name}", device.get(name), "is no number of a device")


def _labels(config: Config) -> None:
    process = config.get("process") or {}
    profile, label = process.get("apparmorProfile") or "", process.get("selinuxLabel") or ""
    mounts = _linux(config).get("mountLabel") or ""
    if profile or label or mounts:
        from labrt.linux import labels

        labels.check_apparmor(profile, "process.apparmorProfile")
        labels.check_selinux(label, "process.selinuxLabel")
        labels.check_selinux(mounts, "linux.mountLabel")


def _personality(config: Config) -> None:
    if flags := (_linux(config).get("personality") or {}).get("flags"):
        raise wrong("linux.personality.flags", flags, "are none that the specification has", "leave them out")
    if policy := _linux(config).get("memoryPolicy"):
        from labrt.linux import mempolicy

        mempolicy.parse(policy)


def _seccomp(config: Config) -> None:
    profile = _linux(config).get("seccomp") or {}
    if profile.get("listenerMetadata") and not profile.get("listenerPath"):
        problem = "is for a listener, and there is no listenerPath"
        raise wrong("linux.seccomp.listenerMetadata", profile["listenerMetadata"], problem)
    rules = profile.get("syscalls") or ()
    actions = [profile.get("defaultAction"), *(rule["action"] for rule in rules)]
    if "SCMP_ACT_NOTIFY" not in actions:
        return
    if not profile.get("listenerPath"):
        remedy = "name the socket of whoever shall be asked"
        raise wrong("linux.seccomp.listenerPath", None, "is missing, and SCMP_ACT_NOTIFY wants it", remedy)
    for rule in rules:
        if rule["action"] == "SCMP_ACT_NOTIFY" and "sendmsg" in rule["names"]:
            problem = "cannot wait for the listener: labrt needs it to hand the listener over"
            raise wrong("linux.seccomp.syscalls", "sendmsg", problem, "notify of other calls")
    if profile["defaultAction"] == "SCMP_ACT_NOTIFY":
        problem = "would stop the very calls that hand the listener over"
        raise wrong("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY", problem, "name the calls in syscalls")


def _interfaces(config: Config) -> None:
    devices = _linux(config).get("netDevices") or {}
    if devices and not own(config, "network"):
        remedy = 'add {"type": "network"} to linux.namespaces'
        raise wrong("linux.netDevices", sorted(devices), "want a network namespace to be moved to", remedy)
    names = [(entry or {}).get("name") or name for name, entry in devices.items()]
    for name in names:
        if names.count(name) > 1 and "%" not in name:
            raise wrong("linux.netDevices", name, "would be the name of two interfaces")


def _hooks(config: Config) -> None:
    for kind, entries in (config.get("hooks") or {}).items():
        for index, hook in enumerate(entries or ()):
            if isinstance(hook, dict) and hook.get("args") == []:
                raise wrong(f"hooks.{kind}[{index}].args", [], "has no name of the program", "leave it out, or name it")
