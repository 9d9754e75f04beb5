"""What this runtime recognizes, whatever the machine has of it: features.md, features-linux.md of the runtime-spec."""

from __future__ import annotations

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


VERSION = "1.3.0"  # the newest that we have read; memoryPolicy and netDevices are of it
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def features() -> dict[str, Any]:
    """Return the specification's Features structure."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": list(HOOKS),
        "mountOptions": mount_options(),
        "linux": _linux(),
        "annotations": {},
        "potentiallyUnsafeConfigAnnotations": ["org.labrt."],
    }


def mount_options() -> list[str]:
    """Name the options of mounts that are ours and no file system's, those for all mounts below it among them."""
    from labrt.linux import mount_options as options

    recursive = [f"r{word}" for word in options.FLAGS if not options.parse([f"r{word}"]).data]
    return sorted({*options.FLAGS, *recursive, *options.PROPAGATION, "tmpcopyup", "idmap", "ridmap"})


def _linux() -> dict[str, Any]:
    from labrt.linux import capability_names, flags, mempolicy, namespaces
    from labrt.runtime import fields

    seccomp_flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")]
    ours = {f"SECCOMP_FILTER_FLAG_{flag.name}" for flag in flags.SECCOMP_FILTER_FLAG} | {seccomp_flags[-1]}
    return {
        "namespaces": sorted(namespaces.FLAG_OF_OCI_NAME),
        "capabilities": [f"CAP_{cap.name}" for cap in capability_names.CAP],
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": {
            "enabled": True,
            "actions": sorted(fields.SECCOMP_ACTIONS),
            "operators": sorted(fields.SECCOMP_OPERATORS),
            "archs": sorted(fields.SECCOMP_ARCHITECTURES),
            "knownFlags": seccomp_flags,
            "supportedFlags": [name for name in seccomp_flags if name in ours],
        },
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "memoryPolicy": {"modes": list(mempolicy.MODES), "flags": list(mempolicy.FLAGS)},
        "intelRdt": {"enabled": False},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }
