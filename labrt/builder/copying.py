"""Files into a layer: what COPY, ADD and WORKDIR bring, as an archive of just that, made without a container.

    plan = Plan(sources, "/srv/", owner="app:app", …)      with / at its end the target is a directory
    write(base, roots, plan, stream)        the layer, uncompressed; what is in it was never written anywhere else

Where a name leads is looked up in the image's root, `base`, which nothing leads out of: /bin may be a link to /usr/bin.
The archive has what is copied and the directories that had to be made for it; of those that lead there it names none
that is there already, so its bytes depend on nothing but its content. Made directories have the time of the newest
thing copied.
Specification: OCI image-spec, layer.md.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile  # for writing: what we write is no stranger's
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

from labrt.builder import adding, selecting
from labrt.builder.ignore import Patterns
from labrt.builder.selecting import Root, Source
from labrt.errors import InvalidInput, NotFound
from labrt.image import pack
from labrt.image.whiteouts import PREFIX

_SYMBOLIC = re.compile(r"([ugoa]*)([=+-])([rwxXst]*)")
_LARGEST = 1 << 20  # bytes that are read of an image's /etc/passwd and /etc/group


class Plan(NamedTuple):
    """What is to be copied. `sources` are pairs: which of the roots, and a word.

    `target` is absolute. `owner` "" is root's, or what it was where `owners` are kept. `mode` "" is as it was. `latest`
    cuts times down to this one (SOURCE_DATE_EPOCH), `moment` is the time of what has none; both in seconds.
    """

    sources: tuple[tuple[str, str], ...]
    target: str
    owner: str = ""
    mode: str = ""
    owners: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    unpack: bool = False
    latest: int | None = None
    moment: int = 0
    directory: bool = False  # make the target itself: WORKDIR


def write(base: Root, roots: Mapping[str, Root], plan: Plan, stream: IO[bytes]) -> int:
    """Write the layer; return how many entries it has. Raises NotFound for a source, InvalidInput for a conflict."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        layer = _Layer(base, archive, plan)
        if plan.directory:
            layer.reach(plan.target, plan.moment)
            return layer.count
        found = [(roots[key], source) for key, text in plan.sources for source in selecting.select(roots[key], [text])]
        into = plan.target.endswith("/") or len(found) > 1 or plan.parents or layer.is_directory(plan.target)
        for root, source in found:
            layer.copy(root, source, into)
        return layer.count


