"""The config.json that `labrt-oci spec` writes, to begin with: a shell at a terminal, with few powers.

No seccomp filter is in it, which is a page of names: `labrt run` has one, and labrt.linux.seccomp.default_profile.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]  # as runc's


def config(*, rootless: bool = False) -> dict[str, Any]:
    """Return the config; with `rootless` one that an ordinary user may run: root in it is they themselves."""
    from labrt.runtime import config as oci

    made = oci.default(["sh"], env=[oci.PATH, "TERM=xterm"])
    made["process"] |= {
        "terminal": True,
        "capabilities": {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }
    made["root"]["readonly"] = True
    del made["linux"]["seccomp"]
    if rootless:
        _for_a_user(made)
    return made


def _for_a_user(made: dict[str, Any]) -> None:
    linux = made["linux"]
    # No network namespace: a user could not connect it to anything, and the host's is theirs already.
    kinds = [entry["type"] for entry in linux["namespaces"] if entry["type"] not in ("network", "cgroup")]
    linux["namespaces"] = [{"type": kind} for kind in ("user", *kinds)]
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    linux["resources"] = {}
    mounts = [mount for mount in made["mounts"] if mount["type"] != "cgroup"]
    for mount in mounts:
        # A sysfs shows a network namespace, and only its owner may mount one; the group tty does not exist in here.
        if mount["type"] == "sysfs":
            mount |= {"type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}
        elif mount["type"] == "devpts":
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]
    made["mounts"] = mounts
