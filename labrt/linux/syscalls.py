"""System calls: one function each, with the name and the argument order of its manual page in section 2.

This is the only file that imports ctypes, and the one seam between labrt and the kernel: everyone calls through the
module (`syscalls.mount(...)`), so a recorder or a tracer that replaces a function here sees every call. What Python's
own `os` already wraps (fork, kill, waitid, memfd_create, …) is not repeated.

Each function raises KernelError (errors.py) with the call as it was made, the errno and a remedy; none returns -1.
Paths may be str, bytes or os.PathLike; file descriptors are ints; flags are from flags.py, which an error needs to
name them, and nothing else here: so it is read then, since a cold start is waiting for this module.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from labrt.errors import KernelError, NotSupported, kernel_error

TYPE_CHECKING = False  # typing's own takes 5 ms to import; checkers know the name
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PathArg = str | bytes | os.PathLike[str]

AT_FDCWD = -100

# libc once as CDLL, which lets other Python threads run during the call, and once as PyDLL, which does not: after
# clone3 the child must still hold the interpreter's lock, or nobody in it does.
_libc = ctypes.CDLL(None, use_errno=True)
_libc_locked = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = _libc_locked.syscall.restype = ctypes.c_long

# Calls that glibc does not wrap everywhere. From 424 on the numbers are the same on every architecture (except alpha).
_NUMBERS = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
_NUMBERS |= {
    "x86_64": {
        "seccomp": 317, "keyctl": 250, "bpf": 321, "sched_setattr": 314, "ioprio_set": 251, "set_mempolicy": 238,
    },
    "aarch64": {
        "seccomp": 277, "keyctl": 219, "bpf": 280, "sched_setattr": 274, "ioprio_set": 30, "set_mempolicy": 237,
    },
}.get(os.uname().machine, {})  # fmt: skip

_REMEDIES = {
    errno.EPERM: "be root, or own the user namespace that this belongs to; inside a container add the capability",
    errno.ENOSYS: "this kernel does not have the call: use a newer one, or allow it in the seccomp filter around you",
    ("mount", errno.EINVAL): "the file system refused its options; `dmesg | tail` often says which",
    ("mount", errno.ENODEV): "this kernel does not know the file system type; see /proc/filesystems",
    ("mount", errno.EBUSY): "the source is in use or the target is already this mount; see /proc/self/mountinfo",
    ("mount", errno.ENOENT): "make the target first; the source must exist too",
    ("mount", errno.ELOOP): "overlay layers nest too deep, or a symlink points at itself",
    ("umount2", errno.EBUSY): "something still has a file open or its working directory there; see `fuser -vm PATH`",
    ("umount2", errno.EINVAL): "this is no mount point in this mount namespace; see /proc/self/mountinfo",
    ("pivot_root", errno.EINVAL): "the new root must be a mount point, and its parent mount must not be shared",
    ("pivot_root", errno.EBUSY): "the new root may not lie on the current root's own mount: bind it onto itself first",
    ("unshare", errno.EINVAL): "a user namespace wants a process with a single thread: use process.run_in_child",
    ("setns", errno.EINVAL): "the descriptor is of another kind, or this process has several threads",
    ("clone3", errno.ENOSPC): "too many namespaces: raise /proc/sys/user/max_*_namespaces",
    ("clone3", errno.EBUSY): "a v2 cgroup with controllers enabled for its children takes no processes of its own",
    ("clone3", errno.EAGAIN): "the limit of processes is reached: see `ulimit -u` and pids.max",
}


def _show(value: object) -> str:
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    return str(value) if isinstance(value, int) else repr(value)


def _fail(name: str, args: Iterable[object]) -> KernelError:
    code = ctypes.get_errno()
    remedy = _REMEDIES.get((name, code)) or _REMEDIES.get(code, "")
    return kernel_error(f"{name}({', '.join(map(_show, args))})", code, remedy=remedy)


def _named(kind: str, value: int) -> object:
    """Make of a number the flags of flags.py that it stands for."""
    from labrt.linux import flags

    return getattr(flags, kind)(value)


def _path(path: PathArg | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _syscall(name: str, *args: object, shown: Callable[[], Iterable[object]]) -> int:
    """Make a call by its number. Ints are widened to 64 bits, as the kernel reads its registers.

    `shown` gives the arguments as an error shall show them; it is only called when there is one.
    """
    number = _NUMBERS.get(name)
    if number is None:
        raise NotSupported(f"{name}(2): labrt does not know its number on {os.uname().machine}")
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result: int = _libc.syscall(ctypes.c_long(number), *wide)
    if result == -1:
        raise _fail(name, shown())
    return result


# Processes and namespaces ---------------------------------------------------------------------------------------------


_CLONE_PIDFD, _CLONE_INTO_CGROUP = 0x1000, 0x200000000  # linux/sched.h


class _CloneArgs(ctypes.Structure):
    """`struct clone_args` of linux/sched.h, version 2 (88 bytes)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
            "set_tid", "set_tid_size", "cgroup",
        )
    ]  # fmt: skip


