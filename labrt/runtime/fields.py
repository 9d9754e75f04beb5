"""Every property that config.json may have, and what may stand in it: the OCI runtime-spec's schema as one table.

    check(config)                 refuse, by its name, a value that the specification does not allow
    check(config, run=True)       and one that labrt, or a kernel of Linux, does not do

A property that is not in the table is passed over ("Extensibility" in config.md: runtimes MUST ignore what they do not
know); a *value* that nobody knows never is: it could be the one that somebody's safety hangs on. null is as good as
absent. What takes two properties to see, rules.py looks at.

How the table is read:

    "name": str       a string without a NUL             "!name": …    the property is required
    "name": U32       a whole number of that range       [kind]        an array of these
    {"a", "b"}        one of these strings               {…: kind}     an object with these properties
    Named(kind)       an object with any names           a function    says what is wrong with a value, or ""
    Refused(kind, …)  it is well-formed as kind, and labrt does not do it

See config.md, config-linux.md and the folder schema of the runtime-spec.
"""

from __future__ import annotations

import json

from labrt.errors import InvalidConfig

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

U8, U16, U32, U64 = (range(1 << bits) for bits in (8, 16, 32, 64))
I32, I64 = (range(-(1 << bits), 1 << bits) for bits in (31, 63))


class Named:
    """An object whose names are free and whose values are all of one kind."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


class Refused:
    """A property that may be well-formed, but that no container of labrt can have; `remedy` says what to do."""

    def __init__(self, kind: Any, why: str, remedy: str) -> None:
        self.kind, self.why, self.remedy = kind, why, remedy


def absolute(value: Any) -> str:
    """Want an absolute path."""
    return "" if isinstance(value, str) and value.startswith("/") and "\0" not in value else "is no absolute path"


def variable(value: Any) -> str:
    """Want NAME=value, as environ(7) has it."""
    fine = isinstance(value, str) and "=" in value[1:] and "\0" not in value
    return "" if fine else "is no environment variable: NAME=value"


def limit_name(value: Any) -> str:
    """Want a name in the style of getrlimit(2); which ones there are, program.prepare asks the machine."""
    rest = value.removeprefix("RLIMIT_") if isinstance(value, str) else ""
    return "" if rest != value and rest.isascii() and rest.isalpha() and rest.isupper() else "is no RLIMIT_…"


def numbers(value: Any) -> str:
    """Want a list of CPUs or memory nodes."""
    return "" if isinstance(value, str) and set(value) <= set("0123456789, -") else "is no list such as 0-3,7"


def page_size(value: Any) -> str:
    """Want the size of a huge page, as the kernel's files are named after."""
    number = value[:-2] if isinstance(value, str) and value[-2:] in ("KB", "MB", "GB") else ""
    fine = number.isascii() and number.isdecimal() and not number.startswith("0")
    return "" if fine else "is no size such as 64KB, 2MB or 1GB"


def device_kind(value: Any) -> str:
    """Want a type of mknod(1)."""
    return "" if isinstance(value, str) and value in tuple("cbup") else "is no type of device: c, b, u or p"


def interface(value: Any) -> str:
    """Want what the kernel takes for an interface's name (dev_valid_name in net/core/dev.c), or a template of it."""
    fine = isinstance(value, str) and 0 < len(value.encode()) < 16 and value not in (".", "..")
    fine = fine and not any(letter in "/:\0" or letter.isspace() for letter in value) and value.count("%") <= 1
    return "" if fine and ("%" not in value or "%d" in value) else "is no name of a network interface"


def bandwidth(value: Any) -> str:
    """Want one line for memory bandwidth of resctrl."""
    fine = isinstance(value, str) and value.startswith("MB:") and "\n" not in value
    return "" if fine else "is no line that begins with MB:"


_ID_MAP = {"!containerID": U32, "!hostID": U32, "!size": U32}
_HOOK = {"!path": absolute, "args": [str], "env": [variable], "timeout": range(1, 1 << 31)}
_NAMES = [str]  # of capabilities: what has no name here is a warning, says the specification (program.prepare)

_PROCESS = {
    "args": [str],
    "commandLine": Refused(str, "is how Windows has it", "give args"),
    "consoleSize": {"!height": U16, "!width": U16},
    "!cwd": absolute,
    "env": [variable],
    "terminal": bool,
    "user": {
        "uid": U32, "gid": U32, "umask": range(0o1000), "additionalGids": [U32],
        "username": Refused(str, "is how Windows has it", "give uid and gid"),
    },
    "capabilities": dict.fromkeys(("bounding", "permitted", "effective", "inheritable", "ambient"), _NAMES),
    "apparmorProfile": str,
    "oomScoreAdj": range(-1000, 1001),
    "selinuxLabel": str,
    "ioPriority": {"!class": {"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"}, "priority": range(8)},
    "noNewPrivileges": bool,
    "scheduler": {
        "!policy": {
            "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE",
        },
        "nice": range(-20, 20), "priority": I32, "runtime": U64, "deadline": U64, "period": U64,
        "flags": [{
            "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX",
        }],
    },
    "rlimits": [{"!type": limit_name, "!soft": U64, "!hard": U64}],
    "execCPUAffinity": {"initial": numbers, "final": numbers},
}  # fmt: skip

