"""A look at what a container sees as its root, without being in it: for export, diff and commit.

    look(container, function)                function(View(root, below, upper)) in a child that alone has these mounts

The container's root, and if it is asked for that of its image, are mounted in a mount namespace of the child's own, for
reading: nothing is mounted on the host, and a container that runs goes on writing. It may write against us: put a link
to /etc where a directory was when we looked. So the child's own root is the place of these mounts and nothing else:
no name and no link leads out of it, and what the container calls a device is none. See mount_namespaces(7), chroot(2).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from labrt.engine.images import Images
from labrt.image.config import ImageConfig
from labrt.image.digest import Digest
from labrt.linux import process, rootfs
from labrt.linux.mounts import Mount
from labrt.storage.looking import PREFIX, READ, directories, readable, shown, without_upper

if TYPE_CHECKING:
    from labrt.engine.containers import Container
    from labrt.storage.driver import Driver

__all__ = ["PREFIX", "View", "look"]

T = TypeVar("T")


class View(NamedTuple):
    """What is to be seen: a container's root, its image's root (or ""), and overlayfs's upper directory (or "")."""

    root: str
    below: str
    upper: str


def look(container: Container, function: Callable[[View], T], *, image: bool = False, confined: bool = True) -> T:
    """Call `function` with a View, and return what it returns or raise what it raises (both are pickled).

    `image`: show the image's root, too. `function` can import nothing, and reach no file of the host but what is open.
    Not `confined`, it can: for a container that does not run yet, whose files nobody moves meanwhile.
    """
    driver = Images(container.where).driver
    mounts = driver.mounts(container.id)
    with tempfile.TemporaryDirectory(prefix="labrt-view-") as place, contextlib.ExitStack() as stack:
        root, below, upper = (os.path.join(place, name) for name in View._fields)
        for directory in (root, below, upper):
            os.mkdir(directory)
        lower = stack.enter_context(_image(driver, container, mounts)) if image else []
        written = directories(mounts[0].options, "upperdir=") if mounts[0].type == "overlay" else []

        def child() -> T:
            for mount in mounts:
                readable(mount).attach(root)
            for mount in lower:
                mount.attach(below)
            for path in written:
                Mount("/", "bind", path, ("bind", *READ)).attach(upper)
            if confined:
                rootfs.seal_imports()
                os.chroot(place)
                os.chdir("/")
            at = "" if confined else place
            return function(View(f"{at}/root", f"{at}/below" if image else "", f"{at}/upper" if written else ""))

        return process.run_in_child(child, namespaces="mnt" if os.geteuid() == 0 else "user,mnt")


@contextlib.contextmanager
def _image(driver: Driver, container: Container, mounts: Sequence[Mount]) -> Iterator[list[Mount]]:
    """Yield the mounts that show the root which the container began with."""
    if mounts[0].type == "overlay":
        lower = directories(mounts[0].options, "lowerdir=")
        only = Mount("/", "bind", lower[0], ("bind", *READ))
        yield [only if len(lower) == 1 else without_upper(mounts[0], lower)]
        return
    with shown(driver, _chain_ids(container)) as mounts_of_image:
        yield mounts_of_image


def _chain_ids(container: Container) -> tuple[Digest, ...]:
    raw = Images(container.where).layout.read(container.image_id)
    return ImageConfig.parse(raw).chain_ids
