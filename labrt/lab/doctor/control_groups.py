"""What the doctor asks about control groups: which controllers there are, who may use them, whether swap is counted.

A controller that is missing was not built, was switched off at boot, is not mounted (v1), or was not handed on to where
we are (v2): each has another remedy. See cgroups(7).
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from labrt.lab.doctor.host import Host
from labrt.lab.doctor.kernel import NEWER
from labrt.lab.doctor.report import Check

if TYPE_CHECKING:
    from labrt.linux.cgroups.detect import Hierarchy, Tree

WANTED = ("memory", "cpu", "pids")
MOUNT = "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup"
# A login session of systemd is outside of what its user was given; out of there only systemd moves a process.
SCOPE = "systemd-run --user --scope -p Delegate=yes $SHELL"
# Root hands controllers on by itself; an ordinary user has those that systemd gives to user@.service, and no others.
DELEGATE = (
    r"sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\nDelegate=cpu cpuset io memory pids\n' | "
    "sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload  # then log in again"
)


def boot_with(option: str) -> str:
    """Return what to type to boot with another option on the kernel's command line, as Debian and Ubuntu have it."""
    edit = f'sudo sed -i \'s/^GRUB_CMDLINE_LINUX="/&{option} /\' /etc/default/grub'
    return f"{edit} && sudo update-grub && sudo reboot"


def _boot_without(option: str) -> str:
    return f"sudo sed -i 's/{option}=[^ \"]*//g' /etc/default/grub && sudo update-grub && sudo reboot"


def _enabled(host: Host, controller: str) -> bool | None:
    """Whether the kernel has a controller switched on, by /proc/cgroups; None where it was not built, or not told."""
    for line in (host.read("/proc/cgroups") or "").splitlines():
        name, *numbers = line.split()
        if name == controller and len(numbers) == 3:
            return numbers[2] == "1"
    return None


def _remedy(host: Host, found: Hierarchy, controller: str) -> str:
    """Return what brings a controller back that is in no tree."""
    enabled, line = _enabled(host, controller), host.read("/proc/cmdline") or ""
    if "cgroup_disable=" in line:
        return _boot_without("cgroup_disable")
    if enabled is False:  # off unless asked for, as on a Raspberry Pi
        return boot_with(f"cgroup_enable={controller}")
    if found.v2 and not found.v1:
        if _is_nested(found.v2):
            return f"echo +{controller} | sudo tee /sys/fs/cgroup/cgroup.subtree_control  # outside of this container"
        # Where the root of all lacks it, v1 holds it, mounted or not; or the kernel was built without it.
        return boot_with("systemd.unified_cgroup_hierarchy=1") if enabled else NEWER
    place = f"/sys/fs/cgroup/{controller}"
    return f"sudo mkdir -p {place} && sudo mount -t cgroup -o {controller} cgroup {place}" if enabled else NEWER


def _is_nested(tree: Tree) -> bool:
    """Whether what is mounted as v2's root is a cgroup below the machine's root, which has no type."""
    return os.path.exists(f"{tree.mountpoint}/cgroup.type")


def cgroups(host: Host) -> Check:
    """Look which control groups are mounted, whether memory, cpu and pids are among them, and may be used."""
    found = _detect(host)
    if not found:
        return Check("cgroups", "fail", "this kernel has no control groups", NEWER)
    if found.mode == "none":
        return Check("cgroups", "fail", "no control groups are mounted", MOUNT)
    trees = {name: found.where(name) for name in WANTED}
    saw = f"{found.mode}: {', '.join(name for name, tree in trees.items() if tree) or 'no controllers'}"
    lacks = [name for name, tree in trees.items() if not tree]
    if lacks:
        return Check("cgroups", "warn", f"{saw}; without {', '.join(lacks)}", _remedy(host, found, lacks[0]))
    if found.v1 and _is_ordinary(host):
        saw += "; v1 is root's alone: an ordinary user's containers have no limits"
        return Check("cgroups", "warn", saw, boot_with("systemd.unified_cgroup_hierarchy=1"))
    if found.v2 and not found.v1:
        problem = _withheld(found.v2) if _is_ordinary(host) else _occupied(found.v2)
        if problem:
            return Check("cgroups", "warn", f"{saw}; {problem[0]}", problem[1])
    closed = [tree.mountpoint for tree in trees.values() if tree and not os.access(tree.mountpoint, os.W_OK)]
    if closed and os.geteuid() == 0:
        remedy = f"sudo mount -o remount,rw {shlex.quote(closed[0])}"
        return Check("cgroups", "warn", f"{saw}; {closed[0]} is read-only", remedy)
    return Check("cgroups", "ok", saw)


