r"""labrt: a container lab you can read.

    cli        the command line, typed as `docker` is
    lab        what a learner sees: the doctor, the ledger, pictures, checks
    engine     images and containers together: run, pull, ps, logs, …
    builder    a Dockerfile to an image
    storage    layers to a root: drivers          registry   images from afar     runtime   bundles to containers
    linux      the kernel's interface             image      values: references, digests, manifests, layers
    paths, errors, shapes

Each floor uses only those below it. Start with any of these:

    >>> import labrt
    >>> labrt.run("busybox", "echo", "hello").stdout
    'hello\n'
    >>> labrt.pull("alpine:3.20")       # shows itself as a tree of manifest and layers
    >>> labrt.build(".", tag="mine")    # a Dockerfile into an image
    >>> labrt.doctor()                  # what this machine can do, and what to mend
    >>> labrt.reset()                   # take down everything labrt made
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as typing's own, which type checkers believe; to import that takes 10 ms
if TYPE_CHECKING:
    from typing import Any

    from labrt.engine import build, pull, run
    from labrt.lab.doctor import doctor
    from labrt.lab.ledger import reset

__version__ = "0.1.0"
__all__ = ["build", "doctor", "pull", "reset", "run"]

# PEP 562: a name is imported when it is first asked for, so `import labrt` costs nothing.
_WHERE = {
    "build": "labrt.engine", "doctor": "labrt.lab.doctor", "pull": "labrt.engine", "reset": "labrt.lab.ledger",
    "run": "labrt.engine",
}  # fmt: skip
_FLOORS = (
    "builder", "cli", "engine", "image", "lab", "linux", "registry", "runtime", "storage", "errors", "paths", "shapes",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name) or (f"labrt.{name}" if name in _FLOORS else "")
    if module:
        __import__(module)  # and not importlib, which is half a millisecond of imports itself
        return getattr(sys.modules[module], name) if name in _WHERE else sys.modules[module]
    raise AttributeError(f"labrt has no {name!r}; it has {', '.join([*__all__, *_FLOORS])}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_FLOORS])
