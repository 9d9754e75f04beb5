"""The capabilities' names, numbers and meanings. Source: include/uapi/linux/capability.h; capabilities(7).

`capabilities` has them too (`capabilities.CAP`); this file is apart because it needs nothing, not even Linux.
"""

from __future__ import annotations

from labrt.shapes import Flags


class CAP(Flags):
    """capabilities(7), as bits: CAP_CHOWN has the number 0 and so the bit 1 << 0."""

    CHOWN = 1 << 0
    DAC_OVERRIDE = 1 << 1
    DAC_READ_SEARCH = 1 << 2
    FOWNER = 1 << 3
    FSETID = 1 << 4
    KILL = 1 << 5
    SETGID = 1 << 6
    SETUID = 1 << 7
    SETPCAP = 1 << 8
    LINUX_IMMUTABLE = 1 << 9
    NET_BIND_SERVICE = 1 << 10
    NET_BROADCAST = 1 << 11
    NET_ADMIN = 1 << 12
    NET_RAW = 1 << 13
    IPC_LOCK = 1 << 14
    IPC_OWNER = 1 << 15
    SYS_MODULE = 1 << 16
    SYS_RAWIO = 1 << 17
    SYS_CHROOT = 1 << 18
    SYS_PTRACE = 1 << 19
    SYS_PACCT = 1 << 20
    SYS_ADMIN = 1 << 21
    SYS_BOOT = 1 << 22
    SYS_NICE = 1 << 23
    SYS_RESOURCE = 1 << 24
    SYS_TIME = 1 << 25
    SYS_TTY_CONFIG = 1 << 26
    MKNOD = 1 << 27
    LEASE = 1 << 28
    AUDIT_WRITE = 1 << 29
    AUDIT_CONTROL = 1 << 30
    SETFCAP = 1 << 31
    MAC_OVERRIDE = 1 << 32
    MAC_ADMIN = 1 << 33
    SYSLOG = 1 << 34
    WAKE_ALARM = 1 << 35
    BLOCK_SUSPEND = 1 << 36
    AUDIT_READ = 1 << 37
    PERFMON = 1 << 38
    BPF = 1 << 39
    CHECKPOINT_RESTORE = 1 << 40


# "Lets a process …"
MEANING = {
    CAP.CHOWN: "give files to other users and groups",
    CAP.DAC_OVERRIDE: "read, write and execute whatever the permission bits say",
    CAP.DAC_READ_SEARCH: "read any file, and open files by handle: the way out of a container in 2014",
    CAP.FOWNER: "do to any file what only its owner may: chmod, utime, removal from a sticky directory",
    CAP.FSETID: "keep setuid and setgid bits on files that it writes to",
    CAP.KILL: "signal processes of other users",
    CAP.SETGID: "become any group, and map gids in a user namespace",
    CAP.SETUID: "become any user, and map uids in a user namespace",
    CAP.SETPCAP: "drop from its bounding set, and put into its inheritable set what is bounded",
    CAP.LINUX_IMMUTABLE: "set files immutable or append-only",
    CAP.NET_BIND_SERVICE: "listen on ports below 1024",
    CAP.NET_BROADCAST: "nothing: the kernel never asks for it",
    CAP.NET_ADMIN: "configure interfaces, routes and firewalls of its network namespace",
    CAP.NET_RAW: "send and sniff raw packets: ping, and spoofing too",
    CAP.IPC_LOCK: "lock memory beyond its limit",
    CAP.IPC_OWNER: "use System V IPC objects of other users",
    CAP.SYS_MODULE: "load code into the kernel: everything, in effect",
    CAP.SYS_RAWIO: "touch I/O ports and physical memory: everything, in effect",
    CAP.SYS_CHROOT: "chroot, and enter mount namespaces",
    CAP.SYS_PTRACE: "trace and read processes of other users",
    CAP.SYS_PACCT: "switch process accounting on and off",
    CAP.SYS_ADMIN: "mount, enter namespaces, and a hundred things more: the new root",
    CAP.SYS_BOOT: "reboot, and load another kernel",
    CAP.SYS_NICE: "raise priorities, use real-time scheduling, pin other processes to CPUs",
    CAP.SYS_RESOURCE: "raise hard limits, use a file system's reserve, escape quotas",
    CAP.SYS_TIME: "set the clock, which all containers share",
    CAP.SYS_TTY_CONFIG: "hang up terminals and configure virtual consoles",
    CAP.MKNOD: "make device files",
    CAP.LEASE: "take leases on files of others",
    CAP.AUDIT_WRITE: "write to the kernel's audit log, as login and sudo do",
    CAP.AUDIT_CONTROL: "switch auditing on and off, and change its rules",
    CAP.SETFCAP: "give capabilities to files, and map uid 0 in a user namespace",
    CAP.MAC_OVERRIDE: "go around Smack's mandatory access control",
    CAP.MAC_ADMIN: "load policies of AppArmor and Smack",
    CAP.SYSLOG: "read and clear the kernel's log, and see kernel addresses",
    CAP.WAKE_ALARM: "set a timer that wakes the machine",
    CAP.BLOCK_SUSPEND: "keep the machine from sleeping",
    CAP.AUDIT_READ: "read the audit log as it is written",
    CAP.PERFMON: "watch the whole machine's performance counters",
    CAP.BPF: "load BPF programs into the kernel",
    CAP.CHECKPOINT_RESTORE: "choose pids at fork, and read what checkpointing needs",
}
