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

from labrt import paths
from labrt.errors import (
    Conflict,
    DigestMismatch,
    ImageNotFound,
    InvalidInput,
    InvalidReference,
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
from labrt.shapes import Record
from labrt.storage.driver import Driver, open_driver

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from labrt.builder.cache import Cache
    from labrt.registry.credentials import DockerConfig

HUB = "docker.io"
POLICIES = ("always", "missing", "never")
Listener = Callable[[object], None]


class EmbeddedUsed(Record):
    """Docker Hub did not answer, and the embedded default stands in for it."""

    reference: Reference
    reason: str

    def describe(self) -> str:
        """In one line."""
        return f"Docker Hub cannot be reached; using the embedded {self.reference.familiar}, made from Debian's busybox"

    def __str__(self) -> str:
        return self.describe()


class Unpacked(Record):
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
        """Return an image, pulled first if `policy` says so: always, missing (only if it is not here), never.

        An id, or the beginning of one, is enough for what is here; no registry is asked for ids.
        """
        if policy not in POLICIES:
            raise InvalidInput(f"no pull policy is called {policy!r}", remedy=f"one of {', '.join(POLICIES)}")
        if policy != "always":
            with contextlib.suppress(*(() if policy == "never" or _is_id(reference) else (ImageNotFound,))):
                image = self._find(reference, platform)
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
            # A name whose blobs another process is just removing, or another tool's that is none.
            with contextlib.suppress(NotFound, InvalidReference):
                found.append(self._here(name))
        return found

    def find(self, text: str, platform: Platform | None = None) -> Image:
        """Find an image by its name, or else by the beginning of its id (the digest of its config).

        Of a name that was pulled for other machines only, their image is as good as ours where none is run.
        Raises ImageNotFound, and InvalidInput where several ids begin so.
        """
        try:
            return self._find(text, platform)
        except ImageNotFound:
            if platform or _is_id(text):
                raise
            return self._here(text)

    def _here(self, name: str) -> Image:
        """Return the image of a name for this machine, or else for whichever it was pulled for. ImageNotFound."""
        try:
            return self.layout.image(name)
        except ImageNotFound:
            for other in self.layout.platforms(name):
                with contextlib.suppress(ImageNotFound):
                    return self.layout.image(name, other)
            raise

    def _find(self, text: str, platform: Platform | None) -> Image:
        """Find an image for this machine, or for that platform."""
        if not _is_id(text):
            try:
                return self.layout.image(Reference.parse(text), platform)
            except ImageNotFound:
                if not _is_hex(text):
                    raise
        prefix = text.removeprefix("sha256:")
        matches = {str(image.id): image for image in self.all() if image.id.hex.startswith(prefix)}
        if len(matches) > 1:
            raise InvalidInput(f"{text!r} is the beginning of {len(matches)} image ids", remedy="give more digits")
        if not matches:
            raise ImageNotFound(f"{text} is neither a name nor an id of an image here", remedy="`labrt images`")
        return next(iter(matches.values()))

    def remove(self, text: str, *, force: bool = False) -> list[str]:
        """Take an image's name away, and with its last name its blobs and layers. Returns lines that say what went.

        An id, or name@digest, means each name that it has: Conflict if there are several, unless `force`. And Conflict
        while a container is made from it; with `force` its layers, manifest and config stay for that container.
        """
        from labrt.engine.containers import Containers

        image = self.find(text)
        names = [one.reference for one in self.all() if one.id == image.id]
        going = _meant(text, names)
        if _are_several(going) and not force:
            known = ", ".join(name.familiar for name in going)
            raise Conflict(f"{text} has {len(going)} names: {known}", remedy="remove one of them, or all by `rmi -f`")
        containers = Containers(self.where)
        users = [record["name"] for _, record in containers.records() if record["image_id"] == str(image.id)]
        last = len(going) == len(names)
        if users and last and not force:
            remedy = f"`labrt rm {users[0]}` first, or `labrt rmi -f`"
            raise Conflict(f"{image.reference.familiar} is used by container {users[0]}", remedy=remedy)
        for name in going:
            self.layout.untag(name)
        told = [f"Untagged: {name.familiar}" for name in going]
        if last:
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


def _is_hex(text: str) -> bool:
    return 0 < len(text) <= 64 and set(text) <= set("0123456789abcdef")


def _is_id(text: str) -> bool:
    """Whether this can be an id only, and no name."""
    digits = text.removeprefix("sha256:")
    return _is_hex(digits) and (digits != text or len(digits) == 64)


def _are_several(names: list[Reference]) -> bool:
    """Whether these are more than one tag and its digests."""
    return sum(1 for name in names if name.tag) > 1 or len({name.name for name in names}) > 1


def _meant(text: str, names: list[Reference]) -> list[Reference]:
    """Say which of an image's names somebody means who has found it by `text`."""
    if _is_id(text):
        return names
    wanted = Reference.parse(text)
    if wanted in names:
        alike = [name for name in names if name.name == wanted.name]
        others = [name for name in alike if name.tag and name != wanted]
        # With a repository's last tag go its names by digest, which nobody chose; as in docker.
        return [wanted] if others or wanted.digest else [wanted, *(name for name in alike if name != wanted)]
    return [name for name in names if name.name == wanted.name] if wanted.digest else names