def clone3(flags: int, *, exit_signal: int = 17, cgroup: int | None = None) -> tuple[int, int]:
    """Make a child in new namespaces and, with `cgroup`, in a v2 cgroup, in one call. See clone(2).

    Returns (pid, pidfd) in the parent and (0, -1) in the child, which goes on from here with a copy of this process,
    like os.fork. `cgroup` is a descriptor of a directory of a v2 tree. The pidfd is close-on-exec.

    Unlike glibc's fork this takes no locks of malloc: call it from a process with a single thread
    (process.spawn sees to that). In a new PID namespace the child is PID 1.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(flags=flags | _CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=exit_signal)
    if cgroup is not None:
        args.flags |= _CLONE_INTO_CGROUP
        args.cgroup = cgroup
    # The interpreter must know of the fork, or its locks and its idea of the main thread are wrong in the child.
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = _libc_locked.syscall(ctypes.c_long(_NUMBERS["clone3"]), ctypes.byref(args), ctypes.sizeof(args))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    code = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid == -1:
        ctypes.set_errno(code)
        raise _fail("clone3", [_named("CLONE", args.flags), f"exit_signal={exit_signal}", f"cgroup={cgroup}"])
    return pid, pidfd.value


def unshare(flags: int) -> None:
    """Leave shared namespaces for new ones. NEWPID and NEWTIME take effect for children only. See unshare(2)."""
    if _libc.unshare(flags) == -1:
        raise _fail("unshare", [_named("CLONE", flags)])


def setns(fd: int, nstype: int = 0) -> None:
    """Enter the namespace behind `fd` (of /proc/PID/ns/*), or with a pidfd all that `nstype` names. See setns(2)."""
    if _libc.setns(fd, nstype) == -1:
        raise _fail("setns", [fd, _named("CLONE", nstype)])


def pidfd_send_signal(pidfd: int, sig: int) -> None:
    """Signal the process behind a pidfd: never somebody else who got its number. See pidfd_send_signal(2)."""
    _syscall("pidfd_send_signal", pidfd, sig, None, 0, shown=lambda: [pidfd, sig])


def socketpair() -> tuple[int, int]:
    """Make two connected ends for messages: SOCK_SEQPACKET, close-on-exec. See socketpair(2), unix(7).

    Python's socket module does it too, for those who can wait for its import.
    """
    ends = (ctypes.c_int * 2)()
    if _libc.socketpair(1, 5 | os.O_CLOEXEC, 0, ends) == -1:
        raise _fail("socketpair", ["AF_UNIX", "SOCK_SEQPACKET|SOCK_CLOEXEC", 0])
    return ends[0], ends[1]


def sethostname(name: str) -> None:
    """Name the host of this UTS namespace. Without a namespace of your own, this renames the machine."""
    raw = os.fsencode(name)
    if _libc.sethostname(raw, ctypes.c_size_t(len(raw))) == -1:
        raise _fail("sethostname", [name])


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace. See setdomainname(2)."""
    raw = os.fsencode(name)
    if _libc.setdomainname(raw, ctypes.c_size_t(len(raw))) == -1:
        raise _fail("setdomainname", [name])


# Options of prctl, linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 4


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """What python-prctl lacks (the ambient capability set among it) goes through here. See prctl(2)."""
    result: int = _libc.prctl(option, *(ctypes.c_ulong(arg) for arg in (arg2, arg3, arg4, arg5)))
    if result == -1:
        raise _fail("prctl", [option, arg2, arg3, arg4, arg5])
    return result


class _SockFprog(ctypes.Structure):
    """`struct sock_fprog`: a BPF program of `len` instructions of eight bytes each."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def seccomp(operation: int, flags: int, program: bytes) -> int:
    """Install a BPF program (as libseccomp exports it) on this thread, or with TSYNC on all. See seccomp(2).

    Needs no_new_privs or CAP_SYS_ADMIN. Returns 0, or with NEW_LISTENER the listener's descriptor.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = _SockFprog(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    def shown() -> Iterable[object]:
        return [operation, flags, f"{fprog.len} instructions"]

    return _syscall("seccomp", operation, flags, ctypes.byref(fprog), shown=shown)


def keyctl(operation: int, arg: PathArg | None = None) -> int:
    """Work on the kernel's keyrings; labrt only joins a new session keyring. See keyctl(2)."""
    return _syscall("keyctl", operation, _path(arg), shown=lambda: [operation, arg])


def bpf(cmd: int, layout: str, *fields: int | str | bytes | bytearray) -> int:
    """Load an eBPF program, attach one, ask for those attached. See bpf(2).

    `layout` and `fields` are the part of `union bpf_attr` that belongs to `cmd`, as for struct.pack; bytes in place of
    a number are handed over as a pointer to them, and a bytearray is one that the kernel writes to. Needs CAP_BPF,
    and for cgroups CAP_NET_ADMIN, or CAP_SYS_ADMIN.
    """
    buffers: list[ctypes.Array[ctypes.c_char]] = []  # they must live as long as the call

    def packed(field: int | str | bytes | bytearray) -> int | bytes:
        if isinstance(field, int | str):
            return field if isinstance(field, int) else field.encode()
        kind = ctypes.c_char * len(field)
        buffers.append(kind.from_buffer(field) if isinstance(field, bytearray) else kind.from_buffer_copy(field))
        return ctypes.addressof(buffers[-1])

    attr = struct.pack(layout, *map(packed, fields))
    union = ctypes.create_string_buffer(attr, len(attr))
    def shown() -> Iterable[object]:
        return [f"{len(field)} bytes" if isinstance(field, bytes | bytearray) else field for field in fields]

    return _syscall("bpf", cmd, union, len(attr), shown=lambda: [cmd, *shown()])


def sched_setattr(pid: int, attr: bytes, flags: int = 0) -> None:
    """Set how a thread is scheduled; 0 is the caller. `attr` is a struct sched_attr: scheduler.py packs it.

    EPERM without CAP_SYS_NICE for what is better than the usual, EBUSY when a deadline does not fit. See
    sched_setattr(2).
    """
    _syscall("sched_setattr", pid, ctypes.c_char_p(attr), flags, shown=lambda: [pid, attr.hex(" ", 8), flags])


def ioprio_set(which: int, who: int, ioprio: int) -> None:
    """Set whose reads and writes go first at a disk, for a process (1) or a process group (2). See ioprio_set(2)."""
    _syscall("ioprio_set", which, who, ioprio, shown=lambda: [which, who, hex(ioprio)])


def set_mempolicy(mode: int, nodes: Iterable[int]) -> None:
    """Say from which NUMA nodes this thread's memory comes. See set_mempolicy(2)."""
    mask = sum(1 << node for node in set(nodes))
    bits = 1024  # MAX_NUMNODES of the largest kernels; the mask is an array of longs
    raw = ctypes.create_string_buffer(mask.to_bytes(bits // 8, "little"), bits // 8) if mask else None
    def shown() -> Iterable[object]:
        return [hex(mode), hex(mask), bits]

    _syscall("set_mempolicy", mode, raw, bits + 1 if mask else 0, shown=shown)


def personality(persona: int) -> int:
    """Set how the kernel answers this process where it could answer as another one would. See personality(2)."""
    result: int = _libc.personality(ctypes.c_ulong(persona))
    if result == -1:
        raise _fail("personality", [hex(persona)])
    return result


CLOSE_RANGE_CLOEXEC = 4


def close_range(first: int, last: int, flags: int = 0) -> None:
    """Close the descriptors `first` to `last`; with CLOSE_RANGE_CLOEXEC at the next execve only. See close_range(2)."""
    _syscall("close_range", first, last, flags, shown=lambda: [first, last, flags])


# Mounts ---------------------------------------------------------------------------------------------------------------


def mount(
    source: PathArg | None, target: PathArg, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """Mount a file system, bind or move one, or change one's options or propagation. See mount(2).

    `data` is the file system's own comma-separated options; the kernel reads one page of them at most.
    """
    raw = None if data is None else os.fsencode(data)
    if raw is not None and len(raw) >= os.sysconf("SC_PAGE_SIZE"):
        # The kernel would cut them silently, and mount something else than was asked for.
        ctypes.set_errno(errno.E2BIG)
        raise _fail("mount", [source, target, fstype, _named("MS", flags), f"{len(raw)} bytes of options"])
    if _libc.mount(_path(source), _path(target), _path(fstype), ctypes.c_ulong(flags), raw) == -1:
        raise _fail("mount", [source, target, fstype, _named("MS", flags), data])


def umount2(target: PathArg, flags: int = 0) -> None:
    """Take a mount down; MNT.DETACH takes it out of sight now and down when nobody uses it. See umount(2)."""
    if _libc.umount2(_path(target), flags) == -1:
        raise _fail("umount2", [target, _named("MNT", flags)])


def pivot_root(new_root: PathArg, put_old: PathArg) -> None:
    """Make `new_root` this mount namespace's root and put the old one at `put_old`. See pivot_root(2)."""
    if _libc.pivot_root(_path(new_root), _path(put_old)) == -1:
        raise _fail("pivot_root", [new_root, put_old])


def open_tree(dirfd: int, path: PathArg, flags: int) -> int:
    """Open a mount; with OPEN_TREE.CLONE a detached copy of it, attached nowhere. See open_tree(2)."""
    def shown() -> Iterable[object]:
        return [dirfd, path, _named("OPEN_TREE", flags & 0o2000001)]

    return _syscall("open_tree", dirfd, _path(path), flags, shown=shown)


def move_mount(from_fd: int, from_path: PathArg, to_fd: int, to_path: PathArg, flags: int) -> None:
    """Attach a detached mount, or move an attached one. See move_mount(2)."""
    def shown() -> Iterable[object]:
        return [from_fd, from_path, to_fd, to_path, _named("MOVE_MOUNT", flags)]

    _syscall("move_mount", from_fd, _path(from_path), to_fd, _path(to_path), flags, shown=shown)


FSOPEN_CLOEXEC = FSMOUNT_CLOEXEC = 1  # linux/mount.h


def fsopen(fstype: str, flags: int = FSOPEN_CLOEXEC) -> int:
    """Open a context in which a new file system is described, option by option. See fsopen(2)."""
    return _syscall("fsopen", _path(fstype), flags, shown=lambda: [fstype, _named("FSOPEN", flags)])


FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6


def fsconfig(fd: int, cmd: int, key: str | None = None, value: str | None = None, aux: int = 0) -> None:
    """Set one option of a file system that is being described, or create it. See fsconfig(2)."""
    _syscall("fsconfig", fd, cmd, _path(key), _path(value), aux, shown=lambda: [fd, cmd, key, value, aux])


def fsmount(fd: int, flags: int = FSMOUNT_CLOEXEC, attr: int = 0) -> int:
    """Make a detached mount of a created file system. See fsmount(2)."""
    def shown() -> Iterable[object]:
        return [fd, _named("FSMOUNT", flags), _named("MOUNT_ATTR", attr)]

    return _syscall("fsmount", fd, flags, attr, shown=shown)


class _MountAttr(ctypes.Structure):
    """`struct mount_attr` of linux/mount.h (32 bytes)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def mount_setattr(
    dirfd: int,
    path: PathArg,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Change a mount's options, with AT.RECURSIVE of all below it too, at once or not at all. See mount_setattr(2)."""
    attr = _MountAttr(attr_set, attr_clr, propagation, userns_fd)
    def shown() -> Iterable[object]:
        changes = [f"{what}={_named('MOUNT_ATTR', attr)}" for what, attr in (("set", attr_set), ("clr", attr_clr))]
        return [dirfd, path, _named("AT", flags), *changes, _named("MS", propagation)]

    _syscall("mount_setattr", dirfd, _path(path), flags, ctypes.byref(attr), ctypes.sizeof(attr), shown=shown)


def fstatfs_type(fd: int) -> int:
    """Which file system an open file lies on: a number of linux/magic.h. See fstatfs(2)."""
    answer = (ctypes.c_long * 32)()  # struct statfs is 120 bytes, and begins with it
    if _libc.fstatfs(fd, ctypes.byref(answer)) == -1:
        raise _fail("fstatfs", [fd])
    return int(answer[0])


class _OpenHow(ctypes.Structure):
    """`struct open_how` of linux/openat2.h (24 bytes)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


def openat2(dirfd: int, path: PathArg, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open a path that may not lead astray: RESOLVE.IN_ROOT treats `dirfd` as /, symlinks included. See openat2(2)."""
    how = _OpenHow(flags, mode, resolve)
    def shown() -> Iterable[object]:
        return [dirfd, path, oct(flags), oct(mode), _named("RESOLVE", resolve)]

    return _syscall("openat2", dirfd, _path(path), ctypes.byref(how), ctypes.sizeof(how), shown=shown)
