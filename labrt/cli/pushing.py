"""What a push prints.

    with Pushing(sys.stdout) as heard: push.push("localhost:5000/busybox", on_event=heard)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from labrt.cli.transfer import Transfer

if TYPE_CHECKING:
    from labrt.engine.packing import Packed


class Pushing(Transfer):
    """A listener for the events of a push."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        super().__init__(out, quiet=quiet)
        self._packed: list[Packed] = []

    def __call__(self, event: object) -> None:
        """Hear one event."""
        from labrt.engine.packing import Packed
        from labrt.registry import events

        if isinstance(event, Packed):
            self._packed.append(event)  # said below the first line, which comes when the registry is asked
        elif isinstance(event, events.Pushing):
            self._print(f"The push refers to repository [{event.reference.name}]")
            self._draw_bars()
            for packed in self._packed:
                self._layer(packed.layer, f"Compressed, {packed.size} bytes")
        elif isinstance(event, events.AlreadyThere):
            self._layer(event.descriptor, "Layer already exists")
        elif isinstance(event, events.Mounted):
            self._layer(event.descriptor, f"Mounted from {event.source}")
        elif isinstance(event, events.UploadDone):
            self._layer(event.descriptor, "Pushed")
        elif isinstance(event, events.Pushed):
            name = event.reference.tag or event.reference.digest
            self._last = [f"{name}: digest: {event.digest} size: {event.size}"]
        elif isinstance(event, events.Waiting | events.HelperFailed | events.OnePlatform):
            self._trouble(event)
        if self._draw:
            self._draw(event)
