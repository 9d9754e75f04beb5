r"""`--format`: json, or a template in docker's notation: '{{.Name}}: {{.CPUPerc}}', 'table {{.Name}}\t{{.PIDs}}'.

Only fields can be named. What else Go's templates can (if, range, functions) is refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from labrt.cli import show
from labrt.errors import InvalidInput

_ACTION = re.compile(r"\{\{(.*?)\}\}")
_FIELD = re.compile(r"\s*(?:(json)\s+)?\.(\w*)\s*")


def render(template: str, rows: Sequence[Mapping[str, str]], headers: Mapping[str, str]) -> str:
    """Write one line for each row. `headers` names the columns that a table has, by field."""
    if template == "json":
        return "\n".join(json.dumps(dict(row), ensure_ascii=False) for row in rows)
    is_table = template.startswith("table ") or template == "table"
    text = template.removeprefix("table").strip() if is_table else template
    text = text.replace("\\t", "\t").replace("\\n", "\n")
    if not is_table:
        return "\n".join(_fill(text, row) for row in rows)
    lines = [_fill(text, line).split("\t") for line in (headers, *rows)]
    return show.table(lines[0], lines[1:])


def _fill(text: str, row: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        field = _FIELD.fullmatch(match[1])
        if field is None or (field[2] and field[2] not in row):
            remedy = f"fields are {', '.join(f'.{name}' for name in row)}"
            raise InvalidInput(f"--format: {match[0]} is not understood", remedy=remedy)
        found: object = row[field[2]] if field[2] else dict(row)
        return json.dumps(found, ensure_ascii=False) if field[1] or not field[2] else str(found)

    return _ACTION.sub(value, text)
