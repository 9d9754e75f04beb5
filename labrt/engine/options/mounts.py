"""What a container sees at which place: -v, --mount, --tmpfs, --volumes-from, --shm-size, and its image's VOLUMEs.

    -v /host:/there[:ro,rslave]     a bind; a source that is not there is made, as a directory: Docker's way
    -v NAME:/there[:nocopy]         a volume           -v /there    an anonymous one
    --mount type=bind,…             the same in full; a source that is not there is an error
    --tmpfs /there[:size=64m]       memory

A bind is of the host's file or directory with all mounts below it, and private: what is mounted there later shows in
neither direction, unless a propagation word says so. See mount(8), mount_namespaces(7), tmpfs(5).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from labrt.engine.options.model import NAME, Options
from labrt.errors import InvalidInput
from labrt.image.config import ImageConfig
from labrt.linux.mounts import PROPAGATION, Mount

SHM = "/dev/shm"  # noqa: S108 - the container's
_BIND_WORDS = {"ro", "rw", "z", "Z", "nocopy", "idmap", "consistent", "cached", "delegated"}
_TMPFS_FLAGS = {
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "sync", "async", "dirsync", "mand", "nomand",
    "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "defaults",
}  # fmt: skip
_TMPFS_VALUES = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}


def check(options: Options) -> None:
    """Raise InvalidInput for what cannot be mounted."""
    every = [*map(volume, options.volumes), *map(described, options.mount), *map(tmpfs, options.tmpfs)]
    _check_places(every)
    shm_size(options)
    for text in options.volumes_from:
        source_of(text)
    if options.given("shm_size") and options.ipc not in ("private", "shareable"):
        raise InvalidInput(f"--shm-size with --ipc {options.ipc}: that /dev/shm is not its own", remedy="leave it out")


def _check_places(every: Iterable[Mount]) -> None:
    seen = set()
    for mount in every:
        place = os.path.normpath(mount.destination)
        if place in seen:
            raise InvalidInput(f"two mounts on {place}: one would hide the other", remedy="choose another place")
        seen.add(place)


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write --shm-size into config.json; the mounts themselves are `wanted`."""
    size = shm_size(options)
    for mount in config["mounts"]:
        if mount["destination"] == SHM and size:
            mount["options"] = [word for word in mount["options"] if not word.startswith("size=")] + [f"size={size}"]


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's Binds, Mounts, Tmpfs, VolumesFrom and ShmSize."""
    found: dict[str, Any] = {
        "Binds": list(options.volumes) or None,
        "Tmpfs": dict(text.partition(":")[::2] for text in options.tmpfs),
        "VolumesFrom": list(options.volumes_from) or None,
        "ShmSize": shm_size(options) or 64 << 20,
    }
    if options.mount:
        from labrt.engine.options import mount_words

        found["Mounts"] = [mount_words.to_api(text) for text in options.mount]
    return found


def wanted(options: Options, image: ImageConfig, inherited: Sequence[Mount]) -> list[Mount]:
    """List what the user, other containers and the image want mounted, the outermost first: /a would hide /a/b.

    Who is more explicit wins a place. Sources on the host that -v names and that are not there are made.
    """
    given = [*map(volume, options.volumes), *map(described, options.mount), *map(tmpfs, options.tmpfs)]
    for mount in given[: len(options.volumes)]:
        if mount.source.startswith("/") and not os.path.lexists(mount.source):
            os.makedirs(mount.source, 0o755)
    for mount in given:
        _check_propagation(mount)
    taken = {os.path.normpath(mount.destination) for mount in given}
    given += [mount for mount in inherited if os.path.normpath(mount.destination) not in taken]
    taken |= {os.path.normpath(mount.destination) for mount in given}
    given += image_volumes(image, taken)
    return sorted(given, key=lambda mount: os.path.normpath(mount.destination).count("/"))


def _check_propagation(mount: Mount) -> None:
    """Raise InvalidInput where nothing could propagate: the source's own mount must have a peer group to be in."""
    word = next((word for word in mount.options if word.removeprefix("r") in ("shared", "slave")), None)
    if word is None:
        return
    from labrt.linux import procfs

    path = f"{os.path.realpath(mount.source)}/"
    above = [one for one in procfs.mountinfo() if path.startswith(f"{one.mount_point.rstrip('/')}/")]
    nearest = max(reversed(above), key=lambda one: len(one.mount_point))  # of two on one place the later is seen
    if nearest.shared is None and (word.endswith("shared") or nearest.master is None):
        remedy = f"`mount --make-rshared {nearest.mount_point}`, or leave out {word}"
        what = f"{mount.source} lies on the mount {nearest.mount_point}, which is {nearest.propagation}"
        raise InvalidInput(f"{word} on {mount.destination}: {what}", remedy=remedy)


def make_way(config: dict[str, Any], wanted: Iterable[Mount]) -> None:
    """Take the usual mounts away where the user wants something else, and those below: /dev/shm, all of /dev."""
    places = {os.path.normpath(mount.destination) for mount in wanted}
    config["mounts"] = [
        mount for mount in config["mounts"]
        if not any(f"{mount['destination']}/".startswith(f"{place}/") for place in places)
    ]  # fmt: skip


def shm_size(options: Options) -> int | None:
    """Read --shm-size; None: the usual."""
    if options.shm_size is None:
        return None
    from labrt.linux.cgroups import units

    size = units.parse_size(options.shm_size)
    if not size:
        raise InvalidInput(f"--shm-size {options.shm_size}: nothing is no size", remedy="64m, say")
    return size


