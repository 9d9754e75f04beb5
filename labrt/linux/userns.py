"""User namespaces: who is who, inside and outside. Root inside may be an ordinary user outside.

    IdMap(0, 1000, 1)                 id 0 inside is id 1000 outside
    write_maps(pid, uids, gids)       give a process's new user namespace its maps, once and for all
    read_maps(pid)                    what they are
    to_host(maps, id), to_container   look an id up
    subordinate_ids(user)             the ranges of /etc/subuid and /etc/subgid, which an ordinary user may map too
    rootless_maps()                   the maps of a rootless container: root is I, the others are my subordinates
    single_maps()                     the maps of one who has no subordinates: root is I, and there is nobody else
    is_first()                        whether this process is in the machine's own user namespace
    obstacles()                       why this machine lets nobody make a user namespace, if so

"Outside" is the parent user namespace, as far as its own ids go. Until its maps are written everybody inside is the
overflow user 65534. See user_namespaces(7), newuidmap(1), subuid(5). Notebook 07.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence

from labrt.errors import InvalidInput, LabrtError, NotSupported, kernel_error
from labrt.linux import procfs
from labrt.shapes import Record

CAP_SETGID, CAP_SETUID, CAP_SETFCAP = 6, 7, 31

# The last 32-bit id, 2**32 - 1, means "no id" to setresuid(2); a map is at most 340 lines long since Linux 4.15.
NO_ID = (1 << 32) - 1
MAX_LINES = 340

# newuidmap has root's power: not to be looked for where somebody else's PATH may lead.
HELPERS = "/usr/bin:/bin:/usr/local/bin"


class IdMap(Record):
    """`size` ids: `container_id` and on, inside, are `host_id` and on, outside. As in the OCI's uidMappings."""

    container_id: int
    host_id: int
    size: int = 1

    def __str__(self) -> str:
        return f"{self.container_id} {self.host_id} {self.size}"

    def __repr__(self) -> str:
        if self.size == 1:
            return f"<IdMap {self.container_id} is {self.host_id} outside>"
        inside = f"{self.container_id}-{self.container_id + self.size - 1}"
        return f"<IdMap {inside} are {self.host_id}-{self.host_id + self.size - 1} outside>"


class IdRange(Record):
    """`size` ids in a row from `start` on: a line of /etc/subuid."""

    start: int
    size: int


# Reading and looking up -----------------------------------------------------------------------------------------------


def read_maps(pid: procfs.Pid = "self", *, proc: str = "/proc") -> tuple[list[IdMap], list[IdMap]]:
    """The uid and gid maps of a process's user namespace; empty ones were not written yet.

    The outer ids are those of *our* user namespace, or of its parent when we read our own.
    """
    uids, gids = (
        [IdMap(*map(int, line.split())) for line in procfs.read(pid, name, proc=proc).splitlines()]
        for name in ("uid_map", "gid_map")
    )
    return uids, gids


def to_host(maps: Sequence[IdMap], inside: int) -> int | None:
    """The id outside, or None: then nobody inside can be this one."""
    for line in maps:
        if 0 <= inside - line.container_id < line.size:
            return line.host_id + inside - line.container_id
    return None


def to_container(maps: Sequence[IdMap], outside: int) -> int | None:
    """The id inside, or None: then it shows as the overflow id 65534."""
    return to_host([IdMap(line.host_id, line.container_id, line.size) for line in maps], outside)


def subordinate_ids(user: str | int | None = None, *, etc: str = "/etc") -> tuple[list[IdRange], list[IdRange]]:
    """The uids and gids set aside for a user (name or uid; None: ourselves) in /etc/subuid and /etc/subgid."""
    names = names_of(os.getuid() if user is None else user)
    uids, gids = (_ranges(os.path.join(etc, file), names) for file in ("subuid", "subgid"))
    return uids, gids


def names_of(user: str | int) -> set[str]:
    """What a user may be called in a file: by name, or by number."""
    import pwd

    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except KeyError:
        return {str(user)}
    return {entry.pw_name, str(entry.pw_uid)}


