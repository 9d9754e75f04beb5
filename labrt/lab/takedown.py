"""How one thing of each kind is taken down: the hands of `labrt.reset`.

A function gets an entry of the ledger and labrt's places. It returns True when it took the thing down, False when there
was nothing (never made, or gone by itself), and raises LabrtError with a remedy when it may not or cannot: then the
entry stays. None of them believes an entry; each looks first whether that very thing is there and is labrt's to take.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable

from labrt.errors import Conflict, InvalidInput, LabrtError, NotFound
from labrt.linux import cgroups, procfs, syscalls
from labrt.linux import process as processes
from labrt.linux.flags import MNT, UMOUNT
from labrt.linux.ledger import Entry
from labrt.paths import Paths
from labrt.storage import driver as storage

PATIENCE = 10.0  # seconds for a killed process to be gone
# What the system itself stands on is never labrt's, whoever wrote it into the ledger.
NEVER = ("/", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/var")
NEVER_BELOW = ("/dev/", "/proc/", "/sys/", "/usr/")


def process(entry: Entry, where: Paths) -> bool:
    """Kill a process and wait until it is gone. It must be the one that was noted, by its start time."""
    pid, began = _number(entry.what), _number(entry.detail.get("starttime", ""))
    if pid is None:
        raise InvalidInput(f"{entry.what!r} is no pid", remedy=_forget(entry))
    if not os.path.exists(f"/proc/{pid}"):
        return False
    if began is None:
        raise Conflict(
            f"no start time was noted for pid {pid}: it may be somebody else by now",
            remedy=f"ps -fp {pid}; {_forget(entry)}",
        )
    if not procfs.alive(pid, began):
        return False
    if pid == 1 or pid in _ourselves():
        raise Conflict(f"pid {pid} is this very process, or one that it came from", remedy=_forget(entry))
    pidfd = processes.open_pidfd(pid, began)
    if pidfd is None:
        return False
    try:
        with contextlib.suppress(ProcessLookupError):
            syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
        if not processes.wait_for(pidfd, PATIENCE):
            raise Conflict(f"pid {pid} does not die: the kernel waits for something", remedy=f"cat /proc/{pid}/stack")
    finally:
        os.close(pidfd)
    return True


def _number(text: str) -> int | None:
    # isdecimal alone would let through other alphabets' digits, and numbers that no pid_t holds.
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _ourselves() -> list[int]:
    """This process and its ancestors: killing those would end the reset in the middle."""
    line = [os.getpid()]
    with contextlib.suppress(LabrtError):
        while line[-1] > 1:
            line.append(procfs.stat(line[-1]).ppid)
    return line


def cgroup(entry: Entry, where: Paths) -> bool:
    """Remove a control group, and kill what is left in it: in each tree of the machine where it is."""
    path = entry.what
    if not _is_plain(path) or _is_anothers(path):
        raise InvalidInput(f"{path!r} is no cgroup of labrt's", remedy=_forget(entry))
    held = [pid for pid in {1, *_ourselves()} if _is_in(pid, path)]
    if held:
        raise Conflict(
            f"{path} holds this very process, or one that it came from ({held[0]})",
            remedy="leave it first: echo $$ > /sys/fs/cgroup/cgroup.procs; labrt.reset()",
        )
    try:
        group = cgroups.load(path)
    except NotFound:
        return False
    group.entry = entry  # so that it is this one that is struck out, in whichever ledger it is
    group.remove()
    return True


def _is_anothers(path: str) -> bool:
    """Whether a cgroup is systemd's or another engine's: something like system.slice, with no part of ours in it."""
    parts = path.strip("/").split("/")
    ours = any(re.match(r"labrt\b", part) for part in parts)
    named = re.search(r"\.(slice|scope|service|mount)$", parts[0]) or parts[0] in ("docker", "kubepods", "lxc")
    # Our own parents, /labrt and labrt.slice, are for all containers together: `prune` takes them when empty.
    return path == "/" or parts[-1] in ("labrt", "labrt.slice") or bool(named and not ours)


def _is_in(pid: int, path: str) -> bool:
    with contextlib.suppress(LabrtError):
        return any(line.path == path or line.path.startswith(f"{path}/") for line in procfs.cgroup(pid))
    return False


def mount(entry: Entry, where: Paths) -> bool:
    """Take one mount down, if there is one under just this name. What is stacked below it stays."""
    path = entry.what
    if not _is_plain(path) or path in NEVER or path.startswith(NEVER_BELOW):
        raise InvalidInput(f"{path!r} is no place where labrt mounts", remedy=_forget(entry))
    real = os.path.realpath(path)
    if real != path and (_mounted(path, "self") or _mounted(real, "self")):
        raise Conflict(f"{path} leads to {real} now", remedy=f"findmnt {shlex.quote(real)}; {_forget(entry)}")
    if not _mounted(path, "self"):
        return _not_mounted_here(entry)
    # DETACH: out of sight now, gone when nobody uses it any more; whoever still sits in it must not keep it here.
    try:
        syscalls.umount2(path, MNT.DETACH | UMOUNT.NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # its owner was faster
            return False
        raise
    return True


def _mounted(path: str, pid: int | str) -> bool:
    try:
        return any(mount.mount_point == path for mount in procfs.mountinfo(pid))
    except (LabrtError, ValueError):
        return False


def _not_mounted_here(entry: Entry) -> bool:
    """Nothing to do, unless the mount is in the maker's or the host's mount namespace and we are in another one."""
    for pid in (entry.made_by, 1):
        if pid > 0 and _mounted(entry.what, pid):
            remedy = f"nsenter --mount=/proc/{pid}/ns/mnt umount {shlex.quote(entry.what)}"
            raise Conflict(f"it is in the mount namespace of pid {pid}, and we are in another one", remedy=remedy)
    return False


def container(entry: Entry, where: Paths) -> bool:
    """Remove a container's directories and its writable layer. Its processes, cgroup and mounts are gone by now."""
    if not re.fullmatch(r"[0-9a-f]{12,64}", entry.what):
        raise InvalidInput(f"{entry.what!r} is no container's id", remedy=_forget(entry))
    found = _remove_writable_layer(entry.what, where)
    for place in (where.containers, where.sockets):
        path = os.path.join(os.path.realpath(place), entry.what)
        if os.path.lexists(path):
            _remove(path, recursively=True)
            found = True
    return found


