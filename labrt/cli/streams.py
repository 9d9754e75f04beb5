"""Standard input, output and error, of a program that somebody may have started without one of them."""

from __future__ import annotations

import os
import sys


def open_standard() -> None:
    """Open those of 0, 1 and 2 that our caller has closed: else the next socket would be taken for one of them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(number, True)  # as the others are: what we execute has all three
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115 - stays open
            setattr(sys, name, stream)  # Python had left it None
