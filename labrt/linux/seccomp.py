r"""Seccomp: a filter in front of the system calls, written in BPF, that a process and its children cannot take off.

    default_profile(capabilities)   a profile as strict as Docker's; see seccomp_default
    from_docker(profile, caps)      a profile in Docker's own format (`--security-opt seccomp=FILE`) to the OCI's
    compile(profile)                a profile, linux.seccomp of the OCI runtime-spec, to the bytes of a BPF program
    flags(profile)                  the flags it asks for
    install(program, flags)         put it in front of this thread, for good

`compile` needs libseccomp, which knows the numbers of all calls on all architectures; what it made is kept in a cache.
`install` needs nothing but its bytes, and so works after pivot_root.

    >>> print(*bpf.disassemble(seccomp.build(profile)), sep="\n")

See seccomp(2), config-linux.md of the runtime-spec; notebook 18.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import zlib

from labrt import paths
from labrt.errors import InvalidConfig
from labrt.linux import bpf, syscalls
from labrt.linux.flags import SECCOMP_FILTER_FLAG
from labrt.linux.seccomp_compiler import build
from labrt.linux.seccomp_default import Profile, default_profile, explain
from labrt.linux.seccomp_docker import from_docker

__all__ = ["Profile", "build", "compile", "default_profile", "explain", "flags", "from_docker", "install"]

SECCOMP_SET_MODE_FILTER = 1
WAIT_KILLABLE_RECV = 1 << 5  # linux/seccomp.h


def install(program: bytes, flags: int = 0) -> int:
    """Filter this thread's system calls, and those of all that it will make and execute. There is no way back.

    Needs no_new_privs or CAP_SYS_ADMIN: otherwise a filter could make a setuid program misbehave. Returns 0, or the
    listener's descriptor when `flags` has NEW_LISTENER. Several filters add up; the strictest answer wins.
    """
    bpf.check(program)
    return syscalls.seccomp(SECCOMP_SET_MODE_FILTER, flags, program)


def flags(profile: Profile) -> int:
    """Which SECCOMP_FILTER_FLAG_* a profile asks for; NEW_LISTENER too if an action of it is NOTIFY."""
    known = {flag.name: flag.value for flag in SECCOMP_FILTER_FLAG} | {"WAIT_KILLABLE_RECV": WAIT_KILLABLE_RECV}
    found = SECCOMP_FILTER_FLAG(0)
    for name in profile.get("flags") or []:
        bare = str(name).removeprefix("SECCOMP_FILTER_FLAG_")
        if bare not in known or bare == "NEW_LISTENER":
            raise InvalidConfig(f"linux.seccomp.flags: {name!r} cannot be", remedy="see config-linux.md for the names")
        found |= known[bare]
    if any(rule.get("action") == "SCMP_ACT_NOTIFY" for rule in profile.get("syscalls") or []):
        # TSYNC is for processes with several threads, and then there is no telling whose listener it is.
        return (found | SECCOMP_FILTER_FLAG.NEW_LISTENER) & ~SECCOMP_FILTER_FLAG.TSYNC
    return SECCOMP_FILTER_FLAG(int(found) & ~WAIT_KILLABLE_RECV)  # it says how to wait for a listener


# The cache ------------------------------------------------------------------------------------------------------------


def compile(profile: Profile, *, cache: str | None = None) -> bytes:
    """Compile a profile, or take the program from the cache (`cache`; None: this user's) if it was compiled before.

    Raises InvalidConfig that names the field which is wrong, and NotSupported when libseccomp is missing.
    """
    library = _library()
    if library is None:  # it may change under us unnoticed, so nothing is kept
        return build(profile)
    key = json.dumps(["labrt 3", library, os.uname().machine, profile], sort_keys=True)
    # Not hashlib: to load OpenSSL takes longer than all the rest, and who may write here needs no collision (`_load`).
    file = os.path.join(cache or os.path.join(paths.default().cache, "seccomp"), f"{zlib.crc32(key.encode()):08x}")
    program = _load(file, key)
    if program is None:
        program = build(profile)
        with contextlib.suppress(OSError):  # a cache that cannot be written is only slow
            _store(file, key, program)
    return program


def _library() -> list[str | int] | None:
    """What tells one libseccomp from another, without loading it (that alone takes longer than all the rest)."""
    triplet = getattr(sys.implementation, "_multiarch", "")
    for directory in (f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64", "/usr/lib", "/usr/local/lib"):
        file = os.path.realpath(os.path.join(directory, "libseccomp.so.2"))
        with contextlib.suppress(OSError):
            info = os.stat(file)
            return [file, info.st_size, info.st_mtime_ns]
    return None


def _header(key: str, program: bytes) -> bytes:
    # The key is inside, whole: two profiles may have one checksum, and a file of ours may have been renamed.
    return f"{key} {zlib.crc32(program):08x}\n".encode()


def _load(file: str, key: str) -> bytes | None:
    """Read a program from the cache; None if there is none, or if it is not whole and ours alone."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(fd, "rb") as stream:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
            return None
        header, _, program = stream.read(1 << 20).partition(b"\n")
    return program if header + b"\n" == _header(key, program) else None


def _store(file: str, key: str, program: bytes) -> None:
    os.makedirs(os.path.dirname(file), 0o700, exist_ok=True)
    temporary = f"{file}.{os.urandom(4).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as stream:
            stream.write(_header(key, program) + program)
        os.rename(temporary, file)
    except OSError:
        os.unlink(temporary)
        raise
