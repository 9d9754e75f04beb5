"""YAML for every reader: those of YAML 1.1 and of 1.2, PyYAML, Go's two, and people.

They disagree about what stands without quotes: `1e3`, `0o17`, `y`, `12:30` are strings to one and numbers, truth values
or times to the next. So only what is a word to everybody goes without; the rest is in double quotes, in which nothing
that an image's author wrote can end the string. A comment has no quotes: control characters in it are taken out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import labrt
from labrt.errors import InvalidInput

# Paths, names and references, quantities such as 64Mi and 500m; of letters alone at least two, for y and n are bools.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@+-]*(?::[A-Za-z0-9_./@+-]+)*[A-Za-z0-9_/]|[0-9]+(?:Ki|Mi|Gi|Ti|m)")
_TALKATIVE = re.compile(r"pass(wd|word)?|secret|token|(api|access|private|auth).?key|credential", re.IGNORECASE)


def write(documents: Sequence[dict[str, Any]], reader: str, left_out: Sequence[str]) -> str:
    """Write YAML documents under a comment that says who reads them, and what is missing in them."""
    head = [f"By labrt {labrt.__version__}, for: {reader}"]
    if left_out:
        head += ["", "Left out, for there is no word for it:", *(f"  {line}" for line in left_out)]
    comment = "".join(f"# {clean(line)}".rstrip() + "\n" for line in head)
    return comment + "".join(f"---\n{dump(document)}" for document in documents)


def dump(document: dict[str, Any]) -> str:
    """Write one document. Raises InvalidInput where bytes are that no text is made of: YAML could not hold them."""
    import yaml

    class Writer(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
        """With our rule for strings, and nothing written as an alias of what stands above."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def as_string(writer: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        value.encode()
        return writer.represent_scalar("tag:yaml.org,2002:str", value, None if _PLAIN.fullmatch(value) else '"')

    Writer.add_representer(str, as_string)
    try:
        text: str = yaml.dump(document, Dumper=Writer, sort_keys=False, width=120, allow_unicode=True)
    except UnicodeEncodeError as error:
        remedy = "the bytes of such a variable or argument can stand in no YAML file"
        raise InvalidInput(f"{error.object!r:.100} is not UTF-8", remedy=remedy) from None
    return text


def clean(line: str) -> str:
    """Take out what would end a comment, or do something to a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def looks_secret(name: str) -> bool:
    """Whether a variable of this name is likely to hold what is nobody else's business."""
    return bool(_TALKATIVE.search(name))
