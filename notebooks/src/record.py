#!/usr/bin/env python3
"""Recorded outputs: what the cells of the course said when they were really run, for readers who cannot run them.

    sudo .venv/bin/python notebooks/src/record.py              run all solutions, one after the other, and keep that
    sudo .venv/bin/python notebooks/src/record.py 08 09        these only
    .venv/bin/python notebooks/src/record.py --check           does each recording belong to its cell as it is now?

They are kept in notebooks/recorded/NN.json, by the id of the cell, which is a hash of its content: a cell that is
changed has no recording until the course is recorded anew. Kept are text and pictures (HTML, SVG); of a widget, what it
showed last. `lab.skipped(reason)` shows a recording where a machine cannot run its cell, and `build.py --edition site`
or `recorded` builds from them.

What a machine skips does not take the place of what another has recorded: run this on several, one after the other.
Nothing of the machine's own is used: the notebooks run in a labrt of their own, in a directory that is then removed.
"""

from __future__ import annotations

import argparse
import datetime
import html
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import build

PATIENCE = 300  # seconds for a cell
Output = dict[str, Any]
Recording = dict[str, Any]


def write(number: str, recording: Recording) -> Path:
    """Write what is recorded of a notebook."""
    build.RECORDED.mkdir(exist_ok=True)
    path = build.RECORDED / f"{number}.json"
    path.write_text(json.dumps(recording, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def record(source: Path, home: str) -> Recording:
    """Run a solution in a labrt of its own under `home`, and return what its cells said, beside what others have."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.reads(build.build(source, "solution").decode(), as_version=4)
    resources = {"metadata": {"path": str(build.NOTEBOOKS)}}
    NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources=resources).execute()
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    said = {cell.id: _cell(cell.outputs, widgets, home) for cell in notebook.cells if cell.cell_type == "code"}
    return merge(build.recorded(source.stem[:2]), {"where": _where(), "cells": said})


def merge(old: Recording, new: Recording) -> Recording:
    """Take the new recording; but of what was skipped in it, the old one where that was not."""
    cells = {}
    for name, cell in new["cells"].items():
        before = old["cells"].get(name)
        if cell.get("skipped") and before and not before.get("skipped"):
            cell = {"where": old["where"]} | before
        if cell["outputs"]:
            cells[name] = cell
    return {"where": new["where"], "cells": cells}


def _cell(outputs: Iterable[Mapping[str, Any]], widgets: Mapping[str, Any], home: str) -> dict[str, Any]:
    """Keep of a cell's outputs what can be read anywhere."""
    kept: list[Output] = []
    for output in outputs:
        made = _output(output, widgets)
        if set(made) == {"text"} and kept and set(kept[-1]) == {"text"}:
            kept[-1]["text"] += made["text"]
        elif made:
            kept.append(made)
    kept = [{kind: _anywhere(text, home) for kind, text in one.items()} for one in kept]
    skipped = any(output.get("metadata", {}).get("labrt") == "skipped" for output in outputs)
    return {"outputs": kept} | ({"skipped": True} if skipped else {})


def _output(output: Mapping[str, Any], widgets: Mapping[str, Any]) -> Output:
    if output["output_type"] == "stream":
        return {"text": output["text"]}
    data = output["data"]
    if view := data.get("application/vnd.jupyter.widget-view+json"):
        return {"html": "".join(_widget(view["model_id"], widgets))}
    if "text/html" in data:
        return {"html": data["text/html"]}
    return {"text": data["text/plain"] + "\n"} if data.get("text/plain") else {}


def _widget(name: str, widgets: Mapping[str, Any]) -> Iterable[str]:
    """Show a widget without its program: of a slider its label and where it stood, of HTML the last picture."""
    state = widgets.get(name.removeprefix("IPY_MODEL_"), {}).get("state", {})
    for child in state.get("children", ()):
        yield from _widget(child, widgets)
    if state.get("_model_name") == "HTMLModel":
        yield state.get("value", "")
    elif state.get("description"):
        yield f"<p>{html.escape(state['description'])}: {html.escape(str(state.get('value', '')))} (a slider)</p>"


def _anywhere(text: str, home: str) -> str:
    """Write this machine's paths as they are on a learner's; terminals' colours are left out."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    for mine, theirs in (
        (home, "/var/lib/labrt"), (tempfile.gettempdir(), "/tmp"), (str(build.NOTEBOOKS.parent), "/opt/labrt")
    ):  # fmt: skip
        text = text.replace(mine, theirs)
    return text


def _where() -> str:
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    kernel = re.match(r"[\d.]*\d", platform.release())
    today = datetime.date.today().isoformat()
    return f"{system}, kernel {kernel[0] if kernel else platform.release()}, {platform.machine()}, {today}"


def stale(numbers: Sequence[str] = ()) -> list[str]:
    """Say which recordings belong to no cell, and which notebooks have none, one line each."""
    wrong = []
    known = {source.stem[:2]: source for source in build.sources()}
    for number in numbers or known:
        ids = {cell["id"] for cell in json.loads(build.build(known[number], "solution"))["cells"]}
        cells = build.recorded(number)["cells"]
        if not cells:
            wrong.append(f"{number}: nothing is recorded")
        if lost := [name for name in cells if name not in ids]:
            wrong.append(f"{number}: {len(lost)} recordings are of cells that are not there any more")
    stray = sorted(path.name for path in build.RECORDED.glob("*") if path.name.removesuffix(".json") not in known)
    return wrong + [f"{name} is of no notebook" for name in stray]


def _own(home: str) -> None:
    """Have labrt, and Jupyter, keep everything below `home`, with busybox there, and nobody's settings."""
    os.environ |= {"LABRT_ROOT": home, "TMPDIR": f"{home}/tmp"}
    os.environ |= {name: f"{home}/jupyter" for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    os.makedirs(f"{home}/tmp")
    from labrt import paths
    from labrt.engine import embedded
    from labrt.image.layout import Layout
    from labrt.registry.client import Client

    with embedded.serve() as server, Client(mirrors={"docker.io": server.url}) as client:
        client.pull("busybox", Layout(paths.default().images))


def main() -> int:
    """Record or check; the exit code is 1 when something is wrong."""
    summary, _, more = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", metavar="NN", help="which notebooks (default: all)")
    parser.add_argument("--check", action="store_true", help="run nothing; exit code 1 if a recording is out of date")
    wanted = parser.parse_args()
    known = {source.stem[:2]: source for source in build.sources()}
    if unknown := [number for number in wanted.numbers if number not in known]:
        parser.error(f"there is no notebook {', '.join(unknown)}; there are {', '.join(known)}")
    if wanted.check:
        wrong = stale(wanted.numbers)
        print("\n".join([*wrong, "run notebooks/src/record.py"] if wrong else ["recordings are up to date"]))
        return int(bool(wrong))
    for number in wanted.numbers or known:
        with tempfile.TemporaryDirectory(prefix="labrt-") as home:
            print(_recorded(known[number], os.path.realpath(home)), flush=True)
    return 0


def _recorded(source: Path, home: str) -> Path:
    """Record one notebook, and leave nothing of its labrt."""
    _own(home)
    try:
        return write(source.stem[:2], record(source, home))
    finally:
        from labrt import lab

        lab.reset(quiet=True)


if __name__ == "__main__":
    sys.exit(main())
