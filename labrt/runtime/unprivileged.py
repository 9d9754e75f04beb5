"""What a container of an ordinary user gets in another way than root's, and what it does not get.

    adapt(config)          change a config.json to what root of a user namespace is granted
    cgroup(id, path, …)    its cgroup, where systemd delegates one; None, or a refusal, where nobody does
    approach(name)         come to where one may enter it

What cannot be is refused by name: a limit or a device that is silently not there would be a lie. See rootless.py for
the namespace, user_namespaces(7), cgroups(7) ("delegation"), https://systemd.io/CGROUP_DELEGATION.
"""

from __future__ import annotations

import contextlib
import os
import stat

from labrt import paths
from labrt.errors import KernelError, NotSupported

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from labrt.linux import cgroups

TTY = 5  # the group of terminals, in Debian's /etc/group and most images'
# File systems that show a namespace, which the kernel mounts for its owner only: the machine's is bound in their place.
SHOWN = {"sysfs": ("network", "/sys", "rro"), "proc": ("pid", "/proc", "rw"), "mqueue": ("ipc", "/dev/mqueue", "rw")}

_BETWEEN = {
    "destination": "/sys/fs/cgroup", "type": "tmpfs", "source": "tmpfs",
    "options": ["nosuid", "noexec", "nodev", "mode=755", "size=64k"],
}  # fmt: skip


def adapt(config: dict[str, Any]) -> None:
    """Change a config.json, in place, so that the kernel grants it to root of a user namespace.

    - Device rules go: to enforce them takes root, and without mknod(2) a container has the devices that it was shown.
    - Devices are bound: the machine's own nodes, with the rights that the user has on them.
    - With a namespace of the machine's, a new /proc, /sys or mqueue is refused: the machine's is bound if it is there,
      and /sys read-only.
    - A devpts whose terminals belong to a group that does not exist in here is refused: then they are root's.

    Raises NotSupported for a device that the machine does not have.
    """
    from labrt.linux import userns

    config["linux"].get("resources", {}).pop("devices", None)
    adapt_files(config, has_tty=userns.to_host(userns.read_maps()[1], TTY) is not None)


def adapt_files(config: dict[str, Any], *, has_tty: bool) -> None:
    """All of it but the first. `has_tty`: whether the group of terminals exists in there."""
    linux = config["linux"]
    own = {entry["type"] for entry in linux.get("namespaces") or ()}
    for mount in list(config["mounts"]):
        namespace, source, mode = SHOWN.get(mount.get("type"), ("", "", ""))
        if namespace and namespace not in own and not os.path.exists(source):
            config["mounts"].remove(mount)
        elif namespace and namespace not in own:
            mount |= {"type": "bind", "source": source, "options": ["rbind", "rslave", mode, "nosuid", "noexec"]}
            if source == "/sys":
                # The container's cgroup2 is one file system with the machine's, and must not lie directly on it.
                config["mounts"].insert(config["mounts"].index(mount) + 1, dict(_BETWEEN))
        elif mount.get("type") == "devpts" and not has_tty:
            mount["options"] = [option for option in mount.get("options") or () if option != f"gid={TTY}"]
    for device in linux.pop("devices", None) or ():
        source = _device_of_the_machine(device)
        config["mounts"].append({"destination": device["path"], "type": "bind", "source": source, "options": ["bind"]})


def _device_of_the_machine(device: Mapping[str, Any]) -> str:
    """Find the node of a device: under the name that it shall have, or any other."""
    is_kind = stat.S_ISBLK if device["type"] == "b" else stat.S_ISCHR
    wanted = os.makedev(device["major"], device["minor"])
    for path in (str(device["path"]), *_nodes("/dev")):
        with contextlib.suppress(OSError):
            found = os.stat(path, follow_symlinks=False)
            if is_kind(found.st_mode) and found.st_rdev == wanted:
                return path
    what = f"{device['path']} ({device['type']} {device['major']}:{device['minor']}) is no device of this machine"
    raise NotSupported(what, remedy="in a user namespace devices can be shown, but not made")


def _nodes(directory: str) -> Iterator[str]:
    """Name all that is below a directory of devices, but for terminals and shared memory."""
    for above, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in ("pts", "shm", "mqueue", "hugepages")]
        yield from (os.path.join(above, name) for name in names)


def cgroup(id: str, path: str, resources: Mapping[str, Any]) -> cgroups.Cgroup | None:
    """Make the cgroup of a user's container, and come into the cgroup beside it; None where nobody delegates one.

    `path` is the config's cgroupsPath, of which systemd takes the slice. Raises NotSupported for another parent, and
    where there is no cgroup for limits: one that nobody keeps would be a lie.
    """
    from labrt.linux import cgroups
    from labrt.linux.cgroups import systemd

    above = os.path.basename(os.path.dirname(path))
    if os.path.dirname(path) != cgroups.PARENT and not above.endswith(".slice"):
        remedy = "an ordinary user can choose a slice of their systemd's, such as app.slice"
        raise NotSupported(f"the container's cgroup cannot be {path}", remedy=remedy)
    slice = above if above.endswith(".slice") else systemd.SLICE
    limits = [kind for kind, values in resources.items() if values]
    try:
        if cgroups.detect().mode == "unified" and systemd.present():
            return cgroups.create("container", parent=systemd.scope(os.getpid(), id, slice=slice))
        return cgroups.create(id)
    except (NotSupported, KernelError) as error:
        if not limits:
            return None
        remedy = "`labrt doctor` says what to delegate, and how; or run it as root, or without limits"
        what = f"the limits of {', '.join(limits)} cannot be kept: no cgroup is delegated to user {paths.owner()}"
        raise NotSupported(what, remedy=remedy) from error


def approach(name: str) -> None:
    """Come to where this process may enter its user's other cgroups: out of a login session only systemd moves one."""
    from labrt.linux import cgroups
    from labrt.linux.cgroups import systemd

    v2 = cgroups.detect().v2
    try:
        if v2 is not None:
            cgroups.delegated(v2)
    except NotSupported:
        systemd.scope(os.getpid(), name)
