"""Which registry to ask: Docker Hub where it answers, else the embedded default on loopback.

    with lab.hub() as hub:
        print(hub)                          # in one line, which it is
        hub.reference("busybox")            # docker.io/library/busybox:latest, or 127.0.0.1:40123/library/…

So that a class room without the internet sees the same steps, with a registry of its own. It is a real one (a small
one: registry/server.py), with one real image; nothing is played back. Notebooks 13 and 21.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from labrt import paths
from labrt.errors import RegistryError, Unreachable
from labrt.image.reference import DEFAULT_REGISTRY, Reference
from labrt.paths import Paths

HUB = DEFAULT_REGISTRY
TIMEOUTS = (3.0, 5.0)  # seconds to connect, and to be answered; who is slower than that is not fit for a lesson


class Hub(NamedTuple):
    """The registry to ask. `why_not` is empty for Docker Hub itself, else why the embedded default stands in."""

    host: str
    why_not: str = ""

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded default."""
        return bool(self.why_not)

    def reference(self, name: str) -> str:
        """Turn a name as people type it into one that asks this registry. Another registry's name stays as it is."""
        from labrt.engine.embedded import REFERENCE

        wanted = Reference.parse(name)
        if wanted.registry != DEFAULT_REGISTRY:
            return str(wanted)
        if self.embedded and str(wanted) != str(REFERENCE):
            remedy = f"without a network there is {REFERENCE.familiar} only"
            raise Unreachable(f"{wanted.familiar}: Docker Hub cannot be reached: {self.why_not}", remedy=remedy)
        return f"{self.host}/{str(wanted).partition('/')[2]}"

    def __str__(self) -> str:
        if self.embedded:
            return f"No answer from Docker Hub ({self.why_not}): the embedded default on {self.host} stands in"
        return "Docker Hub answers" if self.host == DEFAULT_REGISTRY else f"{self.host} answers"


@contextlib.contextmanager
def hub(where: Paths | None = None) -> Iterator[Hub]:
    """Yield the registry to ask, open for the length of the block. `where` None: this user's embedded default."""
    why_not = unreachable(HUB)
    if not why_not:
        yield Hub(HUB)
        return
    from labrt.engine import embedded

    with embedded.serve(where or paths.default()) as server:
        yield Hub(server.host, why_not)


def unreachable(host: str) -> str:
    """Ask a registry whether it is one. Returns "", or in a few words why it does not serve."""
    from labrt.registry.transport import Transport

    transport = Transport(attempts=1, timeouts=TIMEOUTS)
    try:
        status = transport.request("GET", f"{transport.base_url(host)}/v2/").status
    except Unreachable as error:
        return error.message.rpartition(": ")[2] or error.message
    except RegistryError as error:
        return error.message
    finally:
        transport.close()
    return "" if status in (200, 401) else f"{host} answers {status}"
