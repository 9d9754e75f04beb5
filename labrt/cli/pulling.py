"""What a pull prints.

    with Pulling(sys.stderr, announce=True) as heard: images.pull("busybox", on_event=heard)

Everything is imported at the first event: most runs find their image here and pull nothing.
"""

from __future__ import annotations

from labrt.cli.transfer import Transfer

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, TextIO


class Pulling(Transfer):
    """A listener for the events of a pull. `announce`: say first that the image was not here, as `run` does."""

    def __init__(self, out: TextIO, *, announce: bool = False, quiet: bool = False) -> None:
        super().__init__(out, quiet=quiet)
        self.announce = announce
        self._fetched = False

    def __call__(self, event: object) -> None:
        """Hear one event."""
        from labrt.engine.images import EmbeddedUsed
        from labrt.registry import events

        if isinstance(event, events.Resolving):
            self._begin(event.reference)
        elif isinstance(event, events.Exists):
            self._layer(event.descriptor, "Already exists")
        elif isinstance(event, events.LayerDone):
            self._fetched = True
            self._layer(event.descriptor, "Pull complete")
        elif isinstance(event, events.Pulled):
            status = "Downloaded newer image" if self._fetched else "Image is up to date"
            self._last = [f"Digest: {event.digest}", f"Status: {status} for {event.reference.familiar}"]
        elif isinstance(event, events.Waiting | events.MirrorFailed | events.HelperFailed | EmbeddedUsed):
            self._trouble(event)
        if self._draw:
            self._draw(event)

    def _begin(self, reference: Any) -> None:
        if self.announce:
            self._print(f"Unable to find image '{reference.familiar}' locally")
            self.announce = False
        self._once(f"{reference.tag or reference.digest}: Pulling from {reference.repository}")
        self._draw_bars()
