"""Layers to look at, in a child that sees them and nothing else: for COPY, for `commit`, for who wants to know.

    look(driver, {"base": chain_ids}, function)     function() in a child whose root has base/, for reading

The mounts are in the child's own mount namespace: nothing is mounted on the host. Its root is the place of these
mounts, so no link in an image leads out of it; it can import nothing from in there. See mount_namespaces(7), chroot(2).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from labrt.linux import process, rootfs
from labrt.linux.mounts import Mount

if TYPE_CHECKING:
    from labrt.image.digest import Digest
    from labrt.storage.driver import Driver

T = TypeVar("T")
READ = ("ro", "nodev")
PREFIX = "view-"  # of the driver's containers that are only there to look at layers; then comes a process id


def look(driver: Driver, layers: Mapping[str, Sequence[Digest]], function: Callable[[], T]) -> T:
    """Call `function` in a child where each of these stacks (base first, none is an empty one) is at /NAME.

    Returns what it returns, raises what it raises (both are pickled). It reaches files of the host by what is open.
    """
    with tempfile.TemporaryDirectory(prefix="labrt-view-") as place, contextlib.ExitStack() as stack:
        mounts = {name: stack.enter_context(shown(driver, chain_ids)) for name, chain_ids in layers.items()}
        for name in layers:
            os.mkdir(os.path.join(place, name))

        def child() -> T:
            for name, every in mounts.items():
                for mount in every:
                    mount.attach(os.path.join(place, name))
            rootfs.seal_imports()
            os.chroot(place)
            os.chdir("/")
            return function()

        return process.run_in_child(child, namespaces="mnt" if os.geteuid() == 0 else "user,mnt")


@contextlib.contextmanager
def shown(driver: Driver, chain_ids: Sequence[Digest]) -> Iterator[list[Mount]]:
    """Yield the mounts that show these layers, for reading."""
    name = f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
    try:
        yield [readable(mount) for mount in driver.prepare(name, chain_ids, durable=False)]
    finally:
        driver.remove(name)


def readable(mount: Mount) -> Mount:
    """Return a mount that shows the same and writes nothing.

    Of an overlay: with the upper directory as the highest of the lower ones. Mounted once more as an *upper* directory,
    its work directory would be emptied under the hands of the container that runs on it.
    """
    if mount.type != "overlay":
        return mount._replace(options=(*mount.options, *READ))
    upper = directories(mount.options, "upperdir=")
    return without_upper(mount, [*upper, *directories(mount.options, "lowerdir=")])


def without_upper(mount: Mount, lower: Sequence[str]) -> Mount:
    """Return an overlay for reading of these directories, the highest first."""
    kept = [option for option in mount.options if not option.startswith(("upperdir=", "workdir=", "lowerdir="))]
    return mount._replace(options=(f"lowerdir={':'.join(lower)}", *kept, *READ))


def directories(options: Sequence[str], key: str) -> list[str]:
    """Return the directories that an overlay's options name after `key`, highest first."""
    for option in options:
        if option.startswith(key):
            return option.removeprefix(key).split(":")
    return []
