"""The words that all parts of a Pod are written in: names, quantities, objects without empty fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Leave = Callable[[str], None]  # told what no pod has a word for
Json = dict[str, Any]


def dns_label(text: str) -> str:
    """Make a name as Kubernetes has them: lower case, digits and -, up to 58 of them, so that -pod fits behind it."""
    return re.sub("[^a-z0-9-]+", "-", text.lower()).strip("-")[:58].strip("-") or "container"


def without_nothing(fields: Mapping[str, Any]) -> Json:
    """Drop the fields that say nothing. 0 and False are something."""
    return {key: value for key, value in fields.items() if value not in (None, "", [], {})}


def quantity(size: int) -> str:
    """Write bytes as Kubernetes does: 67108864 is 64Mi."""
    for shift, unit in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def tmpfs_size(text: str) -> str:
    """The same of what tmpfs(5) reads: 64m, 1g, 50%."""
    from labrt.errors import InvalidInput
    from labrt.linux.cgroups import units

    try:
        return quantity(units.parse_size(text) or 0) if text else ""
    except InvalidInput:  # a part of the machine's memory
        return ""
