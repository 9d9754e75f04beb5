"""What is recorded of the course, and what is made of it: the site, the recorded edition, cells that are skipped."""

from __future__ import annotations

import html.parser
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from labrt.lab import skipped

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = sorted((PROJECT / "notebooks/src").glob("[0-9][0-9]_*.py"))
CHOSEN = [source for source in SOURCES if source.stem[:2] in ("00", "09", "19")]


@pytest.fixture(scope="session")
def tools(build: ModuleType) -> tuple[ModuleType, ModuleType]:
    """pages and record, which import build as their own neighbour."""
    import importlib

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROJECT / "notebooks/src"))
        patch.setitem(sys.modules, "build", build)
        return importlib.import_module("pages"), importlib.import_module("record")


@pytest.fixture(scope="session")
def site(tools, tmp_path_factory) -> Path:
    return tools[0].write(tmp_path_factory.mktemp("site") / "out", CHOSEN).parent


class Reader(html.parser.HTMLParser):
    """Takes a page apart: its tags with their attributes, in order, and its title."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.titles: dict[str, list[str]] = {"head": [], "svg": []}
        self.feed(page.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            continue

    def handle_data(self, data):
        if self.open[-1:] == ["title"]:
            self.titles["svg" if "svg" in self.open else "head"].append(data)


def test_every_page_stands_by_itself_and_says_what_it_is(site):
    pages = sorted(site.glob("*.html"))
    assert [page.name for page in pages] == [f"{source.stem}.html" for source in CHOSEN] + ["index.html"]
    for page in pages:
        read = Reader(page)
        tags = [tag for tag, _ in read.tags]
        assert ("html", {"lang": "en"}) in read.tags
        assert tags.count("h1") == 1 and tags.count("main") == 1
        assert len(read.titles["head"]) == 1 and len(read.titles["head"][0]) > 12
        assert len(read.titles["svg"]) == tags.count("svg")
        assert not {"script", "link", "iframe", "object", "embed"} & set(tags)
        assert all(attributes.get("alt") for tag, attributes in read.tags if tag == "img")
        asked = [value for tag, attributes in read.tags for name, value in attributes.items()
                 if name in ("src", "srcset", "data", "href", "xlink:href") and tag != "a"]  # fmt: skip
        assert [one for one in asked if not re.match("#|data:", one or "")] == []
        assert not re.search(r"url\(\s*['\"]?(?!#|data:)", page.read_text(encoding="utf-8"))
        (policy,) = (one["content"] for tag, one in read.tags if one.get("http-equiv") == "Content-Security-Policy")
        assert policy and policy.startswith("default-src 'none'")


def test_links_lead_somewhere_and_the_way_through_is_whole(site):
    names = {page.name: Reader(page) for page in site.glob("*.html")}
    for name, read in names.items():
        ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), name
        links = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
        for link in links:
            if not re.match("https?://", link or ""):
                where, _, anchor = (link or "").partition("#")
                assert where in names or not where, link
                assert not anchor or anchor in ids, link
        if name != "index.html":
            assert "index.html" in links
    first, second, third = (f"{source.stem}.html" for source in CHOSEN)
    assert {first, third} <= {attributes.get("href") for _, attributes in names[second].tags}
    assert "30 min" in (site / "index.html").read_text()


def test_a_page_shows_what_was_said_and_folds_the_solution_away(site):
    text = (site / f"{CHOSEN[0].stem}.html").read_text()
    assert "uid=0(root)" in text and "clean_up: passed" in text
    handed_out, _, folded = text.partition("<details>")
    assert "NotImplementedError" in handed_out and "ledger" in folded
    assert "BEGIN SOLUTION" not in text
    nine = (site / f"{CHOSEN[1].stem}.html").read_text()
    assert "cpu.max, in CPUs: 0.3 (a slider)" in nine  # a widget without its program


def test_recordings_belong_to_the_cells_as_they_are(tools):
    assert tools[1].stale() == [], "run notebooks/src/record.py NN, as root, where all can be run"


def test_recordings_name_no_machine_and_weigh_little():
    for path in (PROJECT / "notebooks/recorded").iterdir():
        assert path.stat().st_size < 60_000, path
        assert not re.search("/home/|" + re.escape(str(PROJECT)), path.read_text()), path


def test_a_cell_that_is_changed_has_no_recording(build):
    said = build.recorded("00")["cells"]
    cells = json.loads(build.build(SOURCES[0], "solution"))["cells"]
    code = next("".join(cell["source"]) for cell in cells if cell["id"] in said)
    found = skipped.recording(code)
    assert found and found.where and found.outputs
    assert skipped.recording(code + "\n# my own word") is None


def test_the_recorded_edition_has_outputs_and_is_a_notebook(build):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.reads(build.build(SOURCES[8], "recorded").decode(), as_version=4)
    nbformat.validate(notebook)
    drawn = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert any("image/svg+xml" in output.data for output in drawn)
    assert "OOM" in str(notebook) and "exit code 137" in str(notebook)


def test_what_one_machine_skips_does_not_replace_what_another_said(tools):
    record = tools[1]
    ran, passed_over = {"outputs": [{"text": "42\n"}]}, {"outputs": [{"text": "no"}], "skipped": True}
    merged = record.merge(
        {"where": "there", "cells": {"a": ran, "b": passed_over, "gone": ran}},
        {"where": "here", "cells": {"a": passed_over, "b": ran, "new": passed_over, "silent": {"outputs": []}}},
    )
    assert merged["where"] == "here"
    assert merged["cells"] == {"a": {"where": "there"} | ran, "b": ran, "new": passed_over}


def test_what_is_kept_of_outputs_can_be_read_anywhere(tools):
    widgets = {
        "box": {"state": {"children": ["IPY_MODEL_slide", "IPY_MODEL_view"]}},
        "slide": {"state": {"description": "how <much>", "value": 0.3}},
        "view": {"state": {"_model_name": "HTMLModel", "value": "<svg></svg>"}},
    }
    outputs = [
        {"output_type": "stream", "text": "\x1b[31mone\x1b[0m\n"},
        {"output_type": "stream", "text": f"two in /secret/place and {PROJECT}/labrt\n"},
        {"output_type": "display_data", "data": {"text/html": "<table>", "text/plain": "<Picture>"}},
        {"output_type": "display_data",
         "data": {"application/vnd.jupyter.widget-view+json": {"model_id": "box"}, "text/plain": "VBox()"}},
        {"output_type": "execute_result", "data": {"text/plain": "7"}},
    ]  # fmt: skip
    assert tools[1]._cell(outputs, widgets, "/secret/place")["outputs"] == [
        {"text": "one\ntwo in /var/lib/labrt and /opt/labrt/labrt\n"},
        {"html": "<table>"},
        {"html": "<p>how &lt;much&gt;: 0.3 (a slider)</p><svg></svg>"},
        {"text": "7\n"},
    ]


@pytest.mark.root
def test_a_cell_that_cannot_run_here_shows_why_and_what_it_said_elsewhere(build, execute, nothing_left):
    """Notebook 12's last look, by skopeo, where there is none."""

    def change(cells) -> None:
        last = next(cell for cell in cells if "no skopeo is here" in cell.source)
        cells[1].source = "import shutil\nfrom labrt import lab\nshutil.which = lambda name: None"
        cells[:] = [cells[1], last]

    notebook = execute(build.build(SOURCES[12], "solution"), change=change)
    (output,) = notebook.cells[1].outputs
    said = output["data"]["text/html"]
    assert "skipped on this machine: no skopeo is here" in said
    assert "recorded on another" in said and "config" in said
    nothing_left()


def test_a_reason_without_a_notebook_is_told_plainly():
    assert str(skipped("no kernel & no time")) == "skipped on this machine: no kernel & no time"
