"""How much of root's power a container's root has: --privileged, --cap-add, --cap-drop, --security-opt, --group-add.

    --security-opt no-new-privileges[=true]    execve(2) gives no privileges: set-user-ID programs are of no use
    --security-opt seccomp=unconfined|FILE     no filter, or one's own (Docker's format or the runtime-spec's)
    --security-opt apparmor=unconfined|NAME    a profile that this kernel has loaded
    --security-opt systempaths=unconfined      nothing of /proc and /sys is masked or read-only
    --security-opt writable-cgroups[=true]     /sys/fs/cgroup may be written to: a container that makes cgroups
    --security-opt label=disable               SELinux labels: labrt gives none, so that is all that can be said of them

The usual filter depends on the capabilities: with SYS_ADMIN it allows mount(2), without it does not. --privileged takes
all of this away and gives what the machine has; what is dropped or restricted in so many words stays so, where Docker
ignores it. See capabilities(7), seccomp(2).
"""

from __future__ import annotations

import json
import os
from typing import Any

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput, NotSupported
from labrt.linux import capabilities
from labrt.runtime import config as oci

APPARMOR = "/sys/module/apparmor/parameters/enabled"
_VALUES = {
    "no-new-privileges": ("true", "false"),
    "writable-cgroups": ("true", "false"),
    "systempaths": ("unconfined",),
    "label": ("disable",),
    "seccomp": (),
    "apparmor": (),
}
_CGROUPS = "/sys/fs/cgroup"


def check(options: Options) -> None:
    """Raise InvalidInput for a capability or an option that there is not."""
    granted(options)
    writable = settings(options).get("writable-cgroups") == "true"
    if writable and options.cgroupns == "host":
        raise InvalidInput("writable-cgroups with --cgroupns host: they would be the host's", remedy="leave out one")
    for group in options.group_add:
        if not group or any(letter in group for letter in ":,\0\n"):
            raise InvalidInput(f"--group-add {group!r} is no group", remedy="a name of the image's, or a number")


def granted(options: Options) -> capabilities.CAP:
    """Return the capabilities that the container's root has. ALL, and --privileged, mean: all that we have."""
    add = ["ALL", *options.cap_add] if options.privileged else [*options.cap_add]
    drop = [*options.cap_drop]
    everything = any(name.upper() in ("ALL", "CAP_ALL") for name in add)
    if everything and any(name.upper() in ("ALL", "CAP_ALL") for name in drop):
        what = "--privileged" if options.privileged else "--cap-add ALL"
        raise InvalidInput(f"{what} and --cap-drop ALL contradict each other", remedy="leave out one of them")
    wanted = capabilities.adjust(capabilities.DEFAULT, add, drop)
    return wanted & capabilities.bounding() if everything else wanted


def settings(options: Options) -> dict[str, str]:
    """Read --security-opt: key=value, key:value, or a bare key for true."""
    found = {}
    for text in options.security_opt:
        mark = "=" if "=" in text else ":"
        key, given, value = text.partition(mark)
        if key not in _VALUES:
            raise InvalidInput(f"--security-opt {text!r} is not known", remedy=f"one of {', '.join(_VALUES)}")
        value = value if given else "true"
        allowed = _VALUES[key]
        if (allowed and value not in allowed) or not value or (not allowed and not given):
            remedy = f"{key}={' or '.join(allowed)}" if allowed else f"{key}=unconfined, or a name"
            raise InvalidInput(f"--security-opt {text!r}: that cannot be", remedy=remedy)
        found[key] = value
    return found


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write all of it into config.json. Raises NotSupported for an AppArmor profile where there is no AppArmor."""
    process, linux, how = config["process"], config["linux"], settings(options)
    caps = granted(options)
    sets = capabilities.Capabilities.of_root(caps).to_oci()
    process["capabilities"] = {name: names for name, names in sets.items() if names}
    process["noNewPrivileges"] = how.get("no-new-privileges") == "true"
    linux["seccomp"] = _filter(how.get("seccomp", "unconfined" if options.privileged else ""), caps)
    if linux["seccomp"] is None:
        del linux["seccomp"]
    if options.privileged or how.get("systempaths") == "unconfined":
        linux["maskedPaths"], linux["readonlyPaths"] = [], []
    if how.get("writable-cgroups") == "true":
        _require_unified()
    _make_writable(config, options.privileged, how.get("writable-cgroups"))
    profile = how.get("apparmor", "unconfined")
    if profile != "unconfined":
        _require_apparmor(profile)
        process["apparmorProfile"] = profile
    if options.group_add:
        _add_groups(options, config)


def _require_unified() -> None:
    """On v1 a container is not in each tree; and of those the mount is the host's root, its release_agent as well."""
    from labrt.linux import cgroups

    if cgroups.detect().mode != "unified":
        remedy = "on v1 a part of them would be the host's own"
        raise NotSupported("--security-opt writable-cgroups: it takes cgroup v2 alone", remedy=remedy)


