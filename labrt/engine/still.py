"""Containers as they were at one moment: for who looks at many, and asks each a lot.

    for one in every(containers): one.name, one.status, one.health      each file is read once

A Container reads its files whenever it is asked, since others may change them at any time. A Still reads each when it
is first asked for, and answers from that: two of its answers fit each other, and a list of hundreds takes no thousands
of reads. It is for looking only; what changes a container, asks the Container.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from labrt.engine.container import Container
from labrt.engine.containers import Containers
from labrt.errors import ContainerNotFound
from labrt.runtime import container as runtime
from labrt.runtime import state as states
from labrt.runtime.state import State


class Still(Container):
    """One container, standing still."""

    def __init__(self, container: Container, record: dict[str, Any]) -> None:
        super().__init__(container.id, container.where)
        self._record = record
        self._state: State | None = None
        self.runtime = _Runtime(container.id, where=container.where)

    def record(self) -> dict[str, Any]:
        """Return what labrt.json said."""
        return self._record

    @property
    def state(self) -> State:
        """What its state was."""
        if self._state is None:
            self._state = super().state
        return self._state


class _Runtime(runtime.Container):
    _config: dict[str, Any] | None = None

    def config(self) -> dict[str, Any]:
        """Return what config.json said."""
        if self._config is None:
            self._config = super().config()
        return self._config


def every(containers: Containers) -> Iterator[Still]:
    """Yield all, the newest first; one whose monitor was killed is mended before."""
    for container, record in containers.records():
        with contextlib.suppress(ContainerNotFound):
            still = Still(container, record)
            if still.state.monitor and not still.state.kept and not states.monitor_alive(still.state):
                container.mend()
                still = Still(container, container.record())
            yield still
