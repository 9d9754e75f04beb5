"""Remove one container: what the monitor of a detached `--rm` container becomes at its end.

python -m labrt.engine.remove ID
"""

from __future__ import annotations

import contextlib
import os
import sys

from labrt import paths
from labrt.engine.containers import Container
from labrt.errors import Conflict, ContainerNotFound


def remove(id: str) -> None:
    """Remove it, unless a client that waited for its end has done so already."""
    container = Container(id, paths.default())
    with contextlib.suppress(ContainerNotFound):
        try:
            container.remove(force=True, wait=False)
        except Conflict:
            # Somebody is just removing it, `rm -f` or Ctrl-C, and waits with the lock in hand for the end of the
            # monitor: that is this very process. So it ends, and a child looks later what is left to be done.
            if os.fork():
                os._exit(0)
            container.remove(force=True)


if __name__ == "__main__":
    remove(sys.argv[1])
