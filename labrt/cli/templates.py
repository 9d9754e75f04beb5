r"""`--format`: json, or a template in docker's notation: '{{.Name}}: {{.CPUPerc}}', 'table {{.Name}}\t{{.PIDs}}'.

    render(template, rows, headers)     a line for each row, or a table of them
    fill(template, value)               one value, which may have parts: '{{.State.Pid}}', '{{json .Mounts}}'

Only fields can be named. What else Go's templates can (if, range, functions) is refused by name. A part that is an
object or a list is written as JSON, where docker writes Go's own notation, which nothing reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from labrt.cli import show
from labrt.errors import InvalidInput

_ACTION = re.compile(r"\{\{(.*?)\}\}")
_FIELD = re.compile(r"\s*(?:(json)\s+)?\.((?:\w+(?:\.\w+)*)?)\s*")


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


def fill(template: str, value: Mapping[str, Any]) -> str:
    """Write one value. Raises InvalidInput for what is no field of it, and says which there are."""
    if template == "json":
        return json.dumps(dict(value), ensure_ascii=False)
    return _fill(template.replace("\\t", "\t").replace("\\n", "\n"), value)


def _fill(text: str, row: Mapping[str, Any]) -> str:
    def value(match: re.Match[str]) -> str:
        field = _FIELD.fullmatch(match[1])
        if field is None:
            remedy = "{{.Field}}, {{.Field.Part}} and {{json .Field}} can be written; for more, `--format json | jq …`"
            raise InvalidInput(f"--format: {match[0]} is not understood", remedy=remedy)
        found: Any = row
        for name in field[2].split(".") if field[2] else ():
            if not isinstance(found, Mapping) or name not in found:
                there = ", ".join(f".{name}" for name in found) if isinstance(found, Mapping) else "none"
                raise InvalidInput(f"--format: {match[0]}: there is no {name}", remedy=f"fields are {there}")
            found = found[name]
        return _written(found, as_json=bool(field[1]) or not field[2])

    return _ACTION.sub(value, text)


def _written(value: Any, *, as_json: bool) -> str:
    if as_json or isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    if value is None:
        return "<no value>"
    return str(value).lower() if isinstance(value, bool) else str(value)
