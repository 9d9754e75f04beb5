"""One step down from an open directory, with the kernel as judge: openat2(2) and RESOLVE_BENEATH.

    fd = beneath.directory(above, "usr")        a descriptor for openat(2) and its like, not for reading

Whoever made the name, whatever somebody puts there meanwhile: no link, no `..` and no absolute name leads elsewhere.
So layers are unpacked (storage/unpacking.py). See openat2(2); notebook 02.
"""

from __future__ import annotations

import os

from labrt.linux import syscalls
from labrt.linux.flags import RESOLVE

_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ONLY_BELOW = int(RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS)


def directory(above: int, name: str) -> int:
    """Open the directory `name` in `above`; the caller closes it.

    KernelError: ELOOP for a link, ENOTDIR for a file, ENOENT, EXDEV for a name that leads out.
    """
    return syscalls.openat2(above, name, _FLAGS, resolve=_ONLY_BELOW)
