"""Remove one container: what the monitor of a detached `--rm` container becomes at its end.

python -m labrt.engine.remove ID
"""

from __future__ import annotations

import contextlib
import sys

from labrt import paths
from labrt.engine.containers import Container
from labrt.errors import ContainerNotFound

if __name__ == "__main__":
    # A client that waited for the end may have removed it already.
    with contextlib.suppress(ContainerNotFound):
        Container(sys.argv[1], paths.default()).remove(force=True)
