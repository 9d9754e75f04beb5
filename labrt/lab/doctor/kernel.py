"""What the doctor asks the kernel: its version, its user, namespaces, seccomp.

Each check is one function of a Host. See namespaces(7), user_namespaces(7), capabilities(7), seccomp(2).
"""

from __future__ import annotations

import platform
import re

from labrt.lab.doctor.host import Host
from labrt.lab.doctor.report import Check

# clone3 is in 5.3, CLONE_INTO_CGROUP in 5.7; mount_setattr, the youngest call that labrt needs, in 5.12.
OLDEST = (5, 12)
NEWER = "sudo apt-get update && sudo apt-get -y full-upgrade && sudo reboot"
ARCHITECTURES = ("x86_64", "aarch64")

# What a container's start needs of root, by bit number, and what for.
NEEDED = {
    0: ("CHOWN", "owners in images"),
    1: ("DAC_OVERRIDE", "other users' files"),
    3: ("FOWNER", "other users' modes"),
    5: ("KILL", "stopping other users' processes"),
    6: ("SETGID", "a container's group"),
    7: ("SETUID", "a container's user"),
    8: ("SETPCAP", "dropping capabilities"),
    12: ("NET_ADMIN", "a container's network"),
    18: ("SYS_CHROOT", "a root of one's own"),
    21: ("SYS_ADMIN", "mounts and namespaces"),
    27: ("MKNOD", "a container's /dev"),
    31: ("SETFCAP", "file capabilities in images"),
}
SYS_ADMIN, SYS_RESOURCE = 21, 24

NAMESPACES_OF_A_CONTAINER = ("ipc", "mnt", "net", "pid", "uts")
NAMESPACES_BESIDE = ("cgroup", "time", "user")


def kernel(host: Host, machine: str = "") -> Check:
    """Look at the kernel's release and architecture. `machine` is `uname -m`; "" asks this machine."""
    release = host.read("/proc/sys/kernel/osrelease") or "unknown"
    machine = machine or host.read("/proc/sys/kernel/arch") or platform.machine()
    saw = f"Linux {release} on {machine}"
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        return Check("kernel", "fail", f"{saw}: no version that can be read", "uname -r")
    if (int(found[1]), int(found[2])) < OLDEST:
        return Check("kernel", "fail", f"{saw}; labrt needs {OLDEST[0]}.{OLDEST[1]} or newer", NEWER)
    if machine not in ARCHITECTURES:
        return Check("kernel", "fail", f"{saw}; labrt knows {' and '.join(ARCHITECTURES)}", "uname -m")
    return Check("kernel", "ok", saw)


def user(host: Host) -> Check:
    """Look at who we are, and which capabilities the bounding set leaves to root."""
    status = host.fields("/proc/self/status")
    ids = status.get("Uid", "").split()
    if len(ids) < 2:
        return Check("user", "fail", "no /proc/self/status", "sudo mount -t proc proc /proc")
    if ids[1] != "0":
        saw = f"user {ids[1]}, not root: containers in a user namespace, without bridges and loop devices"
        return Check("user", "warn", saw, "sudo -i")
    bounding = int(status.get("CapBnd", "0"), 16)
    lacks = {bit: name for bit, name in NEEDED.items() if not bounding >> bit & 1}
    if lacks:
        saw = "root without " + ", ".join(f"{name} ({why})" for name, why in lacks.values())
        # Nobody gets back what the bounding set has lost: only whoever started this machine can give it.
        return Check("user", "fail" if SYS_ADMIN in lacks else "warn", saw, "docker run --privileged -it debian:12")
    if not bounding >> SYS_RESOURCE & 1:
        return Check("user", "ok", "root without SYS_RESOURCE (limits are raised only as far as they allow)")
    return Check("user", "ok", "root with every capability that is needed")


def namespaces(host: Host) -> Check:
    """Look which kinds of namespace this kernel has."""
    there = host.names("/proc/self/ns")
    lacks = [kind for kind in NAMESPACES_OF_A_CONTAINER if kind not in there]
    if lacks:
        return Check("namespaces", "fail", f"this kernel has no namespaces for {', '.join(lacks)}", NEWER)
    lacks = [kind for kind in NAMESPACES_BESIDE if kind not in there]
    if lacks:
        return Check("namespaces", "warn", f"this kernel has no namespaces for {', '.join(lacks)}", NEWER)
    return Check("namespaces", "ok", ", ".join(sorted(NAMESPACES_OF_A_CONTAINER + NAMESPACES_BESIDE)))


# Debian's own switch, and Ubuntu's: with that AppArmor takes the capabilities away inside the new namespace.
REFUSALS = {"unprivileged_userns_clone": 0, "apparmor_restrict_unprivileged_userns": 1}


def user_namespaces(host: Host) -> Check:
    """Look whether an ordinary user may make user namespaces: three switches, any of which says no."""
    name = "rootless"
    if "user" not in host.names("/proc/self/ns"):
        return Check(name, "warn", "this kernel has no user namespaces", NEWER)
    for switch, refuses in REFUSALS.items():
        if host.number(f"/proc/sys/kernel/{switch}") == refuses:
            saw = f"kernel.{switch} is {refuses}: no user namespaces for ordinary users"
            return Check(name, "warn", saw, f"sudo sysctl -w kernel.{switch}={1 - refuses}")
    most = host.number("/proc/sys/user/max_user_namespaces")
    if most == 0:
        return Check(name, "warn", "user.max_user_namespaces is 0", "sudo sysctl -w user.max_user_namespaces=15000")
    return Check(name, "ok", f"ordinary users may make user namespaces{f', at most {most}' if most else ''}")


def seccomp(host: Host) -> Check:
    """Look whether the kernel filters system calls, with the actions that the default profile uses."""
    actions = (host.read("/proc/sys/kernel/seccomp/actions_avail") or "").split()
    lacks = {"allow", "errno", "kill_process"} - set(actions)
    if lacks:
        return Check("seccomp", "fail", f"this kernel's seccomp lacks {', '.join(sorted(lacks))}", NEWER)
    return Check("seccomp", "ok", ", ".join(actions))
