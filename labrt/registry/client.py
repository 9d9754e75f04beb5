"""A registry's client: every step of a pull and a push by hand, and both as a whole.

    with Client() as client:
        client.challenge("docker.io")                      what its 401 asks for
        client.token("busybox")                            a token to pull it, for anybody
        client.manifest("busybox")                         name → index: one entry per platform
        manifest = client.manifest("busybox", platform=Platform.host())
        client.config("busybox")                           what it runs
        b"".join(client.blob("busybox", manifest.layers[0]))
        client.pull("busybox", layout)                     all of it, into a store
        client.push("localhost:5000/busybox", layout, source="busybox")
        client.tags("busybox"), client.referrers("busybox")

What comes is checked against the digest that names it. Everything that happens on the way is told to `on_event`
(events.py). Credentials are those of `docker login` (credentials.py).

OCI distribution-spec. Notebook 13.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from labrt.errors import DigestMismatch, InvalidDigest, InvalidManifest, RegistryError
from labrt.image import descriptor as types
from labrt.image import manifest as manifests
from labrt.image.config import ImageConfig
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.manifest import Index, Manifest
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry import blobs, endpoints, failures, listings
from labrt.registry.auth import Authenticator, Challenge, Token
from labrt.registry.credentials import DockerConfig
from labrt.registry.endpoints import Endpoints, scope
from labrt.registry.events import Emitter, Listener, RateLimit
from labrt.registry.listings import Referrers, Tags
from labrt.registry.response import Response
from labrt.registry.transport import BODY_LIMIT, Transport

if TYPE_CHECKING:
    from labrt.image.image import Image
    from labrt.image.layout import Layout
    from labrt.registry.upload import Upload

# Both families, indexes first: a registry that is not told that we read indexes chooses a platform for us.
_ACCEPT = {"Accept": ", ".join((*types.INDEXES, *types.MANIFESTS))}
_DEEPEST = 4  # indexes within indexes: allowed, used by nobody


class Client:
    """Talks to any number of registries. Threads may share it; close it, or use `with`.

    `config` is who we are; None reads Docker's config.json when a registry first asks. `mirrors` maps a registry
    (`docker.io`) to a base URL that is asked first (`https://mirror.example`); where it fails, the registry is asked.
    Without any, LABRT_MIRROR is Docker Hub's.
    `insecure` names hosts that may be spoken to in plain HTTP, as this machine always may. `wait` pauses between
    attempts (seconds), None for a pause that Ctrl-C cuts short. A pull that fails or is interrupted ends whatever else
    its client is doing.
    """

    def __init__(
        self,
        *,
        config: DockerConfig | None = None,
        mirrors: Mapping[str, str] | None = None,
        insecure: Collection[str] = frozenset(),
        on_event: Listener | None = None,
        wait: Callable[[float], object] | None = None,
        attempts: int = 5,
    ) -> None:
        self.emit = Emitter(on_event)
        mirrors = mirrors or endpoints.of_environment()
        insecure = {*insecure, *endpoints.plain(mirrors)}
        self.transport = Transport(insecure=insecure, emit=self.emit, wait=wait, attempts=attempts)
        self._auth = Authenticator(self.transport, config, emit=self.emit)
        self._endpoints = Endpoints(self.transport, self._auth, mirrors, self.emit)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._endpoints} {self.transport}>"

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def challenge(self, host: str) -> Challenge | None:
        """What a registry asks of those who come with nothing; None: nothing, it is open to all."""
        response = self.transport.request("GET", f"{self.transport.base_url(host)}/v2/")
        if response.status == 401:
            return next(iter(Challenge.parse(response.headers.get("WWW-Authenticate", ""))), None)
        if response.status != 200:
            raise failures.refusal(response, "registry API")
        return None

    def ping(self, host: str) -> str:
        """Sign in where that is asked for. Returns the API version that a registry names, `registry/2.0`, or ""."""
        response = self._endpoints.ask("GET", host, self.transport.base_url(host), "/v2/")
        if response.status != 200:
            raise failures.refusal(response, "registry API")
        return response.headers.get("Docker-Distribution-Api-Version", "")

    def token(self, reference: str | Reference) -> Token | None:
        """Fetch a token that may pull this repository; None: the registry wants none."""
        reference = _parse(reference)
        challenge = self.challenge(reference.registry)
        if challenge is None or challenge.scheme != "bearer":
            return None
        base = self.transport.base_url(reference.registry)
        # The challenge of /v2/ names no repository, so the scope is ours to fill in.
        return self._auth.token(reference.registry, base, challenge, scope(reference))

    def manifest(self, reference: str | Reference, *, platform: Platform | None = None) -> Manifest | Index:
        """What a reference names. With `platform`, an index is followed to that platform's Manifest.

        Raises ImageNotFound, InvalidManifest, and DigestMismatch when the bytes are not those that the reference's
        digest or the registry's own Docker-Content-Digest names.
        """
        reference = _parse(reference)
        document = self._manifest(reference)
        if platform is None or isinstance(document, Manifest):
            return document
        return self._choose(reference, document, platform)

    def _choose(self, reference: Reference, document: Manifest | Index, platform: Platform) -> Manifest:
        for _ in range(_DEEPEST):
            if isinstance(document, Manifest):
                return document
            document = self._manifest(reference.with_digest(document.choose(platform).digest))
        if isinstance(document, Manifest):
            return document
        raise InvalidManifest(f"{reference.familiar}: the indexes are nested too deep")

    def _manifest(self, reference: Reference) -> Manifest | Index:
        response = self._endpoints.fetch(reference, _manifest_path(reference), reference.familiar, headers=_ACCEPT)
        for named in filter(None, (reference.digest, _content_digest(response))):
            if (found := Digest.of(response.body, named.algorithm)) != named:
                message = f"{response.asked}: the manifest is named {named} but has digest {found}"
                raise DigestMismatch(message, remedy="try again; if it stays so, somebody changes bytes on the way")
        if limit := _rate_limit(response):
            self.emit(limit)
        return manifests.parse(response.body, response.headers.get("Content-Type"))

    def resolve(self, reference: str | Reference) -> Digest | None:
        """The digest that a reference names now; None: the registry does not say. Docker Hub counts no pull for it."""
        reference = _parse(reference)
        path = _manifest_path(reference)
        try:
            response = self._endpoints.fetch(reference, path, reference.familiar, method="HEAD", headers=_ACCEPT)
        except RegistryError as error:
            if error.status != 405:  # a registry without HEAD
                raise
            return None
        return _content_digest(response)

    def config(self, reference: str | Reference, *, platform: Platform | None = None) -> ImageConfig:
        """The config of the image that a reference names for a platform; None is this machine."""
        reference = _parse(reference)
        manifest = self._choose(reference, self._manifest(reference), platform or Platform.host())
        if manifest.config.size > BODY_LIMIT:
            raise InvalidManifest(f"{reference.familiar}: its config is said to have {manifest.config.size} bytes")
        return ImageConfig.parse(b"".join(self.blob(reference, manifest.config)))

    def blob(self, reference: str | Reference, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob's bytes in pieces, hashed as they come. Trust none of them before the last has come.

        Raises DigestMismatch after the last when they are not those that the descriptor names.
        """
        return blobs.checked(self.stream(reference, descriptor), descriptor)

    def stream(self, reference: str | Reference, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A blob's bytes from `offset` on, their number checked and their digest not: for one who hashes himself."""
        return blobs.stream(self._endpoints, self.transport, self.emit, _parse(reference), descriptor, offset)

    def tags(self, reference: str | Reference) -> Tags:
        """All tags of a reference's repository, in the registry's order."""
        return listings.tags(self._endpoints, _parse(reference))

    def referrers(self, reference: str | Reference, *, artifact_type: str = "") -> Referrers:
        """What refers to a manifest: its signatures, SBOMs, attestations; of one artifact type only, unless ""."""
        reference = _parse(reference)
        digest = reference.digest or self.resolve(reference) or self._manifest(reference).digest
        return listings.referrers(self._endpoints, reference, digest, artifact_type)

    def upload(self, reference: str | Reference, descriptor: Descriptor, path: str) -> Upload:
        """One blob on its way into a repository, step by step: see upload.py. `path` is the file with its bytes."""
        from labrt.registry.upload import Upload

        return Upload(self._endpoints, self.transport, self.emit, _parse(reference), descriptor, path)

    def put_manifest(self, reference: str | Reference, raw: bytes, media_type: str) -> Digest:
        """Put a manifest or an index under a tag, or by its digest. Its blobs must be there. Returns its digest."""
        from labrt.registry import publish

        reference = _parse(reference)
        base = self.transport.base_url(reference.registry)
        return publish.put_manifest(self._endpoints, base, reference, raw, media_type)

    def delete(self, reference: str | Reference) -> None:
        """Delete a tag, or with a digest a manifest and all its tags. Many registries allow only that, or nothing."""
        from labrt.registry import publish

        reference = _parse(reference)
        publish.delete(self._endpoints, self.transport.base_url(reference.registry), reference)

    def pull(
        self,
        reference: str | Reference,
        layout: Layout,
        *,
        platform: Platform | None = None,
        on_event: Listener | None = None,
    ) -> Image:
        """Bring an image into a store, all of it, and name it there last. None is this machine's platform.

        What the store has is not fetched; what a broken-off pull has left goes on where it was. See pull.py.
        """
        from labrt.registry.pull import Pull

        with self.emit.heard_by(on_event):
            return Pull(self, _parse(reference), layout, platform).run()

    def push(
        self,
        reference: str | Reference,
        layout: Layout,
        *,
        source: str | Reference | None = None,
        platform: Platform | None = None,
        chunk: int | None = None,
        on_event: Listener | None = None,
    ) -> Descriptor:
        """Send an image of a store to a registry, name it there last, and return what the name means there.

        `source` is its name in the store, None the same. An index goes with all its images if they are here; with
        `platform`, one image alone. `chunk`: send blobs in pieces of so many bytes. See push.py.
        """
        from labrt.registry.push import Push

        reference = _parse(reference)
        named = reference if source is None else _parse(source)
        with self.emit.heard_by(on_event):
            return Push(self, reference, layout, source=named, platform=platform, chunk=chunk).run()


def _parse(reference: str | Reference) -> Reference:
    return Reference.parse(reference) if isinstance(reference, str) else reference


def _manifest_path(reference: Reference) -> str:
    return f"manifests/{reference.digest or reference.tag}"


def _content_digest(response: Response) -> Digest | None:
    """What the registry itself calls the bytes. One that we cannot read says nothing."""
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except InvalidDigest:
        return None


def _rate_limit(response: Response) -> RateLimit | None:
    """Docker Hub's headers: `ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 99;w=21600`."""
    header = re.compile(r"([0-9]{1,9})(?:;w=([0-9]{1,9}))?")
    limit = header.fullmatch(response.headers.get("ratelimit-limit", ""))
    remaining = header.fullmatch(response.headers.get("ratelimit-remaining", ""))
    if limit and remaining:
        return RateLimit(response.host, int(limit[1]), int(remaining[1]), int(limit[2] or 0))
    return None
