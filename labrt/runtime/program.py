"""From a prepared child to the container's own program: user, limits, capabilities, filter, execve.

    prepare(process, …)   outside, with everything at hand: check it, compile the filter, clamp the capabilities
    become(program)       inside, the last thing a child does: it gives its power away, piece by piece, and executes

`become` runs within a root that may be hostile: it imports nothing, and reads of it only /etc/passwd and /etc/group,
with care. The order of its steps is the kernel's: each needs a power that a later one takes away.

See config.md of the OCI runtime-spec, "Process"; credentials(7), capabilities(7), execve(2); notebook 18.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator, Mapping

from labrt.errors import CommandNotExecutable, CommandNotFound, ContainerError, InvalidConfig
from labrt.linux import capabilities, mounts, seccomp, syscalls, userns
from labrt.linux.flags import SECCOMP_FILTER_FLAG
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

KEYCTL_JOIN_SESSION_KEYRING = 1  # linux/keyctl.h


class User(Record):
    """Who the program will be."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


class Program(Record):
    """A process section of config.json, checked and ready."""

    args: list[str]
    env: dict[str, str]
    cwd: str
    user: User
    user_name: str  # as typed: "redis", "1000:staff"; looked up inside. Empty: `user` holds.
    umask: int
    capabilities: capabilities.Capabilities
    no_new_privileges: bool
    rlimits: list[tuple[int, int, int]]
    filter: bytes
    filter_flags: int
    warnings: list[str]
    steps: tuple[Callable[[], object], ...] = ()  # what few ask for: scheduler, memory policy, personality, …
    apparmor: str = ""
    selinux: str = ""

    @property
    def labelled(self) -> bool:
        """Whether `become` needs the host's /proc, to set a security label."""
        return bool(self.apparmor or self.selinux)


def prepare(
    process: Mapping[str, Any],
    seccomp_profile: Mapping[str, Any] | None,
    user_name: str = "",
    *,
    linux: Mapping[str, Any] | None = None,
) -> Program:
    """Check a process section and make of it what `become` needs. Raises InvalidConfig that names the field.

    `linux` is the config's linux section, of which a program has its personality and its memory policy.
    """
    if not process:
        raise InvalidConfig("process: is missing", remedy="without it a container can be created, and not started")
    user = process.get("user") or {}
    groups = tuple(user.get("additionalGids") or ())
    warnings: list[str] = []
    caps, clamped = capabilities.granted(_capabilities(process.get("capabilities") or {}, warnings))
    warnings += [f"cannot grant {name}: this machine does not give it to us" for name in capabilities.names(clamped)]
    apparmor, selinux = process.get("apparmorProfile") or "", process.get("selinuxLabel") or ""
    if apparmor or selinux:
        from labrt.linux import labels  # noqa: F401 - for `become`: where that runs nothing can be imported any more
    return Program(
        args=list(process["args"]),
        env=dict(entry.partition("=")[::2] for entry in process.get("env") or ()),
        cwd=process["cwd"],
        user=User(user.get("uid") or 0, user.get("gid") or 0, groups),
        user_name=user_name,
        umask=0o022 if user.get("umask") is None else user["umask"],
        capabilities=caps,
        no_new_privileges=bool(process.get("noNewPrivileges")),
        rlimits=[_rlimit(entry, warnings) for entry in process.get("rlimits") or ()],
        filter=_filter(dict(seccomp_profile)) if seccomp_profile else b"",
        filter_flags=seccomp.flags(dict(seccomp_profile)) if seccomp_profile else 0,
        warnings=warnings,
        steps=tuple(_steps(process, linux or {})),
        apparmor=apparmor,
        selinux=selinux,
    )


