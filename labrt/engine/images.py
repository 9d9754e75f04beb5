"""Images on this machine: pulled, unpacked, listed, removed.

    images = Images()
    image = images.get("busybox")              from the store, or pulled if it is not there
    images.unpack(image)                       each layer once, by the storage driver
    images.all(); images.remove("busybox")

Where Docker Hub cannot be reached, busybox comes from the embedded default (embedded.py) instead, and an `EmbeddedUsed`
event says so. Nothing else is ever put in another's place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from labrt import paths
from labrt.errors import (
    Conflict,
    DigestMismatch,
    ImageNotFound,
    InvalidInput,
    LabrtError,
    NotFound,
    Unreachable,
    UnsafeLayer,
)
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.image import Image
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.storage.driver import Driver, open_driver

if TYPE_CHECKING:
    from labrt.builder.cache import Cache
    from labrt.registry.credentials import DockerConfig

HUB = "docker.io"
POLICIES = ("always", "missing", "never")
Listener = Callable[[object], None]


class EmbeddedUsed(NamedTuple):
    """Docker Hub did not answer, and the embedded default stands in for it."""

    reference: Reference
    reason: str

    def describe(self) -> str:
        """In one line."""
        return f"Docker Hub cannot be reached; using the embedded {self.reference.familiar}, made from Debian's busybox"

    def __str__(self) -> str:
        return self.describe()


class Unpacked(NamedTuple):
    """A layer has been unpacked by the storage driver."""

    chain_id: Digest
    driver: str

    def describe(self) -> str:
        """In one line."""
        return f"unpacked layer {self.chain_id.short} ({self.driver})"

    def __str__(self) -> str:
        return self.describe()


class Images:
    """The images of one store. Opening it does nothing yet."""

    def __init__(self, where: paths.Paths | None = None, *, config: DockerConfig | None = None) -> None:
        """`config` is who we are to registries; None: what Docker's config.json says."""
        self.where = where or paths.default()
        self.config = config
        self.layout = Layout(self.where.images)

    @cached_property
    def driver(self) -> Driver:
        """The storage driver that keeps the layers."""
        return open_driver(None, self.where)

    @property
    def build_cache(self) -> Cache:
        """What builds have done already: its layers are blobs here."""
        from labrt.builder.cache import Cache

        return Cache(self.where)

    def get(
        self,
        reference: str,
        *,
        platform: Platform | None = None,
        policy: str = "missing",
        on_event: Listener | None = None,
    ) -> Image:
        """Return an image, pulled first if `policy` says so: always, missing (only if it is not here), never."""
        if policy not in POLICIES:
            raise InvalidInput(f"no pull policy is called {policy!r}", remedy=f"one of {', '.join(POLICIES)}")
        if policy != "always":
            with contextlib.suppress(*(() if policy == "never" else (ImageNotFound,))):
                image = self.layout.image(Reference.parse(reference), platform)
                if platform is None or image.platform.matches(platform):
                    return image
        return self.pull(reference, platform=platform, on_event=on_event)

    def pull(
        self, reference: str, *, platform: Platform | None = None, on_event: Listener | None = None
    ) -> Image:
        """Pull an image and unpack it. What is here already is not fetched again.

        One that proves hostile or broken when it is unpacked loses the name again, to what had it before.
        """
        wanted = Reference.parse(reference)
        before = self.meant(wanted)
        try:
            image = self._pull(wanted, platform, on_event, {})
        except Unreachable as error:
            image = self._from_embedded(wanted, platform, on_event, error)
        try:
            self.unpack(image, on_event=on_event)
        except (UnsafeLayer, DigestMismatch):
            self._take_back(image.reference, before)
            raise
        return image

    def meant(self, reference: Reference) -> Descriptor | None:
        """What a name means here so far."""
        with contextlib.suppress(ImageNotFound):
            return self.layout.resolve(reference)
        return None

    def _take_back(self, reference: Reference, before: Descriptor | None) -> None:
        """Let a name mean what it meant before; nothing, if that was so."""
        if before and self.layout.has(before.digest):
            self.layout.tag(reference, before)
        else:
            self.layout.untag(reference)

    def _pull(
        self, reference: Reference, platform: Platform | None, on_event: Listener | None, mirrors: dict[str, str]
    ) -> Image:
        from labrt.registry.client import Client

        with Client(mirrors=mirrors, config=self.config) as client:
            return client.pull(reference, self.layout, platform=platform, on_event=on_event)

    def _from_embedded(
        self, reference: Reference, platform: Platform | None, on_event: Listener | None, error: Unreachable
    ) -> Image:
        from labrt.engine import embedded

        if str(reference) != str(embedded.REFERENCE):
            raise error
        try:
            embedded.ensure(self.where)
        except LabrtError:  # no static busybox on this machine
            raise error from None
        if on_event:
            on_event(EmbeddedUsed(reference, error.message))
        with embedded.serve(self.where) as server:
            return self._pull(reference, platform, on_event, {HUB: server.url})

    def unpack(self, image: Image, *, on_event: Listener | None = None) -> tuple[Digest, ...]:
        """Unpack the layers that the driver does not have yet; return their chain ids, base first.

        An ordinary user does that as root of their own user namespace: rootless.enter.
        """
        if os.geteuid() != 0:
            from labrt.runtime import rootless

            rootless.enter(self.where)
        config = image.config
        chain_ids = config.chain_ids
        for number, layer in enumerate(image.manifest.layers, 1):
            if not self.driver.has(chain_ids[number - 1]):
                with self.layout.open(layer.digest) as blob:
                    self.driver.add(chain_ids[:number], blob, config.diff_ids[number - 1])
                if on_event:
                    on_event(Unpacked(chain_ids[number - 1], self.driver.name))
        return chain_ids

    def all(self) -> list[Image]:
        """List the images that have a name, sorted by it."""
        found = []
        for name in self.layout.references():
            with contextlib.suppress(NotFound):  # a name whose blobs another process is just removing
                found.append(self.layout.image(name))
        return found

    def find(self, text: str) -> Image:
        """Find an image by its name, or by the beginning of its id (the digest of its config). Raises ImageNotFound."""
        prefix = text.removeprefix("sha256:")
        if 3 <= len(prefix) <= 64 and set(prefix) <= set("0123456789abcdef"):
            matches = {str(image.id): image for image in self.all() if image.id.hex.startswith(prefix)}
            if len(matches) > 1:
                raise InvalidInput(f"{text!r} is the beginning of {len(matches)} image ids", remedy="give more digits")
            if matches:
                return next(iter(matches.values()))
        return self.layout.image(Reference.parse(text))

    def remove(self, text: str, *, force: bool = False) -> list[str]:
        """Take an image's name away, and with its last name its blobs and layers. Returns lines that say what went.

        Raises Conflict while a container is made from it, unless `force`; then its layers, manifest and config stay for
        that container.
        """
        from labrt.engine.containers import Containers

        image = self.find(text)
        names = [name for name in self.layout.references() if self.layout.image(name).id == image.id]
        containers = Containers(self.where)
        users = [record["name"] for _, record in containers.records() if record["image_id"] == str(image.id)]
        if users and len(names) == 1 and not force:
            remedy = f"`labrt rm {users[0]}` first, or `labrt rmi -f`"
            raise Conflict(f"{image.reference.familiar} is used by container {users[0]}", remedy=remedy)
        self.layout.untag(image.reference)
        told = [f"Untagged: {image.reference.familiar}"]
        if len(names) == 1:
            told.append(f"Deleted: {image.id}")
            told += [f"Deleted: {chain}" for chain in self._remove_layers(image)]
        nameless = containers.image_ids() - {other.id for other in self.all()}
        kept = [*(self.layout.manifests_of(nameless) if nameless else ()), *self.build_cache.blobs()]
        with contextlib.suppress(Conflict):  # somebody is pulling: what nobody names goes next time
            self.layout.collect(kept)
        return told

    def _remove_layers(self, image: Image) -> list[Digest]:
        """Remove an image's layers from the top down, as far as nobody else stands on them."""
        needed = {chain for other in self.all() for chain in other.config.chain_ids}
        gone = []
        for chain in reversed(image.config.chain_ids):
            if chain in needed:
                break
            try:
                self.driver.remove_layer(chain)
            except (Conflict, NotFound):
                break
            gone.append(chain)
        return gone

    def __repr__(self) -> str:
        return f"<Images in {self.where.images}: {', '.join(self.layout.references()) or 'none'}>"
