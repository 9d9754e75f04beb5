"""From options and an image's config to config.json, and the three files of /etc that go with it.

What most containers have is made here; each option beyond that by the module of its subject, see model.SUBJECTS.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput
from labrt.image.config import ImageConfig
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

ETC = ("hostname", "hosts", "resolv.conf")


def to_config(
    options: Options, image: ImageConfig, id: str, directory: str, *, inherited: Sequence[Mount] = ()
) -> dict[str, Any]:
    """Make the config.json. `directory` holds (or will hold) the container's own hostname, hosts and resolv.conf.

    `inherited` are the mounts of other containers that --volumes-from names. A volume's mount has the volume's name as
    its source, an anonymous one's "": see volumes.Volumes.provided.
    """
    hostname = hostname_of(options, id)
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
        drop_namespace(config, "network")
    linux["cgroupsPath"] = f"/labrt/{id}"
    for subject in options.subjects():
        subject.apply(options, config)
    if linux.get("sysctl"):
        oci.validate(config)  # now, and not only when it starts: others would be the host's
    _mount(options, image, config, directory, inherited)  # after that: a volume has no path yet
    if linux.get("uidMappings"):
        from labrt.engine.options import users

        users.map_files(options, config, directory)
    return config


def hostname_of(options: Options, id: str) -> str:
    """Return the name that it goes by: the given one, the host's where it shares that one's name, else of its id."""
    return options.hostname or (socket.gethostname() if "host" in (options.network, options.uts) else id[:12])


def drop_namespace(config: dict[str, Any], kind: str) -> None:
    """Let it be in the host's namespace of this kind (the runtime-spec's name), not in one of its own."""
    linux = config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != kind]


def _mount(
    options: Options, image: ImageConfig, config: dict[str, Any], directory: str, inherited: Sequence[Mount]
) -> None:
    """Add the mounts that are this container's own: files of /etc, volumes, binds. Theirs come after the usual ones."""
    wanted: list[Mount] = []
    if inherited or image.volumes or options.given("volumes", "mount", "tmpfs"):
        from labrt.engine.options import mounts

        wanted = mounts.wanted(options, image, inherited)
        mounts.make_way(config, wanted)
    taken = {os.path.normpath(mount.destination) for mount in wanted}
    places = dict.fromkeys(ETC, directory)
    if options.network.startswith("container:"):  # whose network it is in, by that one's names and name servers
        other = os.path.join(os.path.dirname(directory), options.network.removeprefix("container:"))
        places |= {"hosts": other, "resolv.conf": other}
    own = (Mount(f"/etc/{name}", "bind", os.path.join(at, name), ("rbind", "rprivate")) for name, at in places.items())
    binds = [*(mount for mount in own if mount.destination not in taken), *wanted]
    config["mounts"] += [mount.to_json() for mount in binds]


def write_etc(directory: str, options: Options, id: str) -> None:
    """Write the three files of /etc that are the container's and not the image's, as Docker has them."""
    hostname = hostname_of(options, id)
    full = f"{hostname}.{options.domainname} {hostname}" if options.domainname else hostname
    hosts = f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{full}\n"
    try:
        with open("/etc/resolv.conf") as file:
            resolv = file.read()
    except OSError:
        resolv = ""
    if options.given("add_host", "dns", "dns_search", "dns_option"):
        from labrt.engine.options import etc

        hosts, resolv = hosts + etc.hosts(options), etc.resolv_conf(options, resolv)
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
    given = options.env
    if options.env_file:
        from labrt.engine.options import records

        given = [*records.env_files(options.env_file), *options.env]
    for entry in (*image.env, *given):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise InvalidInput(f"--env {entry!r}: no name", remedy="NAME=value, or NAME for your own value")
        if equals:
            merged[name] = value
        elif name in os.environ:
            merged[name] = os.environ[name]
    return [f"{name}={value}" for name, value in merged.items()]
