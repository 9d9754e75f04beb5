"""Layers onto directories as the engine does it: image/layer.py, with the kernel as judge of each step down.

    applied = unpacking.apply(stream, "/some/root", whiteouts="overlay", lowers=[…])

image/ knows no Linux, so that it can be read and tried on any operating system; here both meet.
"""

from __future__ import annotations

import functools

from labrt.image import layer
from labrt.linux import beneath

apply = functools.partial(layer.apply, step=beneath.directory)
