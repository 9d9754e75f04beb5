"""What a container can be told, in the words of `docker run`, and the config.json that comes of it.

    options = Options("busybox", ("sh",), memory="64m", volumes=["/srv:/data:ro"])
    config = to_config(options, image.config, id, directory)

The table of notebook 16, from flag to JSON, is this file.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from labrt.errors import InvalidInput
from labrt.image.config import ImageConfig
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci

NETWORKS = ("none", "host")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?")
SMALLEST_MEMORY = 6 << 20  # bytes; with less, a container's init is killed before it can say why. Docker's limit, too.


@dataclass(frozen=True)
class Options:
    """What a container shall be. Every field but the image has a default, and the default is Docker's."""

    image: str
    command: Sequence[str] = ()
    name: str | None = None
    env: Sequence[str] = ()  # "A=1", or "A" for the caller's own value
    workdir: str | None = None
    user: str | None = None  # name or uid, then perhaps ":" and a group
    hostname: str | None = None
    volumes: Sequence[str] = ()  # "/host:/container[:ro]", "NAME:/container[:ro]", "/container" for an anonymous one
    read_only: bool = False
    memory: int | str | None = None  # bytes, or "64m"
    memory_swap: int | str | None = None  # memory and swap together; None and 0: twice the memory; -1: no limit
    cpus: float | None = None
    pids_limit: int | None = None  # None, 0 and -1: no limit
    entrypoint: str | Sequence[str] | None = None
    network: str = "none"
    platform: str | None = None
    pull: str = "missing"
    interactive: bool = False
    tty: bool = False
    remove: bool = False
    console_size: tuple[int, int] | None = None  # rows, columns

    def __post_init__(self) -> None:
        if self.name is not None and not _NAME.fullmatch(self.name):
            remedy = "letters, digits, _ . -; two or more"
            raise InvalidInput(f"--name {self.name!r}: not a container's name", remedy=remedy)
        if self.hostname is not None and not _HOSTNAME.fullmatch(self.hostname):
            remedy = "letters, digits, - and .; up to 63"
            raise InvalidInput(f"--hostname {self.hostname!r}: not a hostname", remedy=remedy)
        if self.network not in NETWORKS:
            raise InvalidInput(f"--network {self.network!r} is not known", remedy=f"one of {', '.join(NETWORKS)}")
        if self.workdir is not None and not self.workdir.startswith("/"):
            raise InvalidInput(f"--workdir {self.workdir!r} is not absolute", remedy="begin it with /")
        self._check_limits()

    def _check_limits(self) -> None:
        limit = _bytes(self.memory)
        if limit is not None and limit < SMALLEST_MEMORY:
            raise InvalidInput(f"--memory {self.memory}: too little to start anything", remedy="6m at least")
        both = _bytes_or_unlimited(self.memory_swap)
        if both is not None and both > 0 and (limit is None or both < limit):
            remedy = "it is memory and swap together: give --memory, too, and not more than this"
            given = self.memory or "not set"
            raise InvalidInput(f"--memory-swap {self.memory_swap}: --memory is {given}", remedy=remedy)
        if self.cpus is not None and not 0.01 <= self.cpus <= (os.cpu_count() or 1):
            most = os.cpu_count() or 1
            raise InvalidInput(f"--cpus {self.cpus}: this machine has {most}", remedy=f"0.01 to {most}")
        if self.pids_limit is not None and self.pids_limit < -1:
            raise InvalidInput(f"--pids-limit {self.pids_limit}: less than none", remedy="a number, or -1 for no limit")

    @property
    def entrypoint_words(self) -> Sequence[str] | None:
        """The entrypoint as a list; a string is one word, as `docker run --entrypoint` has it."""
        return (self.entrypoint,) if isinstance(self.entrypoint, str) else self.entrypoint


def to_config(options: Options, image: ImageConfig, id: str, directory: str) -> dict[str, Any]:
    """Make the config.json. `directory` holds (or will hold) the container's own hostname, hosts and resolv.conf.

    A volume's mount has the volume's name as its source, an anonymous one's "": see volumes.Volumes.provided.
    """
    hostname = options.hostname or (socket.gethostname() if options.network == "host" else id[:12])
    cwd = options.workdir or image.working_dir or "/"
    args = image.command(options.command, options.entrypoint_words)
    config = oci.default(args, env=_env(options, image, hostname), cwd=cwd)
    config["hostname"] = hostname
    config["annotations"][oci.USER] = options.user or image.user or "0"
    config["root"]["readonly"] = options.read_only
    process, linux = config["process"], config["linux"]
    if options.tty:
        process["terminal"] = True
        if options.console_size:
            process["consoleSize"] = dict(zip(("height", "width"), options.console_size, strict=True))
    if options.network == "host":
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["cgroupsPath"] = f"/labrt/{id}"
    linux["resources"] |= _resources(options)
    volumes = [_volume(text) for text in options.volumes]
    taken = {os.path.normpath(mount.destination) for mount in volumes}
    volumes += _image_volumes(image, taken)
    volumes.sort(key=lambda mount: os.path.normpath(mount.destination).count("/"))  # or /a would hide /a/b
    own = (Mount(f"/etc/{name}", "bind", os.path.join(directory, name), ("rbind", "rprivate")) for name in ETC)
    binds = [*(mount for mount in own if mount.destination not in taken), *volumes]
    config["mounts"] += [mount.to_json() for mount in binds]
    return config


