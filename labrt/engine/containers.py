"""Containers on this machine: made from an image, found by name or id, listed, removed.

    containers = Containers()
    container = containers.create(Options("busybox", ("sleep", "60"), name="nap"))
    container.start(); container.exec("ps").stdout; container.stop(); container.remove()
    containers.list(); containers.get("nap")

A container is a directory, /var/lib/labrt/containers/ID: config.json (what runc would read), labrt.json (its name and
its image), state.json (the monitor's), the log, three files of its /etc. What can be done with one: container.py.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import time
from collections.abc import Callable, Sequence

from labrt import paths
from labrt.engine import names, options
from labrt.engine.container import Container, discard
from labrt.engine.images import Images
from labrt.engine.options import Options
from labrt.errors import Conflict, ContainerNotFound, InvalidInput
from labrt.image import files
from labrt.image.digest import Digest
from labrt.image.image import Image
from labrt.linux import ledger
from labrt.linux.mounts import Mount

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

    from labrt.linux.userns import IdMap

__all__ = ["Container", "Containers"]

Listener = Callable[[object], None]
_ID = re.compile("[0-9a-f]{64}")


class Containers:
    """All containers of one user's labrt."""

    def __init__(self, where: paths.Paths | None = None) -> None:
        self.where = where or paths.default()

    def create(
        self, wanted: Options, *, on_event: Listener | None = None, image: Image | None = None
    ) -> Container:
        """Make a container, ready to start; its image is pulled if it is not here. All or nothing.

        `image` is the image itself, where it need not be looked for: a build's has no name.
        Raises Conflict when the name is taken, and whatever pulling and unpacking raise.
        """
        images = Images(self.where)
        with images.layout.lease():  # until the container stands on its layers, nobody takes them away as unused
            container = self._create(images, wanted, on_event, image)
        container.note("create")
        return container

    def _create(
        self, images: Images, wanted: Options, on_event: Listener | None, image: Image | None = None
    ) -> Container:
        from labrt.image.platform import Platform

        platform = Platform.parse(wanted.platform) if wanted.platform else None
        image = image or images.get(wanted.image, platform=platform, policy=wanted.pull, on_event=on_event)
        chain_ids = images.unpack(image, on_event=on_event)
        id = os.urandom(32).hex()
        container = Container(id, self.where)
        directory = container.runtime.directory
        inherited: Sequence[Mount] = ()
        if wanted.network == "default":
            from labrt.engine import network_wishes

            wanted = network_wishes.settled(wanted)
        if wanted.userns == "auto":
            from labrt.engine.options import users

            wanted = users.choose(wanted, self._mapped())
        if wanted.given("ipc", "pid", "network", "volumes_from"):
            from labrt.engine import others

            wanted, inherited = others.resolve(wanted, self)
        config = options.to_config(wanted, image.config, id, directory, inherited=inherited)
        if paths.owner():
            from labrt.runtime import unprivileged

            unprivileged.adapt(config)
        record = {
            "name": wanted.name, "image": wanted.image, "image_id": str(image.id), "created": time.time(),
            "command": image.config.command(wanted.command, wanted.entrypoint_words),
            "stop_signal": wanted.stop_signal or image.config.stop_signal,
            "options": {"interactive": wanted.interactive, "tty": wanted.tty, "remove": wanted.remove,
                        "network": wanted.network_mode},
            **options.to_record(wanted, image.config),
        }  # fmt: skip
        if wanted.cgroup_parent:
            from labrt.engine.options import resources

            resources.record_parent(wanted)
        if wanted.network not in ("none", "host"):
            from labrt.engine import network_wishes

            record["network_wishes"] = network_wishes.of(wanted, image.config, options.hostname_of(wanted, id), self)
        named = [mount for mount in config["mounts"] if mount["type"] == "bind" and not mount["source"].startswith("/")]
        if not named:
            return self._build(container, images, chain_ids, wanted, config, record)
        from labrt.engine.volumes import Volumes

        volumes = Volumes(self.where)
        with volumes.provided(named) as uses:
            copied = [use for use in uses if use["destination"] not in options.no_copies(wanted)]
            fill = functools.partial(volumes.fill, container, copied)
            return self._build(container, images, chain_ids, wanted, config, {**record, "volumes": uses}, fill)

    def _build(
        self,
        container: Container,
        images: Images,
        chain_ids: Sequence[Digest],
        wanted: Options,
        config: dict[str, Any],
        record: dict[str, Any],
        fill: Callable[[], None] | None = None,
    ) -> Container:
        """Make its directory and its root, `fill` its volumes from that, and let it exist. All or nothing."""
        id, directory, durable = container.id, container.runtime.directory, not record["options"]["remove"]
        ledger.record("container", id, directory=self.where.ledger)
        try:
            os.makedirs(os.path.join(directory, "rootfs"), 0o700)
            images.driver.prepare(id, chain_ids, durable=durable)
            if fill is not None:
                fill()
            options.write_etc(directory, wanted, id)
            if wishes := record.pop("network_wishes", None):
                files.replace(os.path.join(directory, "network.json"), json.dumps(wishes).encode(), durable=durable)
            raw = json.dumps(config).encode()
            files.replace(os.path.join(directory, "config.json"), raw, durable=durable)
            self._register(directory, record)
        except BaseException:
            images.driver.remove(id)
            discard(id, self.where)
            raise
        return container

    def _register(self, directory: str, record: dict[str, Any]) -> None:
        """Give it its name, which nobody else may take in the same moment, and so make it exist."""
        with files.locked(os.path.join(self.where.containers, ".lock")):
            taken = {other["name"]: container for container, other in self.records()}
            if record["name"] in taken:
                other = taken[record["name"]]
                remedy = f"`labrt rm {record['name']}`, or take another name"
                raise Conflict(f"the name {record['name']} is taken by container {other.id[:12]}", remedy=remedy)
            record["name"] = record["name"] or names.new(set(taken))
            durable = not record["options"]["remove"]
            files.replace(os.path.join(directory, "labrt.json"), json.dumps(record).encode(), durable=durable)

    def list(self, *, all: bool = False) -> list[Container]:
        """List the containers that run, or with `all` every one; the newest first."""
        found = []
        for container, _ in self.records():
            with contextlib.suppress(ContainerNotFound):
                if all or container.up:
                    found.append(container)
        return found

    def records(self) -> Sequence[tuple[Container, dict[str, Any]]]:
        """Return every container with its record, the newest first: read once, for it may be gone the next moment."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for id in filter(_ID.fullmatch, os.listdir(self.where.containers)):
                container = Container(id, self.where)
                with contextlib.suppress(ContainerNotFound):
                    found.append((container, container.record()))
        return sorted(found, key=lambda pair: -pair[1]["created"])

    def image_ids(self) -> set[Digest]:
        """Return the ids of the images that containers are made from, running or not."""
        return {Digest.parse(record["image_id"]) for _, record in self.records()}

    def get(self, text: str) -> Container:
        """Find one by name, id, or the beginning of its id. ContainerNotFound if none, InvalidInput if several fit."""
        candidates = self.records()
        for container, record in candidates:
            if text in (container.id, record["name"]):
                return container
        matches = [container for container, _ in candidates if text and container.id.startswith(text)]
        if len(matches) > 1:
            raise InvalidInput(f"{text!r} is the beginning of {len(matches)} container ids", remedy="give more digits")
        if not matches:
            raise ContainerNotFound(f"no container is called {text!r}", remedy="`labrt ps -a` lists them")
        return matches[0]

    def _mapped(self) -> Sequence[IdMap]:
        """Return the ids of this machine that containers have as theirs."""
        from labrt.linux.userns import IdMap

        texts = [text for _, record in self.records()
                 for text in ((record.get("HostConfig") or {}).get("IDMappings") or {}).get("UidMap", ())]  # fmt: skip
        return [IdMap(*map(int, text.split(":"))) for text in texts]

    def mend(self) -> None:
        """See to those whose monitor was killed, or the machine rebooted: nothing is left of their last run."""
        for container in self.list(all=True):
            container.mend()

    def __repr__(self) -> str:
        return f"<Containers in {self.where.containers}: {len(self.list(all=True))}>"
