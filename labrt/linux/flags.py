"""The kernel's flag words, which show themselves by their kernel names.

    >>> CLONE.NEWPID | CLONE.NEWNS
    <CLONE_NEWNS|CLONE_NEWPID>

A class is named after the flags' common prefix and its members after the rest, so that CLONE_NEWPID in a manual page is
CLONE.NEWPID here. Values are the same on every architecture that labrt runs on. Source: the uapi headers linux/sched.h,
linux/mount.h, linux/openat2.h, linux/seccomp.h, linux/prctl.h; clone(2), mount(2), mount_setattr(2), openat2(2).
"""

from __future__ import annotations

from labrt.shapes import Flags


class CLONE(Flags):
    """clone(2), unshare(2), setns(2): which namespaces, and how the child is made."""

    NEWTIME = 0x0000_0080
    FS = 0x0000_0200
    PIDFD = 0x0000_1000
    PARENT = 0x0000_8000
    NEWNS = 0x0002_0000
    NEWCGROUP = 0x0200_0000
    NEWUTS = 0x0400_0000
    NEWIPC = 0x0800_0000
    NEWUSER = 0x1000_0000
    NEWPID = 0x2000_0000
    NEWNET = 0x4000_0000
    CLEAR_SIGHAND = 0x1_0000_0000
    INTO_CGROUP = 0x2_0000_0000


class MS(Flags):
    """mount(2): options, remounting, binding and propagation."""

    RDONLY = 1 << 0
    NOSUID = 1 << 1
    NODEV = 1 << 2
    NOEXEC = 1 << 3
    SYNCHRONOUS = 1 << 4
    REMOUNT = 1 << 5
    MANDLOCK = 1 << 6
    DIRSYNC = 1 << 7
    NOSYMFOLLOW = 1 << 8
    NOATIME = 1 << 10
    NODIRATIME = 1 << 11
    BIND = 1 << 12
    MOVE = 1 << 13
    REC = 1 << 14
    SILENT = 1 << 15
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    I_VERSION = 1 << 23
    STRICTATIME = 1 << 24
    LAZYTIME = 1 << 25


class MNT(Flags):
    """umount2(2)."""

    FORCE = 1
    DETACH = 2
    EXPIRE = 4


class UMOUNT(Flags):
    """umount2(2): the one flag with another prefix."""

    NOFOLLOW = 8


class OPEN_TREE(Flags):
    """open_tree(2)."""

    CLONE = 1
    CLOEXEC = 0o2000000


class MOVE_MOUNT(Flags):
    """move_mount(2)."""

    F_SYMLINKS = 0x01
    F_EMPTY_PATH = 0x04
    T_SYMLINKS = 0x10
    T_EMPTY_PATH = 0x40


class FSOPEN(Flags):
    """fsopen(2)."""

    CLOEXEC = 1


class FSMOUNT(Flags):
    """fsmount(2)."""

    CLOEXEC = 1


class MOUNT_ATTR(Flags):
    """fsmount(2), mount_setattr(2): a mount's own options (not its file system's)."""

    RDONLY = 0x01
    NOSUID = 0x02
    NODEV = 0x04
    NOEXEC = 0x08
    NOATIME = 0x10
    STRICTATIME = 0x20
    NODIRATIME = 0x80
    IDMAP = 0x0010_0000
    NOSYMFOLLOW = 0x0020_0000


class AT(Flags):
    """The *at calls: openat(2), execveat(2), mount_setattr(2), statx(2)."""

    SYMLINK_NOFOLLOW = 0x100
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000


class RESOLVE(Flags):
    """openat2(2): how far a path may lead."""

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10


class SECCOMP_FILTER_FLAG(Flags):
    """seccomp(2)."""

    TSYNC = 1
    LOG = 2
    SPEC_ALLOW = 4
    NEW_LISTENER = 8
