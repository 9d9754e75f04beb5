"""What a machine cannot do is skipped where all can see it: with the reason, and what the cell said elsewhere.

    except errors.NotSupported as error:
        lab.skipped(error)                  the reason, and the recording of the cell that is being run
    lab.skipped.recording(code)             what is recorded of a cell, by its text; None for nothing

Recordings are in notebooks/recorded/, made by notebooks/src/record.py from real runs. They are found by a hash of the
cell's text: whoever has changed a cell is not shown what another one said.
"""

from __future__ import annotations

import glob
import hashlib
import html
import json
import os
from typing import Any, NamedTuple

from labrt.lab import show
from labrt.lab.preflight import NOTEBOOKS
from labrt.lab.show import Picture


class Recording(NamedTuple):
    """What one cell said: `outputs` have `text` or `html`; `where` names the machine, its kernel, and the day."""

    where: str
    outputs: list[dict[str, str]]


def skipped(*reasons: object) -> Picture | None:
    """Show why this cell is skipped, and its recording. In a notebook it is displayed; elsewhere it is returned."""
    shell = _shell()
    code = shell.history_manager.input_hist_raw[-1] if shell else ""
    picture = _picture("; ".join(map(str, reasons)), recording(code))
    if shell is None:
        return picture
    from IPython.display import display

    display(picture, metadata={"labrt": "skipped"})  # type: ignore[no-untyped-call]
    return None


def recording(code: str) -> Recording | None:
    """Return what is recorded of a cell with this text, or None."""
    name = hashlib.sha256(f"code\0{code}\0001".encode()).hexdigest()[:12]  # as notebooks/src/build.py names cells
    for path in sorted(glob.glob(os.path.join(NOTEBOOKS, "recorded", "[0-9][0-9].json"))):
        with open(path, encoding="utf-8") as file:
            recorded = json.load(file)
        cell = recorded["cells"].get(name)
        if cell and not cell.get("skipped"):
            return Recording(cell.get("where", recorded["where"]), cell["outputs"])
    return None


def _picture(reason: str, recorded: Recording | None) -> Picture:
    first = f"skipped on this machine: {reason}"
    if recorded is None:
        return Picture(f"<p>{show.escape(first)}</p>", first)
    second = f"recorded on another ({recorded.where}):"
    said = "".join(one.get("html") or f"<pre>{html.escape(one['text'])}</pre>" for one in recorded.outputs)
    frame = f"border-left:4px dashed {show.FAINT};padding-left:12px;color:{show.TEXT};{show.FONT}"
    markup = f'<p>{show.escape(first)}</p><div style="{frame}"><p>{show.escape(second)}</p>{said}</div>'
    texts = [one.get("text") or "(a picture)" for one in recorded.outputs]
    return Picture(markup, "\n".join([first, second, *texts]))


def _shell() -> Any:
    """Return the notebook's IPython, or None elsewhere."""
    from labrt.lab import live

    if not live.in_a_notebook():
        return None
    from IPython import get_ipython

    return get_ipython()