def _remove_writable_layer(identity: str, where: Paths) -> bool:
    if not os.path.isdir(where.layers):  # to ask for a driver would be to choose one
        return False
    found = False
    for driver in storage.opened(where):
        if identity in driver.containers():
            driver.remove(identity)
            found = True
    return found


def mapped_device(entry: Entry, where: Paths) -> bool:
    """Remove a device of the device mapper. One that is in use goes with its last user."""
    from labrt.linux import devmapper

    if not re.fullmatch(r"labrt-[0-9a-f]{12}-(pool|[0-9]+)", entry.what):
        raise InvalidInput(f"{entry.what!r} is no mapped device of labrt's", remedy=_forget(entry))
    if not os.path.exists(devmapper.CONTROL) or devmapper.find(entry.what) is None:
        return False
    if not devmapper.remove(entry.what):
        raise Conflict(f"{entry.what} is in use; it goes with its last user", remedy="labrt ps; labrt.reset()")
    return True


def loop_device(entry: Entry, where: Paths) -> bool:
    """Detach a file of labrt's from its loop device. While somebody uses that, it stays as long."""
    from labrt.linux import loop

    if not os.path.realpath(entry.what).startswith(os.path.realpath(where.layers) + "/"):
        raise InvalidInput(f"{entry.what} lies outside of {where.layers}", remedy=_forget(entry))
    device = loop.device_of(entry.what)
    if device is None:
        return False
    loop.clear(device)
    return True


