"""The default filter: which system calls a container may make when nobody said otherwise.

    default_profile(capabilities)   the profile, in the shape of linux.seccomp of the OCI runtime-spec
    explain("mount")                one sentence: allowed, allowed with a capability, or refused, and why

It is meant to be read. It allows what is named here and refuses the rest with EPERM, and so is as strict as Docker's:
ordinary programs do not notice it, while the parts of the kernel where holes were found are out of reach. Calls that
belong to a capability are allowed to containers that have it; then the kernel's own check decides.

Names are those of all architectures at once: what an architecture does not have, libseccomp leaves out.
Source: syscalls(2), capabilities(7), seccomp(2). Notebook 18 takes calls away from here and watches who breaks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from labrt.linux.flags import CLONE

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    Profile = dict[str, Any]
else:
    Profile = dict

# The sub-architectures are those in which the same kernel also runs programs. A filter that knew one of them only
# could be walked around: call number 165 is mount on x86-64, and getresuid on 32-bit x86.
ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}

ALLOWED = {
    # Everybody makes processes and threads. clone is missing: it can make namespaces too, see below.
    "processes": """
        fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid getpgrp setpgid
        getsid setsid prctl seccomp restart_syscall set_tid_address set_robust_list get_robust_list rseq membarrier
        get_thread_area set_thread_area pidfd_open pidfd_send_signal process_mrelease getcpu
    """,
    # Harmless since Linux 4.8, where seccomp looks again after a tracer has changed the call. The kernel lets a process
    # trace only what it could also have been.
    "debugging one's own processes": "ptrace process_vm_readv process_vm_writev",
    # The kernel checks every change against CAP_SETUID, CAP_SETGID and CAP_SETPCAP.
    "who one is": """
        getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid
        setfsuid setfsgid setgroups capget capset
    """,
    "memory": """
        brk mmap mmap2 munmap mremap mprotect msync madvise mincore mlock mlock2 mlockall munlock munlockall mseal
        remap_file_pages memfd_create memfd_secret pkey_alloc pkey_free pkey_mprotect map_shadow_stack
    """,
    "signals": """
        rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigreturn rt_sigqueueinfo
        rt_tgsigqueueinfo sigaltstack signalfd signalfd4 kill tkill tgkill pause alarm
    """,
    "waiting for each other": "futex futex_wait futex_wake futex_requeue futex_waitv",
    # Reading clocks; setting one is in CAP_SYS_TIME. adjtimex only reads unless the caller has that.
    "time": """
        time times gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep adjtimex clock_adjtime
        getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_settime
        timerfd_create timerfd_gettime timerfd_settime
    """,
    "scheduling and limits": """
        sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
        sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
        getpriority setpriority ioprio_get ioprio_set getrlimit setrlimit prlimit64 getrusage
    """,
    "opening, reading and writing": """
        open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv pwritev preadv2
        pwritev2 lseek dup dup2 dup3 fcntl flock ioctl pipe pipe2 sendfile splice tee vmsplice copy_file_range
        readahead fadvise64 fallocate truncate ftruncate fsync fdatasync sync syncfs sync_file_range cachestat
    """,
    # mknod makes FIFOs for everybody and devices with CAP_MKNOD; which of those work is the device cgroup's business.
    "names, directories and attributes": """
        getcwd chdir fchdir umask mkdir mkdirat rmdir getdents getdents64 link linkat symlink symlinkat readlink
        readlinkat rename renameat renameat2 unlink unlinkat stat lstat fstat newfstatat statx statfs fstatfs
        access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat
        utime utimes futimesat utimensat getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat
        listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat
        name_to_handle_at mknod mknodat listmount statmount
    """,
    "waiting for files": """
        select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd
        eventfd2 inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
        io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents
    """,
    # socket is missing: it depends on the family, see below.
    "sockets": """
        socketpair bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt
        send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg
    """,
    "System V and POSIX message queues, semaphores, shared memory": """
        msgget msgsnd msgrcv msgctl semget semop semtimedop semctl shmget shmat shmdt shmctl
        mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
    """,
    # Landlock only ever takes rights away from the caller.
    "asking about the machine, restraining oneself": """
        uname sysinfo getrandom landlock_create_ruleset landlock_add_rule landlock_restrict_self
    """,
    # The same calls once more for programs of 32 bits: wider ids, file offsets and times, or several calls in one.
    # socketcall hides its arguments behind a pointer, so that on 32-bit x86 the rule for socket below does not hold.
    "32-bit names": """
        _llseek _newselect chown32 lchown32 fchown32 getuid32 geteuid32 getgid32 getegid32 getresuid32 getresgid32
        getgroups32 setuid32 setgid32 setreuid32 setregid32 setresuid32 setresgid32 setfsuid32 setfsgid32 setgroups32
        stat64 lstat64 fstat64 fstatat64 statfs64 fstatfs64 fcntl64 truncate64 ftruncate64 sendfile64 fadvise64_64
        ugetrlimit sigprocmask sigreturn ipc socketcall epoll_ctl_old epoll_wait_old
        clock_gettime64 clock_getres_time64 clock_nanosleep_time64 clock_adjtime64 futex_time64 io_pgetevents_time64
        mq_timedreceive_time64 mq_timedsend_time64 ppoll_time64 pselect6_time64 recvmmsg_time64 rt_sigtimedwait_time64
        sched_rr_get_interval_time64 semtimedop_time64 timer_gettime64 timer_settime64 timerfd_gettime64
        timerfd_settime64 utimensat_time64
    """,
}

BY_MACHINE = {
    "x86_64": "arch_prctl modify_ldt uretprobe",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
}

BY_CAPABILITY = {
    "CAP_SYS_ADMIN": """
        mount umount umount2 mount_setattr move_mount open_tree fsopen fspick fsconfig fsmount unshare setns
        clone clone3 sethostname setdomainname bpf perf_event_open fanotify_init syslog quotactl quotactl_fd
        lookup_dcookie lsm_get_self_attr lsm_set_self_attr lsm_list_modules
    """,
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_MODULE": "init_module finit_module delete_module",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_NICE": "get_mempolicy set_mempolicy set_mempolicy_home_node mbind",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

# Left out on purpose. This changes nothing in the filter: it is here for the reader, and for explain().
REFUSED = {
    "add_key request_key keyctl": "kernel keyrings belong to users, not to containers: one could read the host's keys",
    "io_uring_setup io_uring_enter io_uring_register": "its requests run past this filter, and it had many holes",
    "userfaultfd": "stops the kernel in the middle of a copy, which turns small races into big ones",
    "kexec_load kexec_file_load": "boots another kernel",
    "swapon swapoff": "swap is the machine's, not the container's",
    "pivot_root": "changes the root of a whole mount namespace",
    "move_pages migrate_pages": "moves other processes' memory between NUMA nodes",
    "uselib ustat sysfs nfsservctl _sysctl create_module query_module get_kernel_syms": "obsolete, and kept by nobody",
    "vm86 vm86old": "enters the 16-bit mode of old processors",
}

# clone may make no namespaces: inside a new user namespace a process has every capability, and with them comes a lot of
# kernel code. clone3 hides its flags behind a pointer that a filter cannot follow, so it "does not exist" (ENOSYS), and
# libc falls back to clone.
_NAMESPACES = (
    CLONE.NEWNS | CLONE.NEWCGROUP | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWUSER | CLONE.NEWPID | CLONE.NEWNET
)

# personality(2) can make memory executable and addresses predictable. Linux, Linux on 32 bits, both with `uname -r`
# of 2.6, and "tell me" are harmless.
_PERSONALITIES = (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)

# Families of sockets that no container needs. VSOCK is a virtual machine's socket to its host: no namespace holds it,
# so the container would speak as the whole machine. ALG is the kernel's cryptography, a source of holes that libraries
# do without. The others carried networks that are gone.
REFUSED_FAMILIES = {
    "AF_DECnet": 12,
    "AF_ECONET": 19,
    "AF_ATMSVC": 20,
    "AF_IRDA": 23,
    "AF_WANPIPE": 25,
    "AF_ISDN": 34,
    "AF_CAIF": 37,
    "AF_ALG": 38,
    "AF_VSOCK": 40,
}
_LAST_FAMILY = 45


def default_profile(capabilities: Iterable[str], *, machine: str | None = None) -> Profile:
    """Make the profile for a container with these capabilities (names as in the OCI: its bounding set).

    `machine` is as in `uname -m`, None for this one; an unknown one gets a filter of its own architecture alone.
    """
    machine = machine or os.uname().machine
    granted = {*capabilities}
    rules = [_allow(names) for names in ALLOWED.values()]
    rules += [_allow(BY_MACHINE[machine])] if machine in BY_MACHINE else []
    rules += [_allow(names) for capability, names in BY_CAPABILITY.items() if capability in granted]
    families = [family for family in range(_LAST_FAMILY + 1) if family not in REFUSED_FAMILIES.values()]
    rules += [_allow("socket", (0, "SCMP_CMP_EQ", family)) for family in families]
    rules += [_allow("personality", (0, "SCMP_CMP_EQ", persona)) for persona in _PERSONALITIES]
    if "CAP_SYS_ADMIN" not in granted:
        rules.append(_allow("clone", (0, "SCMP_CMP_MASKED_EQ", int(_NAMESPACES))))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": ARCHITECTURES.get(machine, []),
        "syscalls": rules,
    }


def _allow(names: str, *args: tuple[int, str, int]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names.split(), "action": "SCMP_ACT_ALLOW"}
    if args:
        # Of MASKED_EQ `value` is the mask; masked, the argument must equal valueTwo, here 0.
        rule["args"] = [{"index": index, "value": value, "op": op} for index, op, value in args]
    return rule


def explain(name: str) -> str:
    """Say in one sentence what the default filter does with a system call, and why."""
    special = {
        "clone": "allowed, but with CAP_SYS_ADMIN only to make namespaces",
        "clone3": "needs CAP_SYS_ADMIN; otherwise ENOSYS, so that libc falls back to clone, whose flags can be seen",
        "socket": f"allowed, but for {', '.join(REFUSED_FAMILIES)}",
        "personality": "allowed for the harmless ones",
    }
    if name in special:
        return f"{name}: {special[name]}"
    for purpose, names in (*ALLOWED.items(), *BY_MACHINE.items()):
        if name in names.split():
            return f"{name}: allowed ({purpose})"
    needs = [capability for capability, names in BY_CAPABILITY.items() if name in names.split()]
    if needs:
        return f"{name}: needs {' or '.join(needs)}"
    reasons = [reason for names, reason in REFUSED.items() if name in names.split()]
    return f"{name}: refused; {reasons[0] if reasons else 'nobody missed it'}"
