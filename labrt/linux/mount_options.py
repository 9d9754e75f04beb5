"""The options of a mount, as fstab(5), mount(8) and the OCI runtime-spec write them, sorted by who reads them.

    >>> options = parse(["ro", "rnosuid", "rprivate", "size=1m"])
    >>> options.set, options.recursive_set, options.propagation, options.data
    (<MS_RDONLY>, 2, (<MS_REC|MS_PRIVATE>,), 'size=1m')

mount(2) takes flags for the new mount, and a string for its file system. A bind mount takes its flags only in a second
step, by mount_setattr(2), in words of that call's own; and so do all mounts below it, for the words with an r in front.
See config.md of the runtime-spec, "Linux mount options".
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from labrt.linux.flags import MOUNT_ATTR, MS
from labrt.shapes import Record

# Options that set (True) or clear (False) a flag of mount(2). Whatever is not listed belongs to the file system.
FLAGS = {
    "ro": (MS.RDONLY, True), "rw": (MS.RDONLY, False),
    "nosuid": (MS.NOSUID, True), "suid": (MS.NOSUID, False),
    "nodev": (MS.NODEV, True), "dev": (MS.NODEV, False),
    "noexec": (MS.NOEXEC, True), "exec": (MS.NOEXEC, False),
    "sync": (MS.SYNCHRONOUS, True), "async": (MS.SYNCHRONOUS, False),
    "dirsync": (MS.DIRSYNC, True), "mand": (MS.MANDLOCK, True), "nomand": (MS.MANDLOCK, False),
    "noatime": (MS.NOATIME, True), "atime": (MS.NOATIME, False),
    "nodiratime": (MS.NODIRATIME, True), "diratime": (MS.NODIRATIME, False),
    "relatime": (MS.RELATIME, True), "norelatime": (MS.RELATIME, False),
    "strictatime": (MS.STRICTATIME, True), "nostrictatime": (MS.STRICTATIME, False),
    "lazytime": (MS.LAZYTIME, True), "nolazytime": (MS.LAZYTIME, False),
    "iversion": (MS.I_VERSION, True), "noiversion": (MS.I_VERSION, False),
    "nosymfollow": (MS.NOSYMFOLLOW, True), "symfollow": (MS.NOSYMFOLLOW, False),
    "silent": (MS.SILENT, True), "loud": (MS.SILENT, False),
    "bind": (MS.BIND, True), "rbind": (MS.BIND | MS.REC, True),
    "defaults": (MS(0), True), "remount": (MS.REMOUNT, True),
}  # fmt: skip

PROPAGATION = {
    "private": MS.PRIVATE, "rprivate": MS.PRIVATE | MS.REC, "shared": MS.SHARED, "rshared": MS.SHARED | MS.REC,
    "slave": MS.SLAVE, "rslave": MS.SLAVE | MS.REC, "unbindable": MS.UNBINDABLE, "runbindable": MS.UNBINDABLE | MS.REC,
}  # fmt: skip

# The same flags in mount_setattr(2)'s words. Its times of access are no flags but one number of three: 0 is relatime.
_ATTRIBUTES = {
    MS.RDONLY: MOUNT_ATTR.RDONLY, MS.NOSUID: MOUNT_ATTR.NOSUID, MS.NODEV: MOUNT_ATTR.NODEV,
    MS.NOEXEC: MOUNT_ATTR.NOEXEC, MS.NODIRATIME: MOUNT_ATTR.NODIRATIME, MS.NOSYMFOLLOW: MOUNT_ATTR.NOSYMFOLLOW,
}  # fmt: skip
_ATIME = 0x70  # MOUNT_ATTR__ATIME: the bits of that number
_ACCESS_TIMES = {
    "noatime": int(MOUNT_ATTR.NOATIME), "strictatime": int(MOUNT_ATTR.STRICTATIME), "relatime": 0,
    "atime": 0, "nostrictatime": 0, "norelatime": 0,
}  # fmt: skip

_ACCESSES = MS.NOATIME | MS.RELATIME | MS.STRICTATIME

# Words for whoever mounts, which the kernel never sees. See fstab(5).
_NOT_OURS = {"auto", "noauto", "nofail", "_netdev", "loop"}


class Options(Record):
    """A mount's options. `attr_…` are its flags for mount_setattr(2); `recursive_…` go to the mounts below, too."""

    set: MS
    clear: MS
    attr_set: int
    attr_clear: int
    propagation: tuple[MS, ...]
    recursive_set: int
    recursive_clear: int
    data: str  # the file system's own
    copy_up: bool = False  # tmpcopyup: a tmpfs begins with what it hides
    idmap: str = ""  # "idmap" or "ridmap": with owners of its own


class _Attributes:
    """Flags for mount_setattr(2), as they come in: the last word about each wins."""

    def __init__(self) -> None:
        self.set = self.clear = 0

    def add(self, word: str) -> bool:
        """Take a word in; False if mount_setattr(2) has no such flag."""
        if word in _ACCESS_TIMES:
            self.set = self.set & ~_ATIME | _ACCESS_TIMES[word]
            self.clear |= _ATIME  # the kernel wants the old number cleared as a whole
            return True
        flag, on = FLAGS.get(word, (MS(0), True))
        attribute = int(_ATTRIBUTES.get(flag, 0))
        self.set, self.clear = (
            (self.set | attribute, self.clear & ~attribute) if on else (self.set & ~attribute, self.clear | attribute)
        )
        return bool(attribute)


def parse(options: Sequence[str]) -> Options:
    """Sort options. Later ones win over earlier ones: `ro,rw` is rw."""
    return _parse(tuple(options))


@functools.lru_cache(maxsize=256)  # containers have the same dozen mounts
def _parse(options: tuple[str, ...]) -> Options:
    to_set, to_clear, own, below = MS(0), MS(0), _Attributes(), _Attributes()
    spread, data, idmap = [], [], ""
    for option in options:
        if option in FLAGS:
            flag, on = FLAGS[option]
            if on and flag & _ACCESSES:
                to_set &= ~_ACCESSES  # of these three the kernel would choose one by itself
            to_set, to_clear = (to_set | flag, to_clear & ~flag) if on else (to_set & ~flag, to_clear | flag)
            own.add(option)
        elif option in PROPAGATION:
            spread.append(PROPAGATION[option])
        elif option in ("idmap", "ridmap"):
            idmap = option
        elif not (option[:1] == "r" and below.add(option[1:])) and not _is_for_others(option):
            data.append(option)
    return Options(
        to_set, to_clear, own.set, own.clear, tuple(spread), below.set, below.clear, ",".join(data),
        "tmpcopyup" in options, idmap,
    )  # fmt: skip


def _is_for_others(option: str) -> bool:
    return option in _NOT_OURS or option.startswith("x-") or option == "tmpcopyup"
