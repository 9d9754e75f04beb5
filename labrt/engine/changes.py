"""Dockerfile instructions that change an image's config: what `import -c` and `commit -c` take.

    apply({"Cmd": ["sh"]}, ["ENV A=1", 'CMD ["/hello"]'])     the "config" object, changed; the old one stays

The instructions are the builder's (builder/instructions.py), but for SHELL: docker allows no other here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from labrt.builder import dockerfile, instructions
from labrt.errors import InvalidInput

Config = dict[str, Any]
ALLOWED = sorted(set(instructions.CHANGES) - {"SHELL"})


def apply(config: Config, changes: Iterable[str]) -> Config:
    """Return the config after these instructions, in order. Raises InvalidInput, which names the instruction."""
    changed: Config = json.loads(json.dumps(config))
    for text in changes:
        instruction = dockerfile.parse_one(text)
        if instruction.keyword not in ALLOWED:
            raise InvalidInput(f"{text!r:.200} changes no image config", remedy=f"one of {', '.join(ALLOWED)}")
        if instruction.rest.startswith("[") and instruction.json is None:
            raise InvalidInput(f"{text!r:.200} cannot be read: a list of strings is wanted")
        variables = dict(line.partition("=")[::2] for line in changed.get("Env") or [])
        instructions.apply(changed, instruction, variables)
    return changed
