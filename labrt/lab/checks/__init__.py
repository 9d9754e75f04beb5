"""Checks: they judge an exercise by what the kernel shows, never by what was printed, and give hints.

    verdict      Check, which is what they all return
    attempt      runs a learner's function where it can do no harm, and says what became of it
    accidents    00   cleans_up(clean_up)                  takes down what the ledger names
    capstone     21   contained(by_hand, by_labrt)         two probes of two containers, compared

The other rooms are one per notebook, named by its subject. Which check is which exercise's is in exercise.py; in a
notebook `lab.check("01", relay)` calls it, and keeps what was written.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "Check": "verdict",
    "cleans_up": "accidents", "accident": "accidents",
    "holds": "limits", "divides": "shares", "unites": "unions", "drives": "drivers",
    "names_layers": "digests", "pulls_safely": "pulls", "enters": "execs", "configures": "configs",
    "joins": "cables", "publishes": "gates",
    "confines": "powers",
    "prints": "listings",
    "caches": "copies",
    "contained": "capstone", "parse_probe": "capstone", "ISOLATION": "capstone",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"labrt.lab.checks has no {name!r}; it has {', '.join(sorted(_WHERE))}")
    return getattr(importlib.import_module(f"labrt.lab.checks.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
