"""The files of a cgroup directory: reading, writing, and each kind of content as an attribute.

    class Memory(Controller):
        max = Limit("memory.max")            # g.memory.max = "64M"; g.memory.max → 67108864, or None: no limit
        events = Keyed("memory.events")      # g.memory.events → {"low": 0, …, "oom_kill": 1}

A class like this is the whole driver of a controller: the table of its files. Attributes are read from the kernel at
each access and written at each assignment; nothing is kept. A failing write raises KernelError with the kernel's
reason; a file that is not there means that the controller is off, and raises NotSupported. See cgroups(7).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator

from labrt.errors import LabrtError, NotFound, NotSupported, kernel_error
from labrt.linux.cgroups import units

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

_REMEDIES = {
    ("cgroup.procs", errno.EBUSY): "a v2 cgroup that hands controllers to its children takes no processes itself "
    "(the rule of no internal processes): put them in a leaf below it",
    ("cgroup.subtree_control", errno.EBUSY): "this cgroup has processes of its own, and v2 allows a cgroup either "
    "processes or controllers for its children: move them to a leaf below it first",
    ("cgroup.subtree_control", errno.ENOENT): "the parent does not hand this controller down",
    ("cgroup.procs", errno.ESRCH): "there is no such process (any more)",
    ("cgroup.procs", errno.ENOSPC): "this cpuset has no CPUs or no memory nodes: set cpuset.cpus and cpuset.mems first",
    ("cgroup.procs", errno.EACCES): "moving a process takes write access to the cgroup above both places: be root, "
    "or start in a delegated scope, with `systemd-run --user --scope -p Delegate=yes $SHELL`",
    ("memory.limit_in_bytes", errno.EBUSY): "more than this is in use and cannot be reclaimed",
    ("memory.limit_in_bytes", errno.EINVAL): "it may not be more than memory.memsw.limit_in_bytes: raise that first",
    ("memory.memsw.limit_in_bytes", errno.EINVAL): "it counts memory and swap together: no less than the memory limit",
    ("io.max", errno.ENODEV): "only whole disks have a queue to limit: no partition, no RAM disk, no btrfs number",
    ("cpu.cfs_quota_us", errno.EINVAL): "at least 1000 µs, and not more than the parent group may use",
}
_REMEDIES["cgroup.procs", errno.EPERM] = _REMEDIES["cgroup.procs", errno.EACCES]


def missing(path: str) -> LabrtError:
    """Say why a cgroup file is not there: the cgroup is gone, or its controller is off."""
    directory, name = os.path.split(path)
    if not os.path.isdir(directory):
        return NotFound(f"the cgroup {directory} is gone", remedy="make it again with cgroups.create")
    controller = name.partition(".")[0]
    return NotSupported(
        f"{name} is not in {directory}: this kernel or this cgroup does not have it",
        remedy=f"see whether /proc/cgroups has {controller} enabled and whether the parent's cgroup.subtree_control "
        f"names it (v2), or it is mounted (v1)",
    )


def read(path: str) -> str:
    """Read one file of a cgroup."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 65536)
            while more := os.read(fd, 65536):  # cgroup.procs can be longer
                text += more
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        if error.errno == errno.ENODEV:  # removed between open and read
            raise missing(path) from None
        raise kernel_error(f"read({path!r})", error.errno or 0) from None
    return text.decode()


def write(path: str, *values: str | int) -> None:
    """Write values, each in one write(2): the kernel takes each call as one complete order."""
    value: str | int = ""
    try:
        # O_TRUNC means nothing to the kernel here; it makes an ordinary directory behave like a cgroup.
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(fd, str(value).encode())
        finally:
            os.close(fd)
    except OSError as error:
        code = error.errno or 0
        # ENOENT and ENODEV are also the answers to a *value* that names what is not there: then the file exists.
        if code in (errno.ENOENT, errno.ENODEV) and not os.path.exists(path):
            raise missing(path) from None
        remedy = _REMEDIES.get((os.path.basename(path), code), "")
        raise kernel_error(f"write({path!r}, {str(value)!r})", code, remedy=remedy) from None


def keyed(text: str) -> dict[str, int]:
    """Parse `key number` lines, as of memory.events and cpu.stat."""
    return {key: int(number) for key, number in (line.split() for line in text.splitlines())}


def nested(text: str) -> dict[str, dict[str, int | float | None]]:
    """Parse `key a=1 b=max` lines, as of io.max and memory.pressure. `max` is None."""
    found: dict[str, dict[str, int | float | None]] = {}
    for key, *pairs in (line.split() for line in text.splitlines()):
        found[key] = {name: _number(number) for name, _, number in (pair.partition("=") for pair in pairs)}
    return found


def _number(text: str) -> int | float | None:
    if text == "max":
        return None
    return float(text) if "." in text else int(text)


class Controller:
    """The files of one controller in one cgroup: subclasses are tables of File attributes."""

    __slots__ = ("directory",)

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def __setattr__(self, name: str, value: object) -> None:
        # A slip of the pen (`g.memory.maximum = …`) must not pass for a limit that holds.
        if not any(name in vars(kind) for kind in type(self).__mro__):
            raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(self._words())}")
        object.__setattr__(self, name, value)

    @classmethod
    def _words(cls) -> list[str]:
        return [name for name, kind in vars(cls).items() if isinstance(kind, File | property)]

    def values(self) -> Iterator[tuple[str, Any]]:
        """Every attribute that this kernel has, with its value."""
        for name in self._words():
            try:
                yield name, getattr(self, name)
            except NotSupported:
                continue

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.directory!r})"

    def __rich_repr__(self) -> Iterator[tuple[str, Any]]:
        yield from self.values()


class File:
    """One file of a controller as an attribute. Its subclasses know one kind of content each."""

    def __init__(self, name: str) -> None:
        self.name = name

    def path(self, owner: Controller) -> str:
        """Return where the file lies for this cgroup."""
        return f"{owner.directory}/{self.name}"


class Count(File):
    """One number, which the kernel counts: read only."""

    def __get__(self, owner: Controller, _: type | None = None) -> int:
        return int(read(self.path(owner)))


class Number(Count):
    """One number, to read and to set."""

    def __set__(self, owner: Controller, value: int | str) -> None:
        write(self.path(owner), value)


class Limit(File):
    """A number or `max`: reads as an int or None (no limit). Set it to what `parse` takes: by default a size."""

    def __init__(self, name: str, parse: Callable[[int | str | None], int | None] = units.parse_size) -> None:
        super().__init__(name)
        self.parse = parse

    def __get__(self, owner: Controller, _: type | None = None) -> int | None:
        text = read(self.path(owner)).strip()
        return None if text == "max" else int(text)

    def __set__(self, owner: Controller, value: int | str | None) -> None:
        number = self.parse(value)
        write(self.path(owner), "max" if number is None else number)


class Keyed(File):
    """`key number` lines as a dict: read only."""

    def __get__(self, owner: Controller, _: type | None = None) -> dict[str, int]:
        return keyed(read(self.path(owner)))


class Nested(File):
    """`key name=number …` lines as a dict of dicts: read only."""

    def __get__(self, owner: Controller, _: type | None = None) -> dict[str, dict[str, int | float | None]]:
        return nested(read(self.path(owner)))


class Numbers(File):
    """A list of CPUs or memory nodes, such as "0-3,7"."""

    def __get__(self, owner: Controller, _: type | None = None) -> str:
        return read(self.path(owner)).strip()

    def __set__(self, owner: Controller, value: str | int | Iterable[int]) -> None:
        write(self.path(owner), units.parse_list(value) or "\n")  # an empty write never reaches the kernel