def _capabilities(sets: Mapping[str, Any], warnings: list[str]) -> capabilities.Capabilities:
    """Read the five sets. What has no name here, a newer kernel's, is a warning, as the specification wants it."""
    unknown = {
        name for names in sets.values() for name in names or ()
        if name.upper().removeprefix("CAP_") not in capabilities.CAP.__members__ and name.upper() != "ALL"
    }  # fmt: skip
    warnings += [f"cannot grant {name}: no capability is called so" for name in sorted(unknown)]
    known = {kind: [name for name in names or () if name not in unknown] for kind, names in sets.items()}
    return capabilities.Capabilities.from_oci(known)


PER_LINUX, PER_LINUX32 = 0, 8  # linux/personality.h


def _steps(process: Mapping[str, Any], linux: Mapping[str, Any]) -> Iterator[Callable[[], object]]:
    """What a few programs want of the kernel before they begin. Imported here: inside nothing can be any more."""
    if process.get("scheduler"):
        from labrt.linux import scheduler

        yield functools.partial(scheduler.set, scheduler.pack(process["scheduler"]))
    if process.get("ioPriority"):
        from labrt.linux import scheduler

        wanted = process["ioPriority"]
        yield functools.partial(scheduler.set_io, wanted["class"], wanted.get("priority") or 0)
    if linux.get("memoryPolicy"):
        from labrt.linux import mempolicy

        yield functools.partial(syscalls.set_mempolicy, *mempolicy.parse(linux["memoryPolicy"]))
    if linux.get("personality"):
        persona = PER_LINUX32 if linux["personality"]["domain"] == "LINUX32" else PER_LINUX
        yield functools.partial(syscalls.personality, persona)


_compiled: list[tuple[dict[str, Any], bytes]] = []  # by this process, or by the launcher that it was forked from


def _filter(profile: dict[str, Any]) -> bytes:
    for known, program in _compiled:
        if known == profile:
            return program
    _compiled.append((profile, seccomp.compile(profile)))
    return _compiled[-1][1]


# Those that Python has no names for; linux/resource.h, as on x86-64 and arm64.
_MORE_LIMITS = {"RLIMIT_LOCKS": 10, "RLIMIT_RTTIME": 15}


def _rlimit(entry: Mapping[str, Any], warnings: list[str]) -> tuple[int, int, int]:
    number = getattr(resource, str(entry.get("type")), _MORE_LIMITS.get(entry["type"]))
    if number is None or not str(entry.get("type")).startswith("RLIMIT_"):
        raise InvalidConfig(f"process.rlimits: no limit is called {entry.get('type')!r}", remedy="see getrlimit(2)")
    soft, hard = entry["soft"], entry["hard"]
    if soft > hard:
        raise InvalidConfig(f"process.rlimits: {entry['type']}: soft {soft} is above hard {hard}", remedy="lower it")
    ours = resource.getrlimit(number)[1]
    # It counts in the first user namespace only: see setrlimit(2).
    may_raise = capabilities.CAP.SYS_RESOURCE in capabilities.bounding() and userns.is_first()
    if ours != resource.RLIM_INFINITY and hard > ours and not may_raise:
        warnings.append(f"{entry['type']} is {ours}, not {hard}: raising it needs CAP_SYS_RESOURCE")
        soft, hard = min(soft, ours), ours
    soft, hard = (resource.RLIM_INFINITY if limit >= _NO_LIMIT else limit for limit in (soft, hard))
    return number, soft, hard


_NO_LIMIT = (1 << 64) - 1


