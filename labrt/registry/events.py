"""What happens while a registry is talked to, as small frozen values.

A `Client` hands each to its `on_event`: the command line draws progress bars from them, the notebook a message
sequence, a log their `describe()`. They come from whichever thread does the work, but never two at once. None carries
a secret: no header Authorization, no token, and of a URL's query only what the specifications name (see `urls.public`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labrt.image.descriptor import Descriptor
    from labrt.image.digest import Digest
    from labrt.image.reference import Reference

@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """One thing that happened. `describe()` says it in plain words."""

    def describe(self) -> str:
        """What happened, in one line."""
        raise NotImplementedError(type(self).__name__)

    def __str__(self) -> str:
        return self.describe()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.describe()}>"


@dataclass(frozen=True, slots=True, repr=False)
class Exchange(Event):
    """One HTTP request and its answer. `signed` names the kind of Authorization it carried: "", "Basic", "Bearer"."""

    method: str
    url: str
    status: int
    signed: str = ""

    def describe(self) -> str:
        """As one would read it on the wire."""
        return f"{self.method} {self.url}{f' ({self.signed})' if self.signed else ''} → {self.status}"


@dataclass(frozen=True, slots=True, repr=False)
class Redirected(Event):
    """The registry sent us elsewhere. `keeps_authorization` is True only for the same scheme, host and port."""

    source: str
    target: str
    keeps_authorization: bool

    def describe(self) -> str:
        """From where to where, and what was left behind."""
        return f"redirected to {self.target}" + ("" if self.keeps_authorization else ", without our Authorization")


@dataclass(frozen=True, slots=True, repr=False)
class Waiting(Event):
    """A request will be made again after `seconds`; `attempt` counts from 1 and is the one that failed."""

    seconds: float
    reason: str
    attempt: int

    def describe(self) -> str:
        """How long, and for what."""
        return f"waiting {self.seconds:.1f} s after attempt {self.attempt}: {self.reason}"


@dataclass(frozen=True, slots=True, repr=False)
class TokenGranted(Event):
    """A token server gave a token for `scope`, good for `seconds`. `account` is "" for an anonymous one."""

    host: str
    scope: str
    account: str
    seconds: float

    def describe(self) -> str:
        """Who may what, and how long."""
        who = self.account or "anybody"
        return f"{self.host} gave a token to {who} for {self.scope or 'signing in'}, good for {self.seconds:.0f} s"


@dataclass(frozen=True, slots=True, repr=False)
class HelperFailed(Event):
    """A credential helper could not be asked; we go on as anybody."""

    host: str
    helper: str
    reason: str

    def describe(self) -> str:
        """Which helper, and why."""
        return f"{self.helper} has no credentials for {self.host}: {self.reason}; going on without"


@dataclass(frozen=True, slots=True, repr=False)
class MirrorFailed(Event):
    """A mirror did not serve; the next place is asked."""

    mirror: str
    reason: str

    def describe(self) -> str:
        """Which mirror, and why."""
        return f"mirror {self.mirror} did not serve: {self.reason}"


@dataclass(frozen=True, slots=True, repr=False)
class RateLimit(Event):
    """What a registry says of its limit of pulls: `remaining` of `limit` in `window` seconds (0: it did not say)."""

    host: str
    limit: int
    remaining: int
    window: int

    def describe(self) -> str:
        """How many pulls are left."""
        per = f" per {self.window / 3600:g} h" if self.window else ""
        return f"{self.host} allows {self.limit} pulls{per}; {self.remaining} remain"


@dataclass(frozen=True, slots=True, repr=False)
class Resolving(Event):
    """A pull begins."""

    reference: Reference

    def describe(self) -> str:
        """Which image."""
        return f"resolving {self.reference}"


@dataclass(frozen=True, slots=True, repr=False)
class Resolved(Event):
    """A name became a digest: of an index (then `platform` says what will be chosen from it) or of a manifest."""

    reference: Reference
    digest: Digest
    media_type: str
    platform: str = ""

    def describe(self) -> str:
        """Which digest, and of what."""
        for_platform = f" for {self.platform}" if self.platform else ""
        return f"{self.reference} is {self.digest}{for_platform} ({self.media_type})"


@dataclass(frozen=True, slots=True, repr=False)
class Exists(Event):
    """The store has this blob already; nothing is fetched."""

    descriptor: Descriptor

    def describe(self) -> str:
        """Which blob."""
        return f"{self.descriptor.digest.short}: already exists"


@dataclass(frozen=True, slots=True, repr=False)
class Resuming(Event):
    """A blob goes on at byte `offset`: after a broken connection, or where a killed pull had come to."""

    descriptor: Descriptor
    offset: int

    def describe(self) -> str:
        """Which blob, and from where."""
        return f"{self.descriptor.digest.short}: goes on at byte {self.offset} of {self.descriptor.size}"


@dataclass(frozen=True, slots=True, repr=False)
class LayerProgress(Event):
    """`offset` of `total` bytes of a blob have come, as sent (compressed)."""

    descriptor: Descriptor
    offset: int
    total: int

    def describe(self) -> str:
        """How far it is."""
        return f"{self.descriptor.digest.short}: {self.offset} of {self.total} bytes"


@dataclass(frozen=True, slots=True, repr=False)
class LayerDone(Event):
    """A blob is whole, its digest is right, and it is in the store."""

    descriptor: Descriptor

    def describe(self) -> str:
        """Which blob."""
        return f"{self.descriptor.digest.short}: complete, digest verified"


@dataclass(frozen=True, slots=True, repr=False)
class Pulled(Event):
    """The store has the whole image under its name. `digest` is what the registry names it by."""

    reference: Reference
    digest: Digest

    def describe(self) -> str:
        """Which image."""
        return f"{self.reference} is here, digest {self.digest}"


@dataclass(frozen=True, slots=True, repr=False)
class Pushing(Event):
    """A push begins."""

    reference: Reference

    def describe(self) -> str:
        """Which image."""
        return f"pushing {self.reference}"


@dataclass(frozen=True, slots=True, repr=False)
class OnePlatform(Event):
    """Of an index only some platforms' images are here: the one for `platform` is pushed, and not the index."""

    reference: Reference
    platform: str

    def describe(self) -> str:
        """Which is pushed, and why."""
        return f"{self.reference} is here for some platforms only: pushing the image for {self.platform} alone"