def volume(text: str) -> Mount:
    """Read `-v SRC:DST[:words]`. A source that is no path is a volume's name, "" an anonymous one."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise InvalidInput(f"--volume {text!r}: not understood", remedy="/on/host:/in/container[:ro], or NAME:/there")
    parts = parts if len(parts) > 1 else ["", *parts]  # the place alone: an anonymous volume
    source, destination, words = parts[0], parts[1], parts[2].split(",") if len(parts) == 3 else []
    is_volume = not source or NAME.fullmatch(source) is not None
    if not is_volume and not source.startswith("/"):
        raise InvalidInput(f"--volume {text}: {source!r} is not absolute", remedy='write "$PWD/…" for one from here')
    check_destination(destination, f"--volume {text}")
    unknown = set(words) - _BIND_WORDS - {*PROPAGATION}
    if unknown:
        remedy = f"one of ro, rw, nocopy, {', '.join(PROPAGATION)}"
        raise InvalidInput(f"--volume {text}: no mode is called {sorted(unknown)[0]!r}", remedy=remedy)
    spread = [word for word in words if word in PROPAGATION]
    if len(spread) > 1 or {"ro", "rw"} <= set(words):
        raise InvalidInput(f"--volume {text}: its modes contradict each other", remedy="give one of each kind")
    if is_volume and spread:
        raise InvalidInput(f"--volume {text}: a volume has no propagation", remedy="that is for paths of the host")
    if not is_volume and "nocopy" in words:
        raise InvalidInput(f"--volume {text}: nothing is ever copied to a path of the host", remedy="leave out nocopy")
    made = bind(destination, source, read_only="ro" in words, propagation=spread[0] if spread else "rprivate")
    mapped = "idmap" in words and not is_volume  # a volume always is, where there is a map
    return made._replace(options=(*made.options, "idmap")) if mapped else made


def bind(
    destination: str, source: str, *, read_only: bool = False, propagation: str = "rprivate", recursive: bool = True
) -> Mount:
    """Make the value. Read-only means all mounts below it, too."""
    words = ("rbind" if recursive else "bind", propagation, *(("rro",) if read_only else ()))
    return Mount(destination, "bind", source, words)


def check_destination(destination: str, where: str) -> None:
    """Raise InvalidInput where nothing may be mounted: / is the image, and of /proc the kernel's own word must hold."""
    place = os.path.normpath(destination)
    if not destination.startswith("/") or place == "/" or "\0" in place:
        raise InvalidInput(f"{where}: {destination!r} cannot be mounted on", remedy="an absolute path, not /")
    if f"{place}/".startswith("/proc/"):
        remedy = "programs trust what they read there; choose another place"
        raise InvalidInput(f"{where}: {destination!r} cannot be mounted on", remedy=remedy)


def tmpfs(text: str) -> Mount:
    """Read `--tmpfs DST[:options]`: nosuid, nodev and noexec unless the options say otherwise."""
    destination, _, given = text.partition(":")
    check_destination(destination, f"--tmpfs {text}")
    words = [word for word in given.split(",") if word]
    for word in words:
        name, equals, value = word.partition("=")
        if not (name in _TMPFS_VALUES and value if equals else name in _TMPFS_FLAGS):
            known = ", ".join(sorted(_TMPFS_VALUES))
            remedy = f"a flag of mount(8) such as exec, or one of {known} with a value"
            raise InvalidInput(f"--tmpfs {text}: there is no option {word!r}", remedy=remedy)
    return Mount(destination, "tmpfs", "tmpfs", ("nosuid", "nodev", "noexec", *words))


def described(text: str) -> Mount:
    """Read `--mount`, see mount_words.py."""
    from labrt.engine.options import mount_words

    return mount_words.parse(text).to_mount()


def no_copies(options: Options) -> set[str]:
    """Return the places of volumes that are not to be filled from the image."""
    found = {volume(text).destination for text in options.volumes if "nocopy" in text.rpartition(":")[2].split(",")}
    for text in options.mount:
        from labrt.engine.options import mount_words

        mount = mount_words.parse(text)
        found |= {mount.target} if mount.nocopy else set()
    return found


def source_of(text: str) -> tuple[str, str]:
    """Read `--volumes-from NAME[:ro]`: (name, "ro", "rw" or "")."""
    name, colon, mode = text.partition(":")
    if not name or (colon and not set(mode.split(",")) <= {"ro", "rw", "z", "Z"}):
        raise InvalidInput(f"--volumes-from {text!r}: not understood", remedy="NAME, or NAME:ro")
    return name, "ro" if "ro" in mode.split(",") else "rw" if "rw" in mode.split(",") else ""


def image_volumes(image: ImageConfig, taken: Collection[str]) -> list[Mount]:
    """Return an anonymous volume for each VOLUME of the image, but where something is already."""
    places = []
    for text in image.volumes:
        place = os.path.normpath("/" + text.lstrip("/"))
        if "\0" in place or place.split("/")[1] in ("", "proc", "sys"):
            remedy = "whoever made this image knows why; do not trust it"
            raise InvalidInput(f"the image wants a volume at {text!r:.100}, where none can be", remedy=remedy)
        if place not in taken:
            places.append(place)
    return [bind(place, "") for place in dict.fromkeys(places)]
