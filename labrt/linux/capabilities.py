"""Capabilities: root's power cut into some forty pieces, and how a process gives most of them away.

    parse("NET_ADMIN", "cap_chown")   names to a set            names(caps)      a set to the OCI's list of names
    of(pid)                           a process's five sets     granted(wanted)  what of that we can give at all
    adjust(DEFAULT, add, drop)        `docker run --cap-add … --cap-drop …`

A container's init gives up its power in this order; `apply` does it all, or call them one by one:

    limit_bounding      while CAP_SETPCAP is still there: what nobody below can ever get back
    keep_over_setuid    or the change of user would clear the permitted set
                        (now setgroups, setgid, setuid)
    set_current         permitted, effective and inheritable, in one call
    set_ambient         what a non-root user's programs get that have no file capabilities
    no_new_privileges   from here on execve gives nothing: no setuid bit, no file capability

A set of capabilities is one CAP, a word of bits numbered as in the kernel: `caps & CAP.KILL`, `CAP.KILL in caps`.
Import this file *before* pivot_root: it loads python-prctl, and the new root may hold another one of that name.
None of the functions in the list above reads /proc. See capabilities(7), prctl(2), capset(2). Notebook 18.
"""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping

import _prctl  # python-prctl's C half: its Python half refuses capabilities that are younger than itself
import prctl

from labrt.errors import InvalidInput, KernelError, kernel_error
from labrt.linux import procfs, syscalls
from labrt.linux.capability_names import CAP, MEANING
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "CAP", "DEFAULT", "MEANING", "NONE", "Capabilities", "adjust", "apply", "bounding", "granted", "keep_over_setuid",
    "limit_bounding", "names", "no_new_privileges", "of", "parse", "set_ambient", "set_current", "supported",
]  # fmt: skip

NONE = CAP(0)

# What Docker grants by default: enough to install packages, and to be a server that starts as root and then is not.
DEFAULT = (
    CAP.CHOWN | CAP.DAC_OVERRIDE | CAP.FOWNER | CAP.FSETID | CAP.KILL | CAP.SETGID | CAP.SETUID | CAP.SETPCAP
    | CAP.NET_BIND_SERVICE | CAP.NET_RAW | CAP.SYS_CHROOT | CAP.MKNOD | CAP.AUDIT_WRITE | CAP.SETFCAP
)  # fmt: skip

# include/uapi/linux/prctl.h. python-prctl has no ambient set, and refuses to read or drop a bit it has no name for.
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_CAP_AMBIENT = 23, 24, 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4


class Capabilities(Record):
    """The five sets of a process, in the order of the OCI runtime-spec. Looks best in a table: rich prints one."""

    bounding: CAP = NONE
    effective: CAP = NONE
    permitted: CAP = NONE
    inheritable: CAP = NONE
    ambient: CAP = NONE

    @classmethod
    def of_root(cls, caps: CAP) -> Capabilities:
        """The sets of a container whose user is root: Docker's way. A non-root user's programs then have none.

        Inheritable stays empty: what is in there would be given to anybody who executes a file that inherits.
        """
        return cls(caps, caps, caps)

    @classmethod
    def from_oci(cls, sets: Mapping[str, Iterable[str]]) -> Capabilities:
        """From `process.capabilities` of a config.json; a set that is not there is empty."""
        return cls(*(parse(*sets.get(name) or ()) for name in cls._fields))

    def to_oci(self) -> dict[str, list[str]]:
        """To `process.capabilities` of a config.json."""
        return {name: names(caps) for name, caps in zip(self._fields, self, strict=True)}

    def __repr__(self) -> str:
        inner = " ".join(f"{name}={_short(caps)}" for name, caps in zip(self._fields, self, strict=True) if caps)
        return f"<Capabilities {inner or 'none'}>"

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table(title="Capabilities", caption="B bounding, E effective, P permitted, I inheritable, A ambient")
        for heading in ("capability", "B", "E", "P", "I", "A"):
            table.add_column(heading, no_wrap=True, min_width=18 if heading == "capability" else 1)
        table.add_column("lets a process", no_wrap=True)
        for cap in CAP:
            if any(cap in caps for caps in self):
                table.add_row(cap.name, *("●" if cap in caps else "" for caps in self), MEANING[cap])
        return table


def _short(caps: CAP) -> str:
    missing = names(supported() & ~caps)
    if len(missing) < 5:
        return "-".join(["ALL", *(name.removeprefix("CAP_") for name in missing)])
    return ",".join(name.removeprefix("CAP_") for name in names(caps)) or hex(caps)


# Names and sets -------------------------------------------------------------------------------------------------------


def parse(*wanted: str) -> CAP:
    """Make a set from names as people type them: `NET_ADMIN`, `cap_net_admin`, `ALL` for what the kernel knows."""
    caps = NONE
    for name in wanted:
        bare = name.upper().removeprefix("CAP_")
        if bare != "ALL" and bare not in CAP.__members__:
            raise InvalidInput(f"no such capability: {name!r}", remedy="see capabilities(7) or `capsh --print`")
        caps |= supported() if bare == "ALL" else CAP[bare]
    return caps


def names(caps: CAP) -> list[str]:
    """Name what is in a set, as the OCI does (`CAP_CHOWN`) and in the kernel's order."""
    return [f"CAP_{cap.name}" for cap in CAP if cap in caps]


def supported() -> CAP:
    """Every capability that has a name here and that this kernel knows."""
    return CAP(sum(cap for cap in CAP if cap < 1 << len(_numbers())))