def become(
    program: Program,
    *,
    with_parent: bool = True,
    new_keyring: bool = True,
    proc: int | None = None,
    hand_over: Callable[[int], None] | None = None,
    before_executing: Callable[[], None] | None = None,
) -> None:
    """Give everything away and execute. Returns never; raises ContainerError, CommandNotFound, …, if it cannot.

    `with_parent`: the kernel shall kill the program when its parent ends. `new_keyring`: it leaves our session's keys.
    `proc`: the host's /proc, if it is `labelled`. `hand_over` gets the seccomp listener, if the filter has one.
    `before_executing` is called when all power is given away.
    """
    if proc is not None:
        if program.labelled:
            from labrt.linux import labels  # since `prepare`

            labels.set_next(proc, apparmor=program.apparmor, selinux=program.selinux)
        os.close(proc)  # a way to the host's root, so it goes before a path of the container's is looked at
    user = find_user(program.user_name) if program.user_name else program.user
    env = {"HOME": user.home, **program.env} if program.user_name else program.env
    # Root's keys, those of the host's session among them, are not the container's. ENOSYS where there are no keyrings.
    if new_keyring:
        with contextlib.suppress(OSError):
            syscalls.keyctl(KEYCTL_JOIN_SESSION_KEYRING, "labrt")
    for number, soft, hard in program.rlimits:
        resource.setrlimit(number, (soft, hard))
    for step in program.steps:
        step()
    _enter_directory(program.cwd, user)
    _give_stdio(user)
    if program.filter and not program.no_new_privileges:
        # It takes CAP_SYS_ADMIN or no_new_privs to install a filter, and the former goes next.
        _install(program, hand_over)
    capabilities.take_on(program.capabilities, change_user=lambda: _change_user(user))
    if with_parent:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user clears it, so not earlier
    os.umask(program.umask)
    if program.no_new_privileges:
        capabilities.no_new_privileges()
        if program.filter:
            _install(program, hand_over)
    _default_signals()
    if before_executing:
        before_executing()
    _execute(program.args, env)


def _install(program: Program, hand_over: Callable[[int], None] | None) -> None:
    listener = seccomp.install(program.filter, program.filter_flags)
    if program.filter_flags & SECCOMP_FILTER_FLAG.NEW_LISTENER and hand_over:
        hand_over(listener)
        os.close(listener)


def _give_stdio(user: User) -> None:
    """Let the user open /dev/stdout: pipes, and the terminal of the container's own, become theirs.

    Nothing else does: a file, or the terminal of whoever started us, is not ours to give away.
    """
    try:
        terminals = os.stat("/dev/pts").st_dev
    except OSError:
        terminals = -1
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):  # closed; or of somebody who does not exist in our user namespace
            info = os.fstat(fd)
            ours = stat.S_ISFIFO(info.st_mode) or (stat.S_ISCHR(info.st_mode) and info.st_dev == terminals)
            if ours and info.st_uid != user.uid:
                os.fchown(fd, user.uid, -1)  # a terminal's group stays tty


def _change_user(user: User) -> None:
    with contextlib.suppress(PermissionError):  # a user namespace may forbid it: user_namespaces(7), setgroups
        os.setgroups(user.groups)
    try:
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        remedy = "take --user 0, or see what `labrt doctor` says of more ids"
        what = f"user {user.uid}:{user.gid} does not exist in this user namespace"
        raise ContainerError(what, remedy=remedy) from None


def _enter_directory(path: str, user: User) -> None:
    """Go to the working directory; one that is not in the image is made, as Docker does.

    No link of /proc is followed, for /proc/self/fd/7 may be anywhere (CVE-2024-21626), and nothing leads out of /.
    """
    try:
        made = False
        try:
            fd = mounts.open_in_root("/", path)
        except FileNotFoundError:
            fd, made = mounts.open_in_root("/", path, create="directory"), True
        try:
            os.fchdir(fd)
        finally:
            os.close(fd)
        if made:
            os.chown(".", user.uid, user.gid)
    except OSError as error:
        remedy = "choose another with --workdir"
        raise ContainerError(f"cannot start in {path}: {error.strerror}", remedy=remedy) from error


def _default_signals() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and whoever started us may ignore others; a program expects the defaults."""
    for number in ignored_signals():
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@functools.cache
def ignored_signals() -> list[signal.Signals]:
    """List the signals that this process ignores, by whoever's will: only these does execve hand on, not handlers."""
    return [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]