def _make_writable(config: dict[str, Any], privileged: bool, cgroups: str | None) -> None:
    """Let /sys and /sys/fs/cgroup be written to."""
    for mount in config["mounts"]:
        if mount["type"] == "sysfs" and privileged or (
            mount["destination"] == _CGROUPS and (cgroups == "true" or (privileged and cgroups != "false"))
        ):
            mount["options"] = [word for word in mount["options"] if word != "ro"]


def _filter(text: str, caps: capabilities.CAP) -> dict[str, Any] | None:
    """Return the profile: ours for "" and "builtin", none for "unconfined", else that of the file."""
    from labrt.linux import seccomp_default, seccomp_docker

    names = capabilities.names(caps)
    if text == "unconfined":
        return None
    if text in ("", "builtin"):
        return seccomp_default.default_profile(names)
    try:
        with open(os.path.expanduser(text)) as file:
            profile = json.load(file)
    except OSError as error:
        remedy = "unconfined, builtin, or a file with a profile"
        raise InvalidInput(f"--security-opt seccomp={text}: {error.strerror}", remedy=remedy) from None
    except ValueError as error:
        raise InvalidInput(f"--security-opt seccomp={text}: not JSON: {error}", remedy="see seccomp(2)") from None
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        remedy = 'an object with "defaultAction", "syscalls", …'
        raise InvalidInput(f"--security-opt seccomp={text}: no profile is in it", remedy=remedy)
    return seccomp_docker.from_docker(profile, names)


def _require_apparmor(profile: str) -> None:
    enabled = ""
    if os.path.exists(APPARMOR):
        with open(APPARMOR) as file:
            enabled = file.read().strip()
    if enabled != "Y":
        remedy = "leave it out, or take a machine whose kernel has AppArmor"
        raise NotSupported(f"--security-opt apparmor={profile}: this kernel has no AppArmor", remedy=remedy)


def _add_groups(options: Options, config: dict[str, Any]) -> None:
    """Names are the image's, and init looks them up when it is in there; other runtimes get the numbers only."""
    config["annotations"][oci.GROUPS] = ",".join(options.group_add)
    numbers = [int(group) for group in options.group_add if group.isdecimal()]
    if numbers:
        config["process"]["user"]["additionalGids"] = numbers


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's Privileged, CapAdd, CapDrop, SecurityOpt and GroupAdd."""
    return {
        "Privileged": options.privileged,
        "CapAdd": _prefixed(options.cap_add),
        "CapDrop": _prefixed(options.cap_drop),
        "SecurityOpt": list(options.security_opt) or None,
        "GroupAdd": list(options.group_add) or None,
    }


def _prefixed(names: Any) -> list[str] | None:
    bare = (name.upper().removeprefix("CAP_") for name in names)
    return [name if name == "ALL" else f"CAP_{name}" for name in bare] or None