def swap(host: Host) -> Check:
    """Look whether swap is counted: without that, --memory-swap is not kept, and what is over the limit is swapped."""
    found = _detect(host)
    tree = found.where("memory") if found else None
    if not found or not tree:
        saw = "no memory controller, hence no limit of swap"
        return Check("swap", "warn", saw, _remedy(host, found, "memory") if found and found.trees else MOUNT)
    name = "memory.memsw.limit_in_bytes" if tree.version == 1 else "memory.swap.max"
    counted = _counted(tree, name)
    if counted is None:
        return Check("swap", "ok", "not told yet: no cgroup has a memory limit")
    if not counted:
        return Check("swap", "warn", f"swap is not counted (no {name}): --memory-swap is not kept", _count_swap(host))
    return Check("swap", "ok", f"counted ({name})")


def _count_swap(host: Host) -> str:
    if "swapaccount=0" in (host.read("/proc/cmdline") or ""):
        return _boot_without("swapaccount")
    return boot_with("swapaccount=1")


def _counted(tree: Tree, name: str) -> bool | None:
    """Whether a memory tree's cgroups have the file `name`; None: in v2 the root has none of these, nor has a child."""
    if tree.version == 1:
        return os.path.exists(f"{tree.mountpoint}/{name}")
    with os.scandir(tree.mountpoint) as entries:
        children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for directory in (tree.directory(tree.own), *children):
        if os.path.exists(f"{directory}/memory.max"):
            return os.path.exists(f"{directory}/{name}")
    return None


def _detect(host: Host) -> Hierarchy | None:
    from labrt.linux import cgroups as groups

    try:
        return groups.detect(host.path("/proc/self/mountinfo"), host.path("/proc/self/cgroup"))
    except OSError:
        return None


def _is_ordinary(host: Host) -> bool:
    return host.fields("/proc/self/status").get("Uid", "0 0").split()[1] != "0"


def _withheld(tree: Tree) -> tuple[str, str] | None:
    """Say what an ordinary user's own v2 cgroup was not given, and what to type; None if nothing."""
    from labrt.errors import NotSupported
    from labrt.linux import cgroups as groups

    try:
        with open(f"{tree.directory(tree.own)}/cgroup.controllers") as stream:
            given = stream.read().split()
        lacks = [name for name in WANTED if name not in given]
        if lacks:
            return f"not delegated to you: {', '.join(lacks)}", DELEGATE
        groups.delegated(tree)
    except OSError:
        return None
    except NotSupported as error:
        return f"containers ask systemd for theirs, but {error.message}", SCOPE
    return None


def _occupied(tree: Tree) -> tuple[str, str] | None:
    """Say what root cannot hand on from the root of a container, because processes are in it (EBUSY); None if nothing.

    v2 lets a cgroup below the machine's root have processes, or children with controllers, and not both.
    """
    if not _is_nested(tree):
        return None
    top = tree.mountpoint
    try:
        with open(f"{top}/cgroup.subtree_control") as handed, open(f"{top}/cgroup.procs") as processes:
            lacks, busy = set(WANTED).difference(handed.read().split()), processes.read().strip()
    except OSError:
        return None
    if not lacks or not busy:
        return None
    place, orders = shlex.quote(top), " ".join(f"+{name}" for name in WANTED)
    move = f"for p in $(cat {place}/cgroup.procs); do echo $p | sudo tee {place}/init/cgroup.procs; done"
    remedy = f"sudo mkdir -p {place}/init; {move}; echo {orders} | sudo tee {place}/cgroup.subtree_control"
    names = ", ".join(name for name in WANTED if name in lacks)
    return f"not in cgroup.subtree_control, and processes are in the way: {names}", remedy
