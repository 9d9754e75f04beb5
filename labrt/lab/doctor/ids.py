"""What the doctor asks for an ordinary user: whether they have subordinate ids, and whether a logout ends containers.

Without subordinate ids labrt works, but only root exists in a container: see runtime/rootless.py, subuid(5),
newuidmap(1), loginctl(1).
"""

from __future__ import annotations

import json
import os
import stat

from labrt.lab.doctor.host import Host
from labrt.lab.doctor.report import Check
from labrt.linux import userns
from labrt.paths import Paths

INSTALL = "sudo apt-get install -y uidmap"
AGAIN = "sudo apt-get install -y --reinstall uidmap"
RENEW = "labrt reset  # ends this user's containers; the next command takes all ids"
CAPABILITIES = {"newuidmap": userns.CAP_SETUID, "newgidmap": userns.CAP_SETGID}


def subordinate_ids(host: Host, where: Paths, user: int | None = None) -> Check:
    """Look which ids a user (None: whose labrt this is) may map beside their own, and whether they do."""
    from labrt import paths

    name, user = "subordinate ids", paths.owner() if user is None else user
    if user == 0:
        return Check(name, "ok", "root needs none")
    uids, gids = userns.subordinate_ids(user, etc=host.path("/etc"))
    if not uids or not gids:
        lacks = " and ".join(file for file, ranges in (("subuid", uids), ("subgid", gids)) if not ranges)
        saw = f"user {user} has no line in /etc/{lacks}: nobody but root exists in a container"
        return Check(name, "warn", saw, userns.add_ranges(user, etc=host.path("/etc")))
    for program, capability in CAPABILITIES.items():
        path = userns.find_helper(program, root=host.root)
        if path is None:
            return Check(name, "warn", f"no {program}, which maps the ids of /etc/subuid and /etc/subgid", INSTALL)
        if not _has_power(path, capability):
            return Check(name, "warn", f"{path} is neither set-user-ID root nor has its capability", AGAIN)
    saw = f"{sum(each.size for each in uids)} uids, {sum(each.size for each in gids)} gids"
    if _began_with_one(where):
        return Check(name, "warn", f"{saw}, but labrt's user namespace was made without", RENEW)
    return Check(name, "ok", saw)


def _has_power(path: str, capability: int) -> bool:
    """Whether a program gets the right to write maps: by its owner's id, or by a file capability. See xattr(7)."""
    found = os.stat(path)
    if found.st_mode & stat.S_ISUID and found.st_uid == 0:
        return True
    try:
        raw = os.getxattr(path, "security.capability")
    except OSError:
        return False
    return bool(int.from_bytes(raw[4:8], "little") >> capability & 1)  # struct vfs_cap_data: the permitted set


def _began_with_one(where: Paths) -> bool:
    """Whether the user namespace that this user's containers share was made when there were no ranges yet."""
    try:
        with open(os.path.join(where.state, "namespaces.json")) as file:
            about = json.load(file)
        from labrt.linux import procfs

        if about["boot"] != procfs.boot_id() or not procfs.alive(about["monitor"], about["monitor_starttime"]):
            return False
        uids, gids = userns.read_maps(about["monitor"])
    except (OSError, ValueError, KeyError, LookupError):
        return False
    return len(uids) == 1 or len(gids) == 1


def lingering(host: Host, user: int | None = None) -> Check:
    """Look whether systemd keeps a user's processes beyond their last logout: it ends the cgroups that it gave."""
    from labrt import paths

    name, user = "logout", paths.owner() if user is None else user
    if user == 0:
        return Check(name, "ok", "ends no container of root's")
    if not os.path.isdir(host.path("/run/systemd/system")):
        return Check(name, "ok", "no systemd here that would end containers at a logout")
    names = userns.names_of(user)
    if any(os.path.exists(host.path(f"/var/lib/systemd/linger/{each}")) for each in names):
        return Check(name, "ok", "containers outlive it (lingering)")
    return Check(name, "warn", "your last logout ends your containers", "loginctl enable-linger")
