"""Names for containers that were given none: an adjective, and someone without whom there would be no containers."""

from __future__ import annotations

import os

_HOW = (
    "agile", "amber", "bold", "brave", "bright", "calm", "candid", "clever", "cosmic", "crisp", "daring", "deft",
    "eager", "fair", "fond", "frank", "gentle", "glad", "golden", "happy", "honest", "jolly", "keen", "kind", "lively",
    "lucid", "merry", "mighty", "neat", "noble", "patient", "plucky", "polite", "proud", "quiet", "quick", "rapid",
    "serene",
    "sharp", "silent", "smart", "steady", "sunny", "tidy", "upbeat", "vivid", "warm", "wise", "witty", "zesty",
)  # fmt: skip
_WHO = (
    "allen", "bellard", "biederman", "chapman", "corbato", "cox", "engelbart", "goldberg", "hamilton", "heo", "hopper",
    "hykes", "jelinek", "kamp", "kernighan", "kerrisk", "kirkland", "knuth", "lamport", "liskov", "lovelace", "mcilroy",
    "menage", "minix", "perlman", "pike", "poettering", "popek", "ritchie", "salus", "shannon", "stallman", "strachey",
    "tanenbaum", "thompson", "torvalds", "tucker", "turing", "viro", "watson", "wilkes", "yamada", "zadok",
)  # fmt: skip


def new(taken: set[str]) -> str:
    """Return a name that nobody has."""
    for attempt in range(1000):
        first, second = os.urandom(2)
        name = f"{_HOW[first % len(_HOW)]}_{_WHO[second % len(_WHO)]}{attempt // 3 or ''}"
        if name not in taken:
            return name
    return os.urandom(6).hex()
