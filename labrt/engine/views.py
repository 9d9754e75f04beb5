"""A look at what a container sees as its root, without being in it: for export, diff and commit.

    look(container, function)            function(root, below) in a child process that alone has these mounts

`root` is the container's root, `below` that of its image. Both are mounted in a mount namespace of the child's own, for
reading: nothing is mounted on the host, and a container that runs goes on writing. See mount_namespaces(7).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from labrt.engine.images import Images
from labrt.linux import process
from labrt.linux.mounts import Mount

if TYPE_CHECKING:
    from labrt.engine.containers import Container

T = TypeVar("T")


def look(container: Container, function: Callable[[str, str], T]) -> T:
    """Call `function` with the two roots, and return what it returns or raise what it raises (both are pickled)."""
    driver = Images(container.where).driver
    mounts = driver.mounts(container.id)
    with tempfile.TemporaryDirectory(prefix="labrt-view-") as place:
        root, below = os.path.join(place, "root"), os.path.join(place, "below")
        os.mkdir(root)
        os.mkdir(below)

        def child() -> T:
            for mount in mounts:
                readable(mount).attach(root)
            return function(root, below)

        return process.run_in_child(child, namespaces="mnt" if os.geteuid() == 0 else "user,mnt")


def readable(mount: Mount) -> Mount:
    """Return a mount that shows the same and writes nothing.

    Of an overlay: with the upper directory as the highest of the lower ones. Mounted once more as an *upper* directory,
    its work directory would be emptied under the hands of the container that runs on it.
    """
    if mount.type != "overlay":
        return mount._replace(options=(*mount.options, "ro"))
    upper = lower(mount.options, "upperdir=")
    kept = [option for option in mount.options if not option.startswith(("upperdir=", "workdir=", "lowerdir="))]
    stack = ":".join([*upper, *lower(mount.options, "lowerdir=")])
    return mount._replace(options=(f"lowerdir={stack}", *kept, "ro"))


def lower(options: Sequence[str], key: str) -> list[str]:
    """Return the directories that an overlay's options name after `key`, highest first."""
    for option in options:
        if option.startswith(key):
            return option.removeprefix(key).split(":")
    return []
