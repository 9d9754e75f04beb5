"""`python -m labrt` is `labrt`."""

from __future__ import annotations

from labrt.cli.main import script

if __name__ == "__main__":
    script()