ETC = ("hostname", "hosts", "resolv.conf")


def write_etc(directory: str, hostname: str) -> None:
    """Write the three files of /etc that are the container's and not the image's, as Docker has them."""
    hosts = f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n"
    try:
        with open("/etc/resolv.conf") as file:
            resolv = file.read()
    except OSError:
        resolv = ""
    for name, text in zip(ETC, (f"{hostname}\n", hosts, resolv), strict=True):
        fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, text.encode())
            os.fchmod(fd, 0o644)  # whatever our umask is, the container's users must be able to read it
        finally:
            os.close(fd)


def _env(options: Options, image: ImageConfig, hostname: str) -> list[str]:
    """Merge the environment: Docker's own variables, then the image's, then the user's; later ones win."""
    merged = dict([oci.PATH.split("=", 1)]) | {"HOSTNAME": hostname} | ({"TERM": "xterm"} if options.tty else {})
    for entry in (*image.env, *options.env):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise InvalidInput(f"--env {entry!r}: no name", remedy="NAME=value, or NAME for your own value")
        if equals:
            merged[name] = value
        elif name in os.environ:
            merged[name] = os.environ[name]
    return [f"{name}={value}" for name, value in merged.items()]


def _bytes(text: str | int | None) -> int | None:
    if text is None:
        return None
    from labrt.linux.cgroups import units  # brings all of cgroups with it, and most containers have no limit

    return units.parse_size(text)


def _bytes_or_unlimited(text: str | int | None) -> int | None:
    """Read --memory-swap: None where nothing is asked for (which 0 means, too, as in Docker), -1 for no limit."""
    return -1 if str(text) in ("-1", "max") else _bytes(text) or None


def _resources(options: Options) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    limit = _bytes(options.memory)
    if limit is not None:
        # Without a limit of swap, what is over the limit of memory would be swapped out, and never killed.
        resources["memory"] = {"limit": limit, "swap": _bytes_or_unlimited(options.memory_swap) or 2 * limit}
    if options.cpus is not None:
        resources["cpu"] = {"period": 100_000, "quota": int(options.cpus * 100_000)}
    if options.pids_limit not in (None, 0, -1):
        resources["pids"] = {"limit": options.pids_limit}
    return resources


def _volume(text: str) -> Mount:
    """Read `-v SRC:DST[:ro]`. A source on the host that is not there is made, as a directory: Docker's way."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise InvalidInput(f"--volume {text!r}: not understood", remedy="/on/host:/in/container[:ro], or NAME:/there")
    parts = parts if len(parts) > 1 else ["", *parts]  # the place alone: an anonymous volume
    source, destination, words = parts[0], parts[1], parts[2].split(",") if len(parts) == 3 else []
    is_volume = not source or _NAME.fullmatch(source) is not None
    if not is_volume and not source.startswith("/"):
        raise InvalidInput(f"--volume {text}: {source!r} is not absolute", remedy='write "$PWD/…" for one from here')
    if not destination.startswith("/") or os.path.normpath(destination) == "/":
        raise InvalidInput(f"--volume {text}: {destination!r} cannot be mounted on", remedy="an absolute path, not /")
    unknown = set(words) - {"ro", "rw", "z", "Z"}
    if unknown:
        raise InvalidInput(f"--volume {text}: no mode is called {sorted(unknown)[0]!r}", remedy="ro or rw")
    if not is_volume and not os.path.lexists(source):
        os.makedirs(source, 0o755)
    return Mount(destination, "bind", source, ("rbind", "rprivate", *(("rro",) if "ro" in words else ())))


def _image_volumes(image: ImageConfig, taken: Collection[str]) -> list[Mount]:
    """Return an anonymous volume for each VOLUME of the image, but where the user has put something."""
    places = []
    for text in image.volumes:
        place = os.path.normpath("/" + text.lstrip("/"))
        if "\0" in place or place.split("/")[1] in ("", "proc", "sys"):
            remedy = "whoever made this image knows why; do not trust it"
            raise InvalidInput(f"the image wants a volume at {text!r:.100}, where none can be", remedy=remedy)
        if place not in taken:
            places.append(place)
    return [Mount(place, "bind", "", ("rbind", "rprivate")) for place in dict.fromkeys(places)]
