"""`python -m labrt` is `labrt`."""

from __future__ import annotations

import sys

from labrt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