class _Layer:
    """The archive being written. `dirs` says which directory of the image, without links, each that we are in is."""

    def __init__(self, base: Root, archive: tarfile.TarFile, plan: Plan) -> None:
        self.base, self.archive, self.plan = base, archive, plan
        self.owner = owner_of(base, plan.owner) if plan.owner else None
        self.exclude = Patterns(plan.exclude)
        self.dirs: dict[str, str] = {"": ""}
        self.made: set[str] = set()
        self.links: dict[tuple[int, int], str] = {}  # where a file with several names has got its first
        self.count = 0

    def is_directory(self, target: str) -> bool:
        _, found = self.base.resolve(target)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def copy(self, root: Root, source: Source, into: bool) -> None:
        """Copy one source to the target, or `into` it."""
        target = os.path.normpath(self.plan.target).lstrip("/")
        if self.plan.parents:
            inner = source.asked.partition("/./")[2] if "/./" in source.asked else source.asked
            target = os.path.join(target, inner)
        elif not source.is_directory and into:
            target = os.path.join(target, os.path.basename(source.asked) or os.path.basename(source.path))
        if source.is_directory:
            self._directory(root, source, target)
        elif self.plan.unpack and adding.is_archive(root, source):
            self._unpack(root, source)
        else:
            self.reach(os.path.dirname(target), int(source.status.st_mtime))
            self._add(root, source.path, target, source.status)

    def _directory(self, root: Root, source: Source, target: str) -> None:
        """Copy what is in a directory. The target is a directory like others, whatever the source is like."""
        every = [*selecting.walk(root, source, self.exclude)]
        newest = max((int(status.st_mtime) for _, _, status in every), default=int(source.status.st_mtime))
        self.reach(target, newest)
        for path, name, status in every:
            self._add(root, path, os.path.join(target, name), status)

    def _unpack(self, root: Root, source: Source) -> None:
        target = os.path.normpath(self.plan.target).lstrip("/")
        self.reach(target, int(source.status.st_mtime))
        with adding.opened(root, source) as entries:
            for info, content in entries:
                name = os.path.normpath(os.path.join(target, info.name))
                self.reach(os.path.dirname(name), int(info.mtime))
                info.name = self._place(name, info.isdir())
                if info.islnk():
                    other = os.path.normpath(os.path.join(target, info.linkname))
                    self.reach(os.path.dirname(other), int(info.mtime))
                    info.linkname = self._place(other, False)
                self._write(info, content)

    # Directories ------------------------------------------------------------------------------------------------------

    def reach(self, path: str, mtime: int) -> None:
        """Make a directory, and those above it, where they are not."""
        path = path.strip("/")
        if path in self.dirs:
            return
        self.reach(os.path.dirname(path), mtime)
        real, found = self.base.resolve(path)
        above = self.dirs[os.path.dirname(path)]
        if found is not None and above not in self.made:
            if not stat.S_ISDIR(found.st_mode):
                raise InvalidInput(f"/{path} is no directory", remedy="nothing can be copied into it")
            self.dirs[path] = real
            return
        info = tarfile.TarInfo(self._place(path, True))
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, mtime
        self._write(info)

    def _place(self, path: str, is_directory: bool) -> str:
        """Return the name in the archive: of the place where this leads in the image. Raises InvalidInput."""
        parent, name = os.path.split(path)
        if name.startswith(PREFIX):
            raise InvalidInput(f"/{path}: in a layer, such a name removes another", remedy="no file may be called so")
        above = self.dirs[parent]
        place = os.path.join(above, name)
        found = None if above in self.made else self.base.look(place)
        if is_directory and found is not None and stat.S_ISLNK(found.st_mode):
            real, behind = self.base.resolve(place)
            if behind is not None:
                place, found = real, behind
        if found is not None and place and stat.S_ISDIR(found.st_mode) != is_directory:
            there, new = ("a directory", "a file") if not is_directory else ("a file", "a directory")
            raise InvalidInput(f"/{path} is {there} in the image, and {new} is to be copied to it")
        if is_directory:
            self.dirs[path] = place
            if found is None:
                self.made.add(place)
        return place

    # Entries ----------------------------------------------------------------------------------------------------------

    def _add(self, root: Root, path: str, target: str, status: os.stat_result) -> None:
        if target in self.dirs and stat.S_ISDIR(status.st_mode) and target in self.made:
            return  # two sources have a directory of this name
        info = pack.bare(self._place(target, stat.S_ISDIR(status.st_mode)), status)
        if not self.plan.owners:
            info.uid = info.gid = 0
        if info.issym():
            info.linkname = root.target(path)
        same = self.links.setdefault((status.st_dev, status.st_ino), info.name) if status.st_nlink > 1 else info.name
        if same != info.name and not info.isdir():
            info.type, info.linkname = tarfile.LNKTYPE, same
        if not info.isreg():
            self._write(info)
            return
        fd = root.open(path)
        with open(fd, "rb") as content:
            now = os.fstat(fd)
            if not stat.S_ISREG(now.st_mode):
                raise InvalidInput(f"/{path} has changed while it was copied", remedy="try again")
            info.size = now.st_size
            info.pax_headers = pack.attributes(fd)
            self._write(info, content)

    def _write(self, info: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        if self.owner:
            info.uid, info.gid = self.owner
        if self.plan.mode and not info.issym():
            info.mode = mode_of(self.plan.mode, info.mode, info.isdir())
        if self.plan.latest is not None:
            info.mtime = min(info.mtime, self.plan.latest)
        info.uname = info.gname = ""
        self.archive.addfile(info, content)
        self.count += 1


def mode_of(text: str, mode: int, is_directory: bool) -> int:
    """Return what chmod(1) would make of a mode: "755", or "u=rwX,go=rX". Raises InvalidInput."""
    if re.fullmatch("[0-7]{1,5}", text):
        return int(text, 8) & 0o7777
    for clause in text.split(","):
        match = _SYMBOLIC.fullmatch(clause)
        if not match:
            raise InvalidInput(f"--chmod={text:.40} is no mode", remedy="755, or u=rwX,go=rX")
        whose = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
        mask = 0
        for letter in match[1] or "a":
            mask |= whose[letter]
        bits = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
        bits["X"] = 0o111 if is_directory or mode & 0o111 else 0
        given = 0
        for letter in match[3]:
            given |= bits[letter]
        given &= mask
        mode = mode | given if match[2] == "+" else mode & ~given if match[2] == "-" else mode & ~mask | given
    return mode


def owner_of(base: Root, text: str) -> tuple[int, int]:
    """Read USER[:GROUP], by number or by name, which the image's /etc/passwd and /etc/group say. Raises NotFound.

    A number without a group is its own group, a name has the one that /etc/passwd says.
    """
    user, colon, group = text.partition(":")
    if user.isdecimal():
        uid, gid = int(user), int(user)
    else:
        line = next((line for line in _table(base, "/etc/passwd") if line[0] == user and len(line) > 3), None)
        if line is None:
            raise NotFound(f"no user {user:.40} in the image's /etc/passwd", remedy="give its number")
        uid, gid = int(line[2]), int(line[3])
    if colon and group.isdecimal():
        gid = int(group)
    elif colon:
        found = next((line for line in _table(base, "/etc/group") if line[0] == group and len(line) > 2), None)
        if found is None:
            raise NotFound(f"no group {group:.40} in the image's /etc/group", remedy="give its number")
        gid = int(found[2])
    if max(uid, gid) >= (1 << 32) - 1:
        raise InvalidInput(f"--chown={text:.40}: no such number can be", remedy="0 to 4294967294")
    return uid, gid


def _table(base: Root, path: str) -> Sequence[list[str]]:
    """Read passwd(5) or group(5), of which the image's author may have made anything."""
    real, found = base.resolve(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return []
    with open(base.open(real), "rb") as file:
        text = file.read(_LARGEST).decode(errors="replace")
    lines = (line.split(":") for line in text.splitlines())
    return [line for line in lines if all(number.isdecimal() for number in line[2 : 3 + ("passwd" in path)])]
