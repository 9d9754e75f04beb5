"""Begin at any notebook: the machine is put into the state that it wants to find.

    lab.goto("08")

Nothing of an earlier lesson is left, and labrt's own image is there. It says which of the functions that you have
written before are kept: `lab.progress.learned("01")` gives one back.
"""

from __future__ import annotations

import glob
import os

from labrt.errors import NotFound
from labrt.lab import exercise, progress, show
from labrt.lab import ledger as book
from labrt.lab.show import Picture


def goto(number: str) -> Picture:
    """Prepare a notebook, and say what was done and where it lies. NotFound when there is none of this number."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = glob.glob(os.path.join(here, "notebooks", f"{number}_*.ipynb"))
    if not found:
        raise NotFound(f"there is no notebook {number!r}", remedy='lab.goto("00") begins at the beginning')
    taken_down = book.reset(quiet=True)
    rows = [
        ("from before", repr(taken_down).removeprefix("<Reset: ").removesuffix(">")),
        ("busybox", _busybox()),
        ("your own functions", _own(number)),
        ("now open", os.path.basename(found[0])),
    ]
    return show.table(["", ""], rows, caption=f"Ready for notebook {number}")


def _busybox() -> str:
    from labrt.engine import pull
    from labrt.engine.images import Images

    try:
        Images().find("busybox")
        return "is here"
    except NotFound:
        pull("busybox")
        return "pulled"


def _own(number: str) -> str:
    before = [one for one in sorted(exercise.EXERCISES) if one < number]
    passed = [one for one in before if progress.load(one).passed]
    return f"kept from {', '.join(passed)}" if passed else "none yet"
