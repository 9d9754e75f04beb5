"""Making what a layer's entries say: one method per kind of entry, with owner, mode, times and attributes.

An `Unpacker` lives for one layer (layer.py feeds it) and remembers what that layer has made, because whiteouts speak of
lower layers only. Order matters to the kernel: chown takes set-user-ID bits and file capabilities away, so mode and
attributes come after it; and writing into a directory changes its mtime, so directories get theirs at the very end.
See chown(2), utimensat(2), mknod(2), link(2), xattr(7); OCI image-spec, layer.md. Notebooks 02 and 10.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from labrt.errors import UnsafeLayer
from labrt.image import lower, sparse, whiteouts
from labrt.image.compression import Source
from labrt.image.powers import Powers
from labrt.image.tar import Entry, is_kept
from labrt.image.tree import Tree


class Unpacker:
    """One layer being unpacked.

    `made` are the paths that this layer brought, with their parent directories. `times` are the directories whose
    mtime and mode must be set at the end, when nothing changes in them any more.
    """

    def __init__(self, tree: Tree, marks: str, lowers: Sequence[str], powers: Powers) -> None:
        self.tree = tree
        self.overlay = whiteouts.Overlay(trusted=powers.devices) if marks == "overlay" else None
        self.aufs = whiteouts.Aufs() if marks == "aufs" else None
        self.marker = self.overlay or self.aufs
        self.hider: whiteouts.Hider = self.marker or whiteouts.Delete()
        self.lowers = lowers
        self.powers = powers
        self.as_root = powers.root
        self.foreign = 0  # how many entries belong to somebody who does not exist here
        self.made: set[str] = set()
        self.opaque: set[str] = set()
        self.times: dict[str, tuple[int, int]] = {}
        self._touched: tuple[str, ...] | None = None

    def unpack(self, entry: Entry, source: Source) -> None:
        """Make what one entry says, below whatever directories it needs."""
        names = _split(entry.name)
        if any(name.startswith(whiteouts.META) and name != whiteouts.OPAQUE_NAME for name in names):
            return  # the bookkeeping of AUFS, which means nothing here
        if any(name.startswith(whiteouts.PREFIX) for name in names[:-1]):
            raise UnsafeLayer(f"{entry.name!r:.200}: a whiteout is no directory")
        if not names:
            self._root(entry)
            return
        above = self._enter(names[:-1])
        name = names[-1]
        if name.startswith(whiteouts.PREFIX):
            self._hide(above, name)
            return
        path = self._path(name)
        getattr(self, f"_{entry.kind}")(above, name, entry, source)
        if entry.kind != "directory" and self.tree.here:
            self.made.add("/".join(self.tree.here))
        self.made.add(path)

    def finish(self) -> None:
        """Set the directories' modes and times, deepest first: a closed parent would keep an ordinary user out."""
        for path in sorted(self.times, key=lambda path: path.count("/") if path else -1, reverse=True):
            mode, mtime = self.times[path]
            *parents, name = path.split("/") if path else ["."]
            above = self.tree.enter(parents)
            os.utime(name, ns=(mtime, mtime), dir_fd=above, follow_symlinks=False)
            if not self.as_root:
                os.chmod(name, mode, dir_fd=above)

    def _path(self, name: str) -> str:
        return "/".join((*self.tree.here, name))

    # Directories above ------------------------------------------------------------------------------------------------

    def _enter(self, names: Sequence[str]) -> int:
        """Enter the directory that an entry is in, and note it and all above it as touched by this layer."""
        above = self.tree.enter(names, self._missing)
        here = self.tree.here
        if here != self._touched:
            for depth in range(len(here) + 1):
                path = "/".join(here[:depth])
                self.made.add(path)
                if path not in self.times:
                    found = os.fstat(self.tree.descriptor(depth))
                    self.times[path] = (stat.S_IMODE(found.st_mode), found.st_mtime_ns)
            self._touched = here
        return above

    def _missing(self, above: int, names: tuple[str, ...]) -> str | None:
        """Make a parent directory that the layer does not list, as it is in the layers below; see Tree.enter."""
        name, path = names[-1], "/".join(names)
        was_hidden = self._vacate(above, name, path, for_parent=True)
        hidden = was_hidden or any("/".join(names[:depth]) in self.opaque for depth in range(len(names)))
        below = None if hidden else lower.find(self.lowers, names)
        if isinstance(below, str):
            return below
        os.mkdir(name, 0o700, dir_fd=above)
        if below is None:
            os.chmod(name, 0o755, dir_fd=above)
        else:
            self._owner(above, name, below.st_uid, below.st_gid)
            mode = stat.S_IMODE(below.st_mode)
            os.chmod(name, mode if self.as_root else mode | 0o700, dir_fd=above)
            self.times[path] = (mode, below.st_mtime_ns)
        if was_hidden:
            self._mark(above, name, path)
        return None

    def _vacate(self, above: int, name: str, path: str, *, for_parent: bool = False) -> bool:
        """Remove what is at the entry's place. Return whether that was our own mark that it is removed below."""
        hidden = self._is_hidden(above, name)
        try:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return hidden
        marked = self.overlay is not None and lower.is_whiteout(found)
        if for_parent and path in self.made and not marked:
            raise UnsafeLayer(f"{path!r:.200} is a file and a directory in one layer")
        self.tree.remove(above, name)
        if stat.S_ISDIR(found.st_mode):
            self._forget(path)
        return marked or hidden

    def _is_hidden(self, above: int, name: str) -> bool:
        """Whether AUFS's mark, which stands beside what is there, says that it was removed below."""
        return self.aufs is not None and self.aufs.hides(above, name)

    def _forget(self, path: str) -> None:
        """Forget a directory that an entry of this layer replaced."""
        below = f"{path}/"
        for known in (self.made, self.opaque):
            known -= {item for item in known if item == path or item.startswith(below)}
        self.times = {item: times for item, times in self.times.items() if item != path and not item.startswith(below)}

    # Whiteouts --------------------------------------------------------------------------------------------------------

    def _hide(self, above: int, name: str) -> None:
        here = "/".join(self.tree.here)
        if name == whiteouts.OPAQUE_NAME:
            self.hider.hide_all(above, here, self.made)
            self.opaque.add(here)
            return
        hidden = whiteouts.hidden_name(name)
        path = self._path(hidden)
        self.hider.hide(above, hidden, path, self.made)
        self.opaque.add(path)

    def _mark(self, above: int, name: str, path: str) -> None:
        if self.marker is not None:
            self.marker.mark(above, name)
            self.opaque.add(path)

    # One method per kind of entry -------------------------------------------------------------------------------------

    def _root(self, entry: Entry) -> None:
        if entry.kind != "directory" or not entry.name:
            raise UnsafeLayer(f"{entry.name!r} is no name for a {entry.kind}")
        above = self._enter(())
        self._directory_attributes(above, ".", "", entry, existed=True)

    def _directory(self, above: int, name: str, entry: Entry, _: Source) -> None:
        path, existed, marked = self._path(name), False, self._is_hidden(above, name)
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            existed = stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
            if not existed:
                marked = self._vacate(above, name, path) or marked
                os.mkdir(name, 0o700, dir_fd=above)
        self._directory_attributes(above, name, path, entry, existed=existed)
        if marked:
            # The layer removed the lower one and brings a new one: the old one's files must not come back in it.
            self._mark(above, name, path)

    def _directory_attributes(self, above: int, name: str, path: str, entry: Entry, *, existed: bool) -> None:
        mode = self.powers.mode(entry.mode, self._owner(above, name, entry.uid, entry.gid))
        os.chmod(name, mode if self.as_root else mode | 0o700, dir_fd=above)
        self._attributes(f"/proc/self/fd/{above}/{name}", entry, replace=existed)
        self.times[path] = (mode, entry.mtime)

    def _file(self, above: int, name: str, entry: Entry, source: Source) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, 0o600, dir_fd=above)
        except FileExistsError:
            self._vacate(above, name, self._path(name))
            fd = os.open(name, flags, 0o600, dir_fd=above)
        try:
            for offset, piece in sparse.pieces(entry, source):
                while piece:
                    written = os.pwrite(fd, piece, offset)
                    offset, piece = offset + written, piece[written:]
            if entry.segments is not None:
                os.truncate(fd, entry.size)  # a hole at the end is no data, but length
            owner = self._owner_here(entry.uid, entry.gid)
            if self.as_root:
                os.chown(fd, *owner)
            # After chown, which takes the set-user-ID bit and capabilities away.
            os.chmod(fd, self.powers.mode(entry.mode, owner))
            self._attributes(fd, entry)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _hardlink(self, above: int, name: str, entry: Entry, _: Source) -> None:
        target, here, path = _split(entry.linkname), self.tree.here, self._path(name)
        if not target:
            raise UnsafeLayer(f"{entry.name!r:.200} is a hard link to {entry.linkname!r:.200}")
        holder = os.dup(self.tree.enter(target[:-1]))
        try:
            same = self._path(target[-1]) == path
            found = os.stat(target[-1], dir_fd=holder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) or (self.overlay and lower.is_whiteout(found)):
                raise UnsafeLayer(f"{entry.name!r:.200} is a hard link to {entry.linkname!r:.200}, no file")
            above = self.tree.enter(here)
            if not same:
                self._vacate(above, name, path)
                os.link(target[-1], name, src_dir_fd=holder, dst_dir_fd=above, follow_symlinks=False)
        finally:
            os.close(holder)

    def _symlink(self, above: int, name: str, entry: Entry, _: Source) -> None:
        if not entry.linkname:
            raise UnsafeLayer(f"{entry.name!r:.200} is a symbolic link to nothing")
        self._vacate(above, name, self._path(name))
        os.symlink(entry.linkname, name, dir_fd=above)  # it may point anywhere: nothing here follows it
        self._owner(above, name, entry.uid, entry.gid)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=above, follow_symlinks=False)

    def _fifo(self, above: int, name: str, entry: Entry, _: Source) -> None:
        self._node(above, name, entry, stat.S_IFIFO)

    def _char(self, above: int, name: str, entry: Entry, _: Source) -> None:
        if entry.major == entry.minor == 0:
            raise UnsafeLayer(f"{entry.name!r:.200} is a device 0:0, by which overlayfs marks removed files")
        self._node(above, name, entry, stat.S_IFCHR)

    def _block(self, above: int, name: str, entry: Entry, _: Source) -> None:
        self._node(above, name, entry, stat.S_IFBLK)

    def _node(self, above: int, name: str, entry: Entry, kind: int) -> None:
        self._vacate(above, name, self._path(name))
        if kind != stat.S_IFIFO and not self.powers.devices:
            return
        if entry.major > 0xFFF or entry.minor > 0xFFFFF:
            raise UnsafeLayer(f"{entry.name!r:.200}: there is no device {entry.major}:{entry.minor}")
        os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=above)
        owner = self._owner(above, name, entry.uid, entry.gid)
        os.chmod(name, self.powers.mode(entry.mode, owner), dir_fd=above)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=above, follow_symlinks=False)

    # Attributes -------------------------------------------------------------------------------------------------------

    def _owner(self, above: int, name: str, uid: int, gid: int) -> tuple[int, int]:
        owner = self._owner_here(uid, gid)
        if self.as_root:
            os.chown(name, *owner, dir_fd=above, follow_symlinks=False)
        return owner

    def _owner_here(self, uid: int, gid: int) -> tuple[int, int]:
        """Say what to give to chown(2), and count those whose owner there is not, and who become root's."""
        owner = self.powers.owner(uid, gid)
        self.foreign += self.as_root and -1 in owner
        return owner

    def _attributes(self, where: int | str, entry: Entry, *, replace: bool = False) -> None:
        """Set extended attributes, as root file capabilities too. `replace` takes away those of a lower layer."""
        if replace:
            for key in filter(is_kept, os.listxattr(where)):
                if key not in entry.xattrs:
                    os.removexattr(where, key)
        for key, value in entry.xattrs.items():
            if is_kept(key) and (self.as_root or key.startswith("user.")):
                try:
                    os.setxattr(where, key, value)
                except OSError as error:
                    if error.errno != errno.ENOTSUP or not key.startswith("user."):
                        raise


def _split(name: str) -> list[str]:
    """Return a name's parts. An absolute name begins at the layer's root, as all engines read it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeLayer(f"{name!r:.200} leads out of the layer", remedy="no name in a layer may contain '..'")
    return parts