def network_kind(entry: Entry, where: Paths) -> bool:
    """Take down a bridge, a table of nft's, or put forwarding back: in the network namespace where it was made."""
    from labrt.linux.network import firewall, links

    if not re.fullmatch(r"labrt[0-9a-f-]{0,10}", entry.what):
        raise InvalidInput(f"{entry.what!r} is no {entry.kind} of labrt's", remedy=_forget(entry))
    made_in = entry.detail.get("netns", "")
    if made_in and made_in != str(os.stat("/proc/thread-self/ns/net").st_ino):
        pid = _inhabitant(made_in)
        if pid:
            remedy = f"nsenter --net=/proc/{pid}/ns/net labrt reset"
            raise Conflict(f"it is in the network namespace of pid {pid}, and we are in another one", remedy=remedy)
        return False  # nobody is in there any more, so there is no such place
    if entry.kind == "bridge":
        return links.delete_bridge(entry.what)
    return firewall.Firewall(entry.what).remove() if entry.kind == "nft" else _stop_forwarding(entry)


def _stop_forwarding(entry: Entry) -> bool:
    from labrt.linux.network import forwarding

    version = entry.detail.get("version", "")
    if version not in ("4", "6"):
        raise InvalidInput(f"{version!r} is no version of IP", remedy=_forget(entry))
    return forwarding.release(entry.what, int(version))


def _inhabitant(namespace: str) -> str:
    """Find a process in a network namespace, by that one's inode number; "" if there is none."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if str(os.stat(f"/proc/{pid}/ns/net").st_ino) == namespace:
                return pid
    return ""


def directory(entry: Entry, where: Paths) -> bool:
    """Remove a directory: with all in it when in labrt's own places, only an empty one when among temporary files."""
    parent, name = os.path.split(entry.what.rstrip("/"))
    path = os.path.join(os.path.realpath(parent), name)
    if not os.path.isabs(entry.what) or name in ("", ".", ".."):
        raise InvalidInput(f"{entry.what!r} is no directory of labrt's", remedy=_forget(entry))
    own = any(path.startswith(os.path.realpath(place) + "/") for place in where)
    if not own and not _is_temporary(path):
        places = f"labrt's places ({where.state}, {where.run})"
        raise InvalidInput(f"{path} lies outside of {places}", remedy=_forget(entry))
    rooms = (where.images, where.layers, where.containers, where.volumes, where.networks, where.leases, where.cache,
             where.ledger, where.sockets)  # fmt: skip
    if path in map(os.path.realpath, rooms):
        raise InvalidInput(f"{path} is one of labrt's own rooms", remedy=_forget(entry))
    if not os.path.lexists(path):
        return False
    _remove(path, recursively=own)
    return True


def _is_temporary(path: str) -> bool:
    """Whether this is a name that labrt.linux.mounts gives to a mount point that nobody named."""
    place, name = os.path.split(path)
    return place == os.path.realpath(tempfile.gettempdir()) and bool(re.fullmatch(r"labrt-[0-9]+-[0-9]+", name))


def _remove(path: str, *, recursively: bool) -> None:
    below = [mount.mount_point for mount in procfs.mountinfo() if f"{mount.mount_point}/".startswith(f"{path}/")]
    if below:
        # To remove through a mount would be to remove what somebody else keeps there.
        raise Conflict(f"{below[0]} is still mounted in it", remedy=f"umount {shlex.quote(below[0])}; labrt.reset()")
    if os.path.islink(path):
        os.unlink(path)
    elif recursively:
        shutil.rmtree(path)  # follows no symbolic link, neither in it nor while it is walked
    else:
        os.rmdir(path)


def sweep(directory: str) -> None:
    """Remove halves of entries whose writer was killed while writing."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            writer = re.fullmatch(r"\.\d+-(\d+)-\d+-\w+\.json", name)
            if writer and not os.path.exists(f"/proc/{writer[1]}"):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(directory, name))


def _is_plain(path: str) -> bool:
    """Whether a path is absolute and says nothing twice. normpath alone leaves the two slashes of "//proc"."""
    return path.startswith("/") and not path.startswith("//") and os.path.normpath(path) == path


def _forget(entry: Entry) -> str:
    return f"rm {shlex.quote(entry.file)}"


# Processes first, for they hold the rest; what is in a directory before the directory.
ORDER: dict[str, Callable[[Entry, Paths], bool]] = {
    "process": process,
    "cgroup": cgroup,
    "mount": mount,
    "bridge": network_kind,
    "nft": network_kind,
    "forwarding": network_kind,
    "container": container,
    "dm": mapped_device,
    "loop": loop_device,
    "directory": directory,
}
