"""A container without what its image says anyhow: what has to be said of it elsewhere, where the image is the same.

    one = Description.of(container)
    one.entrypoint, one.command      words, or None where they are the image's
    one.env, one.labels              those that the image has not, or has otherwise
    one.mounts                       [Mounted("volume", "data", "/data", …)]
    one.host                         docker's HostConfig, as `inspect` has it

Read from `inspect` and from the image's config. Who writes the file turns over each field, and says what it left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from labrt.image.config import ImageConfig
from labrt.image.reference import Reference

if TYPE_CHECKING:
    from labrt.engine.container import Container

_OURS = ("HOSTNAME", "TERM")  # variables that each engine sets anew
SHM = 64 << 20  # bytes of /dev/shm, in all engines


class Mounted(NamedTuple):
    """Something mounted: kind is volume, bind or tmpfs. `source` is a volume's name, "" for one without, or a path."""

    kind: str
    source: str
    target: str
    read_only: bool
    propagation: str = ""
    words: tuple[str, ...] = ()  # of a tmpfs: what was asked for
    from_image: bool = False  # an anonymous volume that the image wants

    def value(self, word: str) -> str:
        """Return what stands after `word=`, or ""."""
        return next((one.partition("=")[2] for one in self.words if one.startswith(f"{word}=")), "")


class Port(NamedTuple):
    """A port of the container, and the port of the machine that leads to it: "" for none, "0" for any that is free."""

    inner: int
    protocol: str
    outer: str = ""
    address: str = ""


class Description(NamedTuple):
    """See above. `image` is as it was typed, `reference` in full, or "" where it has no name."""

    name: str
    id: str
    image: str
    reference: str
    entrypoint: list[str] | None
    command: list[str] | None
    env: dict[str, str]
    labels: dict[str, str]
    workdir: str
    user: str
    hostname: str
    healthcheck: dict[str, Any] | None  # what runs, also where it is the image's
    healthcheck_is_the_images: bool
    stop_signal: str
    ports: list[Port]
    mounts: list[Mounted]
    networks: list[dict[str, Any]]  # what it wants of each: network, ip, ip6, mac, aliases
    host: dict[str, Any]
    config: dict[str, Any]  # docker's Config
    container: Any

    @classmethod
    def of(cls, container: Container) -> Description:
        """Describe a container. Raises ContainerNotFound when it is gone, ImageNotFound when its image's config is."""
        from labrt.engine.networks import wishes_of

        about, image = container.inspect(), _image(container)
        config, host = about["Config"], about["HostConfig"]
        entrypoint, command = _words(container.record(), image)
        check = config["Healthcheck"]
        own_name = "host" not in (host["NetworkMode"], host["UTSMode"]) and config["Hostname"] != container.id[:12]
        return cls(
            about["Name"].lstrip("/"), container.id, config["Image"], _reference(config["Image"]), entrypoint, command,
            _env(config, image), _beyond(config["Labels"], image.labels),
            config["WorkingDir"] if config["WorkingDir"] != (image.working_dir or "/") else "",
            config["User"] if config["User"] != (image.user or "0") else "",
            config["Hostname"] if own_name else "",
            check if check and check["Test"][0] != "NONE" else None, check == (image.healthcheck or None),
            config["StopSignal"] if config["StopSignal"] != (image.stop_signal or "SIGTERM") else "",
            list(_ports(host, config, image)), list(_mounts(about, container.record(), image)),
            (wishes_of(container) or {}).get("networks", []), host, config, container,
        )  # fmt: skip


def _image(container: Container) -> ImageConfig:
    from labrt.engine.images import Images

    return ImageConfig.parse(Images(container.where).layout.read(container.image_id))


def _reference(text: str) -> str:
    from labrt.errors import InvalidReference

    try:
        parsed = Reference.parse(text)
    except InvalidReference:
        return ""
    bare = text.removeprefix("sha256:")  # an id, or the beginning of one, was typed
    is_id = len(bare) >= 12 and all(letter in "0123456789abcdef" for letter in bare)
    return "" if parsed.is_unnamed or is_id else str(parsed)


def _words(record: Mapping[str, Any], image: ImageConfig) -> tuple[list[str] | None, list[str] | None]:
    """Split what runs into entrypoint and command. Whoever replaces an entrypoint drops the image's command with it."""
    whole, entrypoint = record["command"], (record.get("Config") or {}).get("Entrypoint") or []
    rest = whole[len(entrypoint) :]
    if entrypoint == [*image.entrypoint]:
        return None, None if rest == [*image.cmd] else rest
    return (entrypoint, rest or None) if entrypoint else (rest, None)


def _env(config: Mapping[str, Any], image: ImageConfig) -> dict[str, str]:
    from labrt.runtime.config import PATH

    usual = {PATH, f"HOSTNAME={config['Hostname']}", *(["TERM=xterm"] if config["Tty"] else []), *image.env}
    return dict(entry.split("=", 1) for entry in config["Env"] if entry not in usual)


def _beyond(mine: Mapping[str, str] | None, images: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in (mine or {}).items() if images.get(key) != value}


def _ports(host: Mapping[str, Any], config: Mapping[str, Any], image: ImageConfig) -> Iterator[Port]:
    bound = host["PortBindings"] or {}
    for key, bindings in bound.items():
        inner, _, protocol = key.partition("/")
        for one in bindings or [{}]:
            yield Port(int(inner), protocol or "tcp", one.get("HostPort") or "0", one.get("HostIp") or "")
    for key in config["ExposedPorts"] or {}:
        if key not in bound and (host["PublishAllPorts"] or key not in image.exposed_ports):
            inner, _, protocol = key.partition("/")
            yield Port(int(inner), protocol or "tcp", "0" if host["PublishAllPorts"] else "")


def _mounts(about: Mapping[str, Any], record: Mapping[str, Any], image: ImageConfig) -> Iterator[Mounted]:
    made = {mount["destination"]: tuple(mount["options"]) for mount in about["OCI"]["mounts"]}
    anonymous = {use["destination"] for use in record.get("volumes", ()) if use["anonymous"]}
    for one in about["Mounts"]:
        target, kind = one["Destination"], one["Type"]
        source = one["Name"] if kind == "volume" and target not in anonymous else ""
        yield Mounted(
            kind, one["Source"] if kind == "bind" else source, target, not one["RW"],
            one["Propagation"] if one["Propagation"] != "rprivate" else "",
            made.get(target, ())[3:] if kind == "tmpfs" else (),  # after nosuid, nodev, noexec
            target in anonymous and target.rstrip("/") in [place.rstrip("/") for place in image.volumes],
        )  # fmt: skip
