"""The overlay driver: each layer is one directory, and the kernel lays them on top of each other.

    containers/<id>/upper    what the container wrote: whole files, copied up at their first change
    containers/<id>/work     overlayfs's own scratch room, on the same file system as upper
    l/<24 hex digits>        short links to the layers' directories

A container costs one empty directory, and twenty containers of an image share its files, in the page cache too. Of
lowerdir's layers the *highest comes first*, against the order of everything else here. The mount options must fit into
one page of memory, 4096 bytes, shared by up to 128 layers: hence the short links.

See the kernel's filesystems/overlayfs.rst and mount(2). Notebook 10.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import partial

from labrt.errors import Conflict, LabrtError
from labrt.image.digest import Digest
from labrt.image.tree import remove_path
from labrt.linux import process
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage.directories import Directories, new_root
from labrt.storage.workshop import is_host_root

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from labrt.image.compression import Readable
    from labrt.image.layer import Applied

# 96 bits: nobody can make a layer whose short name is that of another image's layer.
_SHORT = 24


class Overlay(Directories):
    """Layers united by overlayfs."""

    name = "overlay"

    @staticmethod
    def can_use(paths: Paths) -> str | None:
        """Return None when overlayfs works on the layers' file system, else the reason why not. It is tried."""
        place = os.path.join(paths.layers, f".try-{os.urandom(4).hex()}")
        if unusable := set(place) & set(":,\\"):
            return f"overlay's options cannot have {''.join(sorted(unusable))!r} in a path, as {paths.layers} has"
        try:
            os.makedirs(place)
            for name in ("low", "high", "upper", "work", "root"):
                os.mkdir(os.path.join(place, name))
            trusted = is_host_root()
            process.run_in_child(partial(_try, place, trusted), namespaces="mnt" if os.geteuid() == 0 else "user,mnt")
        except (LabrtError, OSError) as error:
            return f"{error}; {paths.layers} is on {_file_system(paths.layers)}"
        finally:
            remove_path(place)
        return None

    def short(self, chain_id: Digest) -> str:
        """Return the short path of a layer's directory, as it appears in lowerdir."""
        return os.path.join(self.root, "l", chain_id.hex[:_SHORT])

    def _unpack(self, target: str, below: Sequence[Digest], stream: Readable) -> Applied:
        from labrt.storage import unpacking

        new_root(target, self.diff(below[-1]) if below else None)
        lowers = [self.diff(chain_id) for chain_id in reversed(below)]
        return unpacking.apply(stream, target, whiteouts="overlay", lowers=lowers)

    def _published(self, chain_id: Digest) -> None:
        target = os.path.join("..", "layers", chain_id.hex, "diff")
        os.makedirs(os.path.join(self.root, "l"), exist_ok=True)
        try:
            os.symlink(target, self.short(chain_id))
        except FileExistsError:
            if os.readlink(self.short(chain_id)) != target:
                raise Conflict(f"two layers' chain ids begin with {chain_id.hex[:_SHORT]}") from None

    def _unpublished(self, chain_id: Digest) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.short(chain_id))

    def _make_root(self, container: str, chain_ids: Sequence[Digest]) -> None:
        # The root's own owner and mode are the upper directory's: overlayfs does not look for them below.
        new_root(os.path.join(container, "upper"), self.diff(chain_ids[-1]) if chain_ids else None)
        os.mkdir(os.path.join(container, "work"), 0o700)
        if not chain_ids:
            os.mkdir(os.path.join(container, "empty"), 0o755)  # overlayfs wants a lower directory: FROM scratch

    def _mounts(self, container: str, chain_ids: Sequence[Digest]) -> list[Mount]:
        lower = [self.short(chain_id) for chain_id in reversed(chain_ids)] or [os.path.join(container, "empty")]
        upper, work = os.path.join(container, "upper"), os.path.join(container, "work")
        return [_mount("/", lower, upper, work, trusted=is_host_root())]


def _mount(destination: str, lower: Sequence[str], upper: str, work: str, *, trusted: bool) -> Mount:
    """Describe an overlay; `lower` has the highest layer first."""
    options = [f"lowerdir={':'.join(lower)}", f"upperdir={upper}", f"workdir={work}"]
    # index=off: an index remembers its lower directories by file handle and refuses the upper directory on others;
    # ours may be copied or moved with all of /var/lib/labrt. Without it a hard link is broken at copy-up, as in Docker.
    options.append("index=off")
    # metacopy=off, redirect_dir=off: the upper directory must hold whole files under their own names, or packing it
    # into a layer would lose content. So chmod copies a file up, and rename(2) of a lower directory gives EXDEV.
    options.append("metacopy=off")
    # xino=auto: where layers lie on several file systems, inode numbers still tell files apart.
    options.append("xino=auto")
    # userxattr: trusted.* attributes need CAP_SYS_ADMIN in the first user namespace. It brings redirect_dir=nofollow,
    # which makes no redirects either, and refuses the word "off".
    options.append("redirect_dir=off" if trusted else "userxattr")
    return Mount(destination, "overlay", "overlay", tuple(options))


def _file_system(path: str) -> str:
    """Name the type of the file system that a path is or would be on. An overlay's upper directory suits not all."""
    with contextlib.suppress(OSError, LabrtError):
        while not os.path.exists(path):
            path = os.path.dirname(path)
        number = os.stat(path).st_dev
        device = f"{os.major(number)}:{os.minor(number)}"
        from labrt.linux import procfs

        for mount in procfs.mountinfo():
            if mount.device == device:
                return mount.fstype
    return "an unknown file system"


def _try(place: str, trusted: bool) -> None:
    """Find out whether whiteouts hide, opaque hides and a write is copied up. Wants a mount namespace of its own."""
    low, high, upper, work, root = (os.path.join(place, name) for name in ("low", "high", "upper", "work", "root"))
    for name in ("kept", "gone"):
        with open(os.path.join(low, name), "w") as file:
            file.write(name)
    for directory in (low, high):
        os.mkdir(os.path.join(directory, "d"))
    os.mkdir(os.path.join(low, "d", "hidden"))
    from labrt.image.whiteouts import Overlay as Marks

    marks = Marks(trusted=trusted)
    fd = os.open(high, os.O_RDONLY | os.O_DIRECTORY)
    try:
        marks.hide(fd, "gone", "gone", set())
        marks.mark(fd, "d")
    finally:
        os.close(fd)
    _mount("/", [high, low], upper, work, trusted=trusted).attach(root)
    with open(os.path.join(root, "kept"), "a") as file:
        file.write(" and changed")
    seen = sorted(os.listdir(root)), os.listdir(os.path.join(root, "d")), os.listdir(upper)
    if seen != (["d", "kept"], [], ["kept"]):
        raise LabrtError(f"overlayfs mounts here, but shows {seen}")