_RATES = [{"!major": I64, "!minor": I64, "rate": U64}]
_RESOURCES = {
    "unified": Named(str),
    "devices": [{"!allow": bool, "type": {"", "a", "b", "c"}, "major": I64, "minor": I64, "access": str}],
    "pids": {"limit": I64},
    "blockIO": {
        "weight": U16, "leafWeight": U16,
        "weightDevice": [{"!major": I64, "!minor": I64, "weight": U16, "leafWeight": U16}],
        "throttleReadBpsDevice": _RATES, "throttleWriteBpsDevice": _RATES,
        "throttleReadIOPSDevice": _RATES, "throttleWriteIOPSDevice": _RATES,
    },
    "cpu": {
        "cpus": numbers, "mems": numbers, "period": U64, "quota": I64, "burst": U64, "realtimePeriod": U64,
        "realtimeRuntime": I64, "shares": U64, "idle": I64,
    },
    "hugepageLimits": [{"!pageSize": page_size, "!limit": U64}],
    "memory": {
        "kernel": I64, "kernelTCP": I64, "limit": I64, "reservation": I64, "swap": I64, "swappiness": U64,
        "disableOOMKiller": bool, "useHierarchy": bool, "checkBeforeUpdate": bool,
    },
    "network": {"classID": U32, "priorities": [{"!name": str, "!priority": U32}]},
    "rdma": Named({"hcaHandles": U32, "hcaObjects": U32}),
}  # fmt: skip