def _execute(args: list[str], env: dict[str, str]) -> None:
    """Look the command up in the container's own PATH, as sh would, and become it."""
    name = args[0]
    denied = ""
    for path in _candidates(name, env):
        try:
            os.execve(path, args, env)
        except (FileNotFoundError, NotADirectoryError):
            if "/" in name and os.path.lexists(path):
                raise CommandNotFound(f"exec: {path}: its interpreter is not in the image") from None
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.ENOEXEC, errno.EPERM, errno.EISDIR):
                raise CommandNotExecutable(f"exec: {path}: {error.strerror}") from error
            denied = denied or f"exec: {path}: {error.strerror}"
    if denied:
        raise CommandNotExecutable(denied, remedy="is it a program for this machine, with the x bit set?")
    raise _not_found(name)


def look_up(program: Program) -> None:
    """Raise, from inside, what `become` would for a command that is not there or nobody's to execute.

    So `create` can say it already, as runc's callers expect; what it cannot see is left to `become`.
    """
    name, found = program.args[0], []
    for path in _candidates(name, program.env):
        try:
            found.append(os.stat(os.path.join(program.cwd, path)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return
    if not found:
        raise _not_found(name)
    if not any(stat.S_ISREG(mode) and mode & 0o111 for mode in found):
        remedy = "is it a program for this machine, with the x bit set?"
        # podman and docker look for these very words.
        raise CommandNotExecutable(f"exec: {name}: permission denied", remedy=remedy)


def _candidates(name: str, env: Mapping[str, str]) -> list[str]:
    if "/" in name:
        return [name]
    return [os.path.join(directory or ".", name) for directory in env.get("PATH", "/bin:/usr/bin").split(":")]


def _not_found(name: str) -> CommandNotFound:
    where = "no such file or directory" if "/" in name else "executable file not found in $PATH"
    return CommandNotFound(f"exec: {name!r}: {where}", remedy="is it in the image? `labrt run IMAGE sh` lets you look")


# Users ----------------------------------------------------------------------------------------------------------------


def find_user(text: str) -> User:
    """Turn `--user` into ids as Docker does: name or number, then perhaps a colon and a group's name or number.

    Names are looked up in this root's /etc/passwd and /etc/group. A number needs no entry; its group is then 0. After a
    tab stand further groups, of `--group-add`, with commas between.
    """
    text, _, added = text.partition("\t")
    more = tuple(_group(name) for name in added.split(",") if name)
    who, _, group = text.partition(":")
    users = _table("/etc/passwd", 7)
    entry = next((row for row in users if row[0] == who or (who.isdigit() and row[2] == who)), None)
    if entry is None and not who.isdigit() and who:
        raise ContainerError(f"no user {who!r} in the image's /etc/passwd", remedy="give its number: --user 1000")
    uid = int(entry[2]) if entry else int(who or 0)
    gid, home, name = (int(entry[3]), entry[5] or "/", entry[0]) if entry else (0, "/", "")
    if group:
        return User(uid, _group(group), (_group(group), *more), home)
    theirs = (int(row[2]) for row in _table("/etc/group", 4) if name and name in row[3].split(","))
    # Its own group among them: a set-group-ID program could else leave that, and with it what the group may not do.
    return User(uid, gid, tuple(dict.fromkeys([gid, *theirs, *more])), home)


def _group(text: str) -> int:
    found = next((row for row in _table("/etc/group", 4) if row[0] == text), None)
    if found is None and not text.isdigit():
        raise ContainerError(f"no group {text!r} in the image's /etc/group", remedy="give its number")
    return int(found[2]) if found else int(text)


def _table(path: str, columns: int) -> list[list[str]]:
    """Read passwd(5) or group(5). The file is the image's: it may be a FIFO, endless or rubbish."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        text = os.read(fd, 1 << 20).decode(errors="replace")
    finally:
        os.close(fd)
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) >= columns and row[2].isdigit() and (columns < 7 or row[3].isdigit())]