def _ranges(path: str, names: set[str] | None) -> list[IdRange]:
    """Read the ranges of those who are called so; None: everybody's."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line.strip().split(":") for line in stream]
    except FileNotFoundError:
        return []
    meant = [line for line in lines if names is None or line[0] in names]
    whole = (line for line in meant if len(line) == 3 and line[1].isdigit() and line[2].isdigit())
    return [IdRange(int(start), int(size)) for _, start, size in whole if int(size)]


def rootless_maps(user: str | int | None = None, *, etc: str = "/etc") -> tuple[list[IdMap], list[IdMap]]:
    """The maps of a rootless container: 0 inside is ourselves, 1 and on are our subordinate ids, if we have any."""
    uids, gids = subordinate_ids(user, etc=etc)
    return _stack(os.geteuid(), uids), _stack(os.getegid(), gids)


def single_maps() -> tuple[list[IdMap], list[IdMap]]:
    """The maps that everybody may write: 0 inside is ourselves, and nobody else exists there."""
    return [IdMap(0, os.geteuid(), 1)], [IdMap(0, os.getegid(), 1)]


def is_first(*, proc: str = "/proc") -> bool:
    """Whether this process is in the first user namespace, whose root alone makes devices and raises hard limits."""
    try:
        uids, _ = read_maps(proc=proc)
    except OSError:
        return True
    return uids == [IdMap(0, 0, NO_ID)]


def _stack(own: int, ranges: Sequence[IdRange]) -> list[IdMap]:
    maps = [IdMap(0, own, 1)]
    for start, size in ranges:
        maps.append(IdMap(maps[-1].container_id + maps[-1].size, start, size))
    return maps


# Writing --------------------------------------------------------------------------------------------------------------


def write_maps(pid: int, uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> None:
    """Write the maps of the user namespace that process `pid` (our child) has just got. It can be done only once.

    With CAP_SETUID and CAP_SETGID any ids of ours can be mapped. Without, each map may have one line of one id, our
    own, and the namespace loses setgroups(2) for good (leaving a group could open a door: a file that its group may
    *not* read). For more ids an ordinary user needs the setuid programs newuidmap and newgidmap, and the ids
    in /etc/subuid and /etc/subgid.

    Raises InvalidInput for maps that the kernel would not take from anybody, NotSupported when the programs are missing
    or refuse, and KernelError (EPERM) with the rule that was broken.
    """
    check(uid_maps, "uid_map")
    check(gid_maps, "gid_map")
    if _privileged():
        _write(pid, "uid_map", uid_maps)
        _write(pid, "gid_map", gid_maps)
    elif _only(uid_maps, os.geteuid()) and _only(gid_maps, os.getegid()):
        _write_text(pid, "setgroups", "deny")
        _write(pid, "uid_map", uid_maps)
        _write(pid, "gid_map", gid_maps)
    else:
        _by_helper("newuidmap", pid, uid_maps, "/etc/subuid")
        _by_helper("newgidmap", pid, gid_maps, "/etc/subgid")


def check(maps: Sequence[IdMap], name: str) -> None:
    """Refuse, with InvalidInput, what the kernel answers with a bare EINVAL. `name` is what the map is called."""
    if not 0 < len(maps) <= MAX_LINES:
        raise InvalidInput(f"{name}: {len(maps)} lines", remedy=f"it has 1 to {MAX_LINES}")
    for line in maps:
        for start in line[:2]:
            if start < 0 or line.size < 1 or start + line.size > NO_ID:
                raise InvalidInput(f"{name}: {line} leaves the ids, 0 to {NO_ID - 1}, or is empty")
    for side in (0, 1):
        ordered = sorted(maps, key=lambda line: line[side])
        for lower, upper in zip(ordered, ordered[1:], strict=False):
            if lower[side] + lower.size > upper[side]:
                raise InvalidInput(f"{name}: {lower!r} and {upper!r} overlap", remedy="each id may be mapped once")


def _only(maps: Sequence[IdMap], own: int) -> bool:
    return [line[1:] for line in maps] == [(own, 1)]


def _privileged() -> bool:
    needed = 1 << CAP_SETUID | 1 << CAP_SETGID
    return _capabilities() & needed == needed


def _capabilities() -> int:
    return int(procfs.status()["CapEff"], 16)


def _write(pid: int, name: str, maps: Sequence[IdMap]) -> None:
    _write_text(pid, name, "".join(f"{line}\n" for line in maps), maps)


def _write_text(pid: int, name: str, text: str, maps: Sequence[IdMap] = ()) -> None:
    path = f"/proc/{pid}/{name}"
    try:
        # One write(2), at offset 0: the kernel takes a map whole or not at all.
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        remedy = ""
        with contextlib.suppress(LabrtError):  # the process may have ended, or hide from us
            ended = error.errno in (errno.ENOENT, errno.ESRCH)
            remedy = "the process has ended" if ended else _broken_rule(pid, name, maps, error.errno or 0)
        raise kernel_error(f"write({path!r}, {text!r})", error.errno or 0, remedy=remedy) from error


def _broken_rule(pid: int, name: str, maps: Sequence[IdMap], code: int) -> str:
    """Which of the rules of user_namespaces(7) makes the kernel say EPERM or EACCES: it says no more than that."""
    kind, own = ("gid", os.getegid()) if name == "gid_map" else ("uid", os.geteuid())
    if _in_our_own(pid):
        return f"process {pid} is in our own user namespace: only one that was just made takes maps"
    if code == errno.EACCES:
        return "the process is another user's, or has changed its user and is not dumpable: see PR_SET_DUMPABLE"
    if name != "setgroups" and procfs.read(pid, name):
        return "the map is written already, and that can be done only once"
    if name == "setgroups":
        return "setgroups can be denied only before gid_map is written"
    ours = read_maps()[kind == "gid"]
    unknown = [line for line in maps if not _covered(ours, line)]
    if unknown:
        return f"the {kind}s of {unknown[0]!r} do not exist in our own user namespace: see /proc/self/{name}"
    if kind == "uid" and any(line.host_id == 0 for line in maps) and not _capabilities() >> CAP_SETFCAP & 1:
        return "mapping uid 0 needs CAP_SETFCAP since Linux 5.12"
    if kind == "gid" and not _privileged() and procfs.read(pid, "setgroups").strip() == "allow":
        return 'without CAP_SETGID, write "deny" to setgroups first'
    if not _only(maps, own) and not _privileged():
        return f"without CAP_SET{kind.upper()} only our own {kind} {own} can be mapped, in one line"
    return f"who maps must be in the parent user namespace and have the {kind} of who made the new one"


def _in_our_own(pid: int) -> bool:
    try:
        return procfs.namespaces(pid)["user"] == procfs.namespaces()["user"]
    except PermissionError:  # it hides from us; our own processes do not
        return False


def _covered(ours: Sequence[IdMap], line: IdMap) -> bool:
    """Whether every outer id of a line exists in our own namespace; ranges of ours may join."""
    at, end = line.host_id, line.host_id + line.size
    while at < end:
        inside = [own for own in ours if own.container_id <= at < own.container_id + own.size]
        if not inside:
            return False
        at = inside[0].container_id + inside[0].size
    return True


def _by_helper(program: str, pid: int, maps: Sequence[IdMap], file: str) -> None:
    """Let a setuid program write the map: it looks in /etc/subuid or /etc/subgid whether we may."""
    import subprocess

    path = find_helper(program)
    remedy = f"apt install uidmap, and give the user a range in {file} (`{add_ranges()}`)"
    if path is None:
        raise NotSupported(f"without root, more than one id takes {program}, which is not installed", remedy=remedy)
    words = [str(number) for line in maps for number in line]
    done = subprocess.run([path, str(pid), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise NotSupported(f"{program} {pid} {' '.join(words)}: {done.stderr.strip()}", remedy=remedy)


def find_helper(program: str, *, root: str = "/") -> str | None:
    """Return where newuidmap or newgidmap is, or None. `root` is where the machine lies that is asked about."""
    import shutil

    return shutil.which(program, path=":".join(root.rstrip("/") + place for place in HELPERS.split(":")))


def add_ranges(user: str | int | None = None, *, etc: str = "/etc") -> str:
    """Return what root types to give a user (None: ourselves) 65536 uids and gids that nobody has been given yet."""
    names = names_of(os.getuid() if user is None else user)
    name = min(names, key=str.isdecimal)  # rather the name than the number
    uids, gids = (_first_free(os.path.join(etc, file)) for file in ("subuid", "subgid"))
    return f"sudo usermod --add-subuids {uids}-{uids + 65535} --add-subgids {gids}-{gids + 65535} {name}"


def first_free(*, etc: str = "/etc") -> int:
    """Return the first id above all that are set aside for anybody, as uid or as gid."""
    return max(_first_free(os.path.join(etc, file)) for file in ("subuid", "subgid"))


def _first_free(path: str) -> int:
    """Return an id above all ranges of a file: as useradd, from 100000 on."""
    return max([100_000, *(start + size for start, size in _ranges(path, None))])


# What the machine allows ----------------------------------------------------------------------------------------------


def max_user_namespaces(*, proc_sys: str = "/proc/sys") -> int | None:
    """How many user namespaces one user may have; 0 switches them off. None: this kernel has none at all."""
    return _number(os.path.join(proc_sys, "user/max_user_namespaces"))


def restricted_by_apparmor(*, proc_sys: str = "/proc/sys") -> bool:
    """Whether an unconfined program of an ordinary user gets no capabilities in a new one: Ubuntu since 23.10."""
    return bool(_number(os.path.join(proc_sys, "kernel/apparmor_restrict_unprivileged_userns")))


def obstacles(*, proc_sys: str = "/proc/sys") -> list[str]:
    """Why an ordinary user cannot make a useful user namespace here, with the cure; empty if nothing is in the way."""
    found = []
    most = max_user_namespaces(proc_sys=proc_sys)
    if most is None:
        found.append("the kernel was built without user namespaces (CONFIG_USER_NS)")
    elif most == 0:
        found.append("they are switched off: sysctl user.max_user_namespaces=10000")
    if _number(os.path.join(proc_sys, "kernel/unprivileged_userns_clone")) == 0:
        found.append("only root may make them: sysctl kernel.unprivileged_userns_clone=1")
    if restricted_by_apparmor(proc_sys=proc_sys):
        cure = "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,`"
        found.append(f"AppArmor takes their capabilities away: {cure}")
    return found


def _number(path: str) -> int | None:
    try:
        with open(path) as stream:
            return int(stream.read())
    except OSError:
        return None