@dataclass(frozen=True, slots=True, repr=False)
class AlreadyThere(Event):
    """The registry has this blob in the repository already; nothing is sent."""

    descriptor: Descriptor

    def describe(self) -> str:
        """Which blob."""
        return f"{self.descriptor.digest.short}: layer already exists there"


@dataclass(frozen=True, slots=True, repr=False)
class Mounted(Event):
    """The registry took this blob over from its other repository `source`; nothing is sent."""

    descriptor: Descriptor
    source: str

    def describe(self) -> str:
        """Which blob, and whence."""
        return f"{self.descriptor.digest.short}: mounted from {self.source}"


@dataclass(frozen=True, slots=True, repr=False)
class UploadProgress(LayerProgress):
    """`offset` of `total` bytes of a blob have been sent."""

    def describe(self) -> str:
        """How far it is."""
        return f"{self.descriptor.digest.short}: {self.offset} of {self.total} bytes sent"


@dataclass(frozen=True, slots=True, repr=False)
class UploadDone(LayerDone):
    """The registry has the whole blob and found its digest right."""

    def describe(self) -> str:
        """Which blob."""
        return f"{self.descriptor.digest.short}: pushed"


@dataclass(frozen=True, slots=True, repr=False)
class Pushed(Event):
    """The registry has the whole image under its name. `size` is that of the document named, in bytes."""

    reference: Reference
    digest: Digest
    size: int

    def describe(self) -> str:
        """Which image, and its digest there."""
        return f"{self.reference} is there, digest {self.digest}, size {self.size}"


Listener = Callable[[Event], None]


class Emitter:
    """Hands each event to every listener, one at a time, whichever thread it comes from."""

    def __init__(self, listener: Listener | None = None) -> None:
        self._listeners = [listener] if listener else []
        self._lock = threading.RLock()  # a listener may itself ask the client for something

    def __call__(self, event: Event) -> None:
        """Tell everyone."""
        with self._lock:
            for listener in self._listeners:
                listener(event)

    @contextmanager
    def heard_by(self, listener: Listener | None) -> Iterator[None]:
        """Let one more listen while the block runs; None adds nobody."""
        if listener is None:
            yield
            return
        with self._lock:
            self._listeners = [*self._listeners, listener]
        try:
            yield
        finally:
            with self._lock:
                self._listeners = [one for one in self._listeners if one is not listener]
