#!/usr/bin/env python3
"""Notebooks from their one source: notebooks/src/NN_title.py (jupytext, py:percent) to notebooks/NN_title.ipynb.

    .venv/bin/python notebooks/src/build.py                             the committed notebooks, anew
    .venv/bin/python notebooks/src/build.py --check                     are the committed ones what the sources say?
    .venv/bin/python notebooks/src/build.py --edition solution --out DIR       another edition, elsewhere
    .venv/bin/python notebooks/src/build.py --edition site --out DIR           pages to read: open DIR/index.html

A source holds full solutions, between `### BEGIN SOLUTION` and `### END SOLUTION`; in the student edition these become
a stub that raises NotImplementedError with the hint that stands behind BEGIN SOLUTION. Editions:

    student      what is committed: stubs, no outputs
    solution     everything, which is what the tests run
    presenter    solutions, and of the prose only the headings: to talk over
    recorded     solutions with what they said when they were last run for real (record.py), for who cannot run them
    site         the same as a static site (pages.py): no server, no scripts, nothing from elsewhere

A cell that runs for a second or more has the tag "long": `# %% tags=["long"]`. The tests interrupt those.

The same source gives the same bytes: cells are named by a hash of their content, and nothing tells time or machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent
NOTEBOOKS = SOURCES.parent
RECORDED = NOTEBOOKS / "recorded"
EDITIONS = ("student", "solution", "presenter", "recorded")
_BEGIN = re.compile(r"^(?P<indent>\s*)### BEGIN SOLUTION(?::\s*(?P<hint>.*))?$")
_END = re.compile(r"^\s*### END SOLUTION$")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class BadSource(Exception):
    """A source that cannot become a notebook; says which and why."""


def sources() -> list[Path]:
    """Every source, in the order of the course."""
    return sorted(path for path in SOURCES.glob("[0-9][0-9]_*.py"))


def build(source: Path, edition: str = "student") -> bytes:
    """Make one notebook of one source, as the bytes of its .ipynb."""
    import jupytext

    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    cells, seen = [], {}
    for cell in notebook.cells:
        text = _for_edition(cell.source, edition, source.name)
        if cell.cell_type == "markdown" and edition == "presenter":
            text = "\n".join(line for line in text.splitlines() if line.startswith("#"))
        if not text.strip():
            continue
        content = f"{cell.cell_type}\0{text}"
        seen[content] = seen.get(content, 0) + 1
        made = _cell(cell.cell_type, text, f"{content}\0{seen[content]}")
        made["metadata"] = {key: value for key, value in cell.metadata.items() if key == "tags"}
        cells.append(made)
    if edition == "recorded":
        _replay(cells, recorded(source.stem[:2])["cells"])
    document = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _cell(kind: str, text: str, identity: str) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "cell_type": kind,
        "id": hashlib.sha256(identity.encode()).hexdigest()[:12],
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


def recorded(number: str) -> dict[str, Any]:
    """Read what is recorded of a notebook: `where`, and `cells` by their ids. Where nothing is, there are no cells."""
    path = RECORDED / f"{number}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"where": "", "cells": {}}


def _replay(cells: list[dict[str, Any]], said: dict[str, Any]) -> None:
    """Number the cells as if they had been run, and give them their recorded outputs."""
    code = (cell for cell in cells if cell["cell_type"] == "code")
    for number, cell in enumerate(code, 1):
        cell["execution_count"] = number
        cell["outputs"] = [_output(one) for one in said.get(cell["id"], {}).get("outputs", ())]


def _output(said: dict[str, str]) -> dict[str, Any]:
    if "html" not in said:
        return {"output_type": "stream", "name": "stdout", "text": said["text"].splitlines(keepends=True)}
    data = {"text/html": said["html"], "text/plain": "a picture"}
    if said["html"].startswith("<svg"):
        data["image/svg+xml"] = said["html"]  # what GitHub shows; it strips drawings from HTML
    return {"output_type": "display_data", "metadata": {}, "data": data}


def _for_edition(text: str, edition: str, name: str) -> str:
    """Take the markers out, and in the student edition the solutions with them."""
    lines, stub = [], None
    for line in text.splitlines():
        begin = _BEGIN.match(line)
        if begin:
            if stub is not None:
                raise BadSource(f"{name}: BEGIN SOLUTION within a solution")
            hint = (begin["hint"] or "write this").replace('"', "'")
            stub = f'{begin["indent"]}raise NotImplementedError("{hint}")'
            if edition == "student":
                lines.append(stub)
        elif _END.match(line):
            if stub is None:
                raise BadSource(f"{name}: END SOLUTION without BEGIN SOLUTION")
            stub = None
        elif stub is None or edition != "student":
            lines.append(line)
    if stub is not None:
        raise BadSource(f"{name}: BEGIN SOLUTION without END SOLUTION")
    return "\n".join(lines)


def write(out: Path, edition: str) -> list[Path]:
    """Write every notebook of an edition into a directory."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sources():
        path = out / f"{source.stem}.ipynb"
        path.write_bytes(build(source, edition))
        written.append(path)
    return written


def differences() -> list[str]:
    """Say what is wrong with the committed notebooks, one line each; nothing when all is right."""
    wrong = []
    for source in sources():
        path = NOTEBOOKS / f"{source.stem}.ipynb"
        if not path.exists():
            wrong.append(f"{path.name} is missing")
        elif path.read_bytes() != build(source):
            wrong.append(f"{path.name} is not what {source.name} generates")
    known = {source.stem for source in sources()}
    orphans = (path.name for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.stem not in known)
    return wrong + [f"{name} has no source" for name in orphans]


def main() -> int:
    """Build or check; the exit code is 1 when something is wrong."""
    summary, _, more = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a notebook is out of date")
    parser.add_argument("--edition", choices=(*EDITIONS, "site"), default="student")
    parser.add_argument("--out", type=Path, help="where to (default: notebooks/, and that only for students)")
    wanted = parser.parse_args()
    try:
        if wanted.check:
            wrong = differences()
            print("\n".join([*wrong, "run notebooks/src/build.py"] if wrong else ["notebooks are up to date"]))
            return int(bool(wrong))
        if wanted.out is None and wanted.edition != "student":
            parser.error(f"the {wanted.edition} edition does not belong into notebooks/: give --out DIR")
        if wanted.edition == "site":
            sys.modules.setdefault("build", sys.modules[__name__])  # so that there is one BadSource
            import pages

            print(pages.write(wanted.out))
            return 0
        for path in write(wanted.out or NOTEBOOKS, wanted.edition):
            print(path)
    except BadSource as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