SECCOMP_ARCHITECTURES = {
    f"SCMP_ARCH_{name}" for name in (
        "X86", "X86_64", "X32", "ARM", "AARCH64", "LOONGARCH64", "M68K", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL",
        "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390", "S390X", "SH", "SHEB", "PARISC", "PARISC64",
        "RISCV64",
    )
}  # fmt: skip
SECCOMP_OPERATORS = {f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")}
SECCOMP_ACTIONS = {
    f"SCMP_ACT_{name}" for name in (
        "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY",
    )
}  # fmt: skip
_SECCOMP = {
    "!defaultAction": SECCOMP_ACTIONS,
    "defaultErrnoRet": U32,
    "flags": [{f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")}],
    "listenerPath": str,
    "listenerMetadata": str,
    "architectures": [SECCOMP_ARCHITECTURES],
    "syscalls": [{
        "!names": [str], "!action": SECCOMP_ACTIONS, "errnoRet": U32,
        "args": [{
            "!index": range(6), "!value": U64, "valueTwo": U64,
            "!op": SECCOMP_OPERATORS,
        }],
    }],
}  # fmt: skip

_OFFSET = {"secs": I64, "nanosecs": range(1_000_000_000)}
_LINUX = {
    "devices": [{
        # The schema ends at 512; podman and Docker send what stat(2) says of the host's, with the type in it.
        "!type": device_kind, "!path": absolute, "fileMode": range(1 << 16), "major": I64, "minor": I64, "uid": U32,
        "gid": U32,
    }],
    "netDevices": Named({"name": interface}),
    "uidMappings": [_ID_MAP],
    "gidMappings": [_ID_MAP],
    "namespaces": [{
        "!type": {"mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time"}, "path": str,
    }],
    "resources": _RESOURCES,
    "cgroupsPath": str,
    # Docker and podman write the words of mount(8) with the r, which the specification does not have.
    "rootfsPropagation": {
        "", *(prefix + word for prefix in ("", "r") for word in ("private", "shared", "slave", "unbindable")),
    },
    "seccomp": _SECCOMP,
    "sysctl": Named(str),
    "maskedPaths": [absolute],
    "readonlyPaths": [absolute],
    "mountLabel": str,
    "intelRdt": Refused(
        {"closID": str, "schemata": [str], "l3CacheSchema": str, "memBwSchema": bandwidth, "enableMonitoring": bool},
        "is not done by labrt: it writes to no resctrl file system", "leave it out, or use a runtime that has it: runc",
    ),
    "memoryPolicy": {
        "!mode": {
            f"MPOL_{name}" for name in (
                "DEFAULT", "BIND", "INTERLEAVE", "WEIGHTED_INTERLEAVE", "PREFERRED", "PREFERRED_MANY", "LOCAL",
            )
        },
        "nodes": numbers,
        "flags": [{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"}],
    },
    "personality": {"!domain": {"LINUX", "LINUX32"}, "flags": [str]},
    "timeOffsets": Named(_OFFSET),
}  # fmt: skip

CONFIG: dict[str, Any] = {
    "!ociVersion": str,
    "hooks": {
        kind: [_HOOK] for kind in
        ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "annotations": Named(str),
    "hostname": str,
    "domainname": str,
    "mounts": [{
        "!destination": str, "type": str, "source": str, "options": [str], "uidMappings": [_ID_MAP],
        "gidMappings": [_ID_MAP],
    }],
    "root": {"!path": str, "readonly": bool},
    "process": _PROCESS,
    "linux": _LINUX,
}  # fmt: skip

# Sections for other platforms mean nothing to Linux: they must be well-formed, and are passed over.
ELSEWHERE = ("freebsd", "solaris", "windows", "zos", "vm")


def check(config: Any, *, run: bool = False) -> None:
    """Go through a whole configuration. Raises InvalidConfig: the property's path, the value, and what is wanted.

    `run`: it shall become a container on this machine, so what is refused is an error too.
    """
    check_value(config, CONFIG, "", run)
    if any(config.get(name) is not None for name in ELSEWHERE):
        from labrt.runtime import fields_elsewhere

        check_value(config, fields_elsewhere.SECTIONS, "", run)


def check_value(value: Any, kind: Any, where: str, run: bool = False) -> None:
    """Check one value, all the way down. `where` is its path, such as `linux.devices[0].type`."""
    if value is None:
        return
    if kind is _SECCOMP:
        _check_filter(value, where, run)
    elif isinstance(kind, dict):
        _check_object(value, kind, where, run)
    elif isinstance(kind, list):
        if not isinstance(value, list | tuple):
            raise wrong(where, value, "is no array")
        if kind[0] is str and set(map(type, value)) == {str} and "\0" not in "".join(value):
            return  # the hundreds of names in a seccomp filter: one by one they would take most of our time
        for index, item in enumerate(value):
            if item is None:
                raise wrong(f"{where}[{index}]", item, "is no value")
            check_value(item, kind[0], f"{where}[{index}]", run)
    elif isinstance(kind, Named):
        if not isinstance(value, dict):
            raise wrong(where, value, "is no object")
        for name, item in value.items():
            check_value(item, kind.kind, f"{where}.{name}", run)
    elif isinstance(kind, Refused):
        check_value(value, kind.kind, where, run)
        if run and value != "":
            raise wrong(where, value, kind.why, kind.remedy)
    else:
        _check_leaf(value, kind, where)


_filters: list[str] = []  # some that were found right, as text: they may be changed meanwhile


def _check_filter(value: Any, where: str, run: bool) -> None:
    """Check a filter, unless it is one as before: nearly all containers have the same, with hundreds of values."""
    text = json.dumps(value)
    if text in _filters:
        return
    _check_object(value, _SECCOMP, where, run)
    if len(_filters) < 4:
        _filters.append(text)


def _check_object(value: Any, kind: Mapping[str, Any], where: str, run: bool) -> None:
    if not isinstance(value, dict):
        raise wrong(where or "config.json", value, "is no object")
    for key, wanted in kind.items():
        name = key.removeprefix("!")
        path = f"{where}.{name}" if where else name
        item = value.get(name)
        if item is not None:
            check_value(item, wanted, path, run)
        elif name != key:
            raise InvalidConfig(f"{path}: is missing", remedy="the specification wants it: see config.md")


def _check_leaf(value: Any, kind: Any, where: str) -> None:
    if isinstance(kind, range):
        if type(value) is not int or value not in kind:
            raise wrong(where, value, f"is no whole number from {kind[0]} to {kind[-1]}")
    elif isinstance(kind, set):
        if not isinstance(value, str) or value not in kind:
            raise wrong(where, value, "is unknown", f"one of {', '.join(sorted(filter(None, kind)))}")
    elif kind is str:
        if not isinstance(value, str) or "\0" in value:
            raise wrong(where, value, "is no string" if not isinstance(value, str) else "has a NUL in it")
    elif kind is bool:
        if not isinstance(value, bool):
            raise wrong(where, value, "is neither true nor false")
    elif problem := kind(value):
        raise wrong(where, value, problem)


def wrong(where: str, value: Any, problem: str, remedy: str = "") -> InvalidConfig:
    """Make the error that names a property and shows its value."""
    shown = repr(value)
    return InvalidConfig(f"{where}: {shown if len(shown) < 100 else shown[:97] + '...'} {problem}", remedy=remedy)