def adjust(default: CAP, add: Iterable[str] = (), drop: Iterable[str] = ()) -> CAP:
    """Change a default set as Docker's `--cap-add` and `--cap-drop` do.

    Who is both added and dropped is added. With `--cap-add ALL` the drops are taken from everything; with
    `--cap-drop ALL` only what is added remains.
    """
    add, drop = [*add], [*drop]
    if any(_is_all(name) for name in add):
        return supported() & ~parse(*(name for name in drop if not _is_all(name)))
    return default & ~parse(*drop) | parse(*add)


def _is_all(name: str) -> bool:
    return name.upper().removeprefix("CAP_") == "ALL"


# Reading --------------------------------------------------------------------------------------------------------------


def of(pid: procfs.Pid = "self") -> Capabilities:
    """The five sets of a process, from /proc/PID/status. Raises NotFound when it is gone."""
    lines = procfs.status(pid)
    return Capabilities(*(CAP(int(lines[name], 16)) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")))


def bounding() -> CAP:
    """Our own bounding set, asked of the kernel bit by bit and so without /proc."""
    return CAP(sum(1 << number for number in _numbers() if _is_bounded(number)))


def granted(wanted: Capabilities) -> tuple[Capabilities, CAP]:
    """What of `wanted` this process can give, and what it cannot: say that to the user, for programs may miss it.

    Nobody, root included, can grant what is not in his own bounding and permitted sets; inside a container, or on a
    machine whose service manager dropped some, that is less than everything.
    """
    within = bounding()
    ours = within & _permitted()
    sets = Capabilities(wanted.bounding & within, *(caps & ours for caps in wanted[1:]))
    clamped = NONE
    for asked, got in zip(wanted, sets, strict=True):
        clamped |= asked & ~got
    return sets, clamped


@functools.cache
def _numbers() -> range:
    """The numbers of all capabilities that this kernel knows, which may be more than have a name here."""
    for number in range(64):
        try:
            _is_bounded(number)
        except KernelError as error:
            if error.errno == errno.EINVAL:
                return range(number)
            raise
    return range(64)


def _is_bounded(number: int) -> bool:
    return bool(syscalls.prctl(PR_CAPBSET_READ, number))


def _permitted() -> CAP:
    sets = _prctl.get_caps([], [*_numbers()], [])
    return CAP(sum(1 << number for number, inside in sets[prctl.CAP_PERMITTED].items() if inside))


# Giving up ------------------------------------------------------------------------------------------------------------


def limit_bounding(keep: CAP) -> None:
    """Drop all but `keep` from the bounding set, for good, also for every child. Needs CAP_SETPCAP."""
    dropped = int(bounding()) & ~int(keep)
    for number in _numbers():
        if dropped & (1 << number):
            with _named(f"prctl(PR_CAPBSET_DROP, {_name(number)})", "dropping needs CAP_SETPCAP: do this first"):
                syscalls.prctl(PR_CAPBSET_DROP, number)


def keep_over_setuid() -> None:
    """Let the permitted set survive a change from uid 0 to another, until execve. The effective set is cleared then."""
    with _named("prctl(PR_SET_KEEPCAPS, 1)"):
        prctl.set_keepcaps(True)


def set_current(effective: CAP, permitted: CAP, inheritable: CAP = NONE) -> None:
    """Set the three old sets at once: in one capset(2) the order does not matter. Nothing can be added to permitted."""
    words = [int(caps) for caps in (effective, permitted, inheritable)]  # ints: 240 operations on Flags take a while
    wanted = [[n for n in _numbers() if word & (1 << n)] for word in words]
    others = [[n for n in _numbers() if not word & (1 << n)] for word in words]
    call = f"capset(effective={effective}, permitted={permitted}, inheritable={inheritable})"
    with _named(call, "effective must lie in permitted, and permitted in what the process has: see granted()"):
        _prctl.set_caps(*wanted, *others)


def set_ambient(caps: CAP) -> None:
    """Set the ambient set, which must lie in both permitted and inheritable. See PR_CAP_AMBIENT in prctl(2)."""
    syscalls.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in _numbers():
        if caps & (1 << number):
            syscalls.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def no_new_privileges() -> None:
    """From now on execve gives no privileges, in this process and below. Allows seccomp without CAP_SYS_ADMIN."""
    with _named("prctl(PR_SET_NO_NEW_PRIVS, 1)"):
        prctl.set_no_new_privs(1)


def apply(wanted: Capabilities, *, change_user: Callable[[], None] | None = None) -> CAP:
    """Take on the five sets, and with `change_user` (setgroups, setgid, setuid) another user in between.

    Returns what was asked for and could not be given. A seccomp filter without no_new_privs goes in before this: it
    needs CAP_SYS_ADMIN. Call this in a single-threaded process, for capabilities belong to threads.
    """
    sets, clamped = granted(wanted)
    take_on(sets, change_user=change_user)
    return clamped


def take_on(sets: Capabilities, *, change_user: Callable[[], None] | None = None) -> None:
    """Do what `apply` does with sets that have gone through `granted` already."""
    limit_bounding(sets.bounding)
    if change_user:
        keep_over_setuid()
        change_user()
    set_current(sets.effective, sets.permitted, sets.inheritable)
    set_ambient(sets.ambient)


def _name(number: int) -> str:
    return _names().get(number, str(number))


@functools.cache
def _names() -> dict[int, str]:
    return {cap.bit_length() - 1: f"CAP_{cap.name}" for cap in CAP}


@contextlib.contextmanager
def _named(call: str, remedy: str = "") -> Iterator[None]:
    """Turn python-prctl's bare OSError into one that names the call."""
    try:
        yield
    except OSError as error:
        raise kernel_error(call, error.errno or 0, remedy=remedy) from error
