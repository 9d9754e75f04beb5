"""The tool that makes notebooks of sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

SOURCE = '''\
# %% [markdown]
# # 42 · A title
#
# Some prose.

# %%
def answer():
    """Say it."""
    ### BEGIN SOLUTION: it is a number
    return 42
    ### END SOLUTION


# %%
print(1)

# %%
print(1)
'''


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "42_title.py"
    path.write_text(SOURCE)
    return path


def code(raw: bytes) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(raw)["cells"] if cell["cell_type"] == "code"]


def test_a_student_gets_a_stub_that_raises_its_hint(source, build):
    text = code(build.build(source))[0]
    assert "42" not in text and "SOLUTION" not in text
    scope: dict = {}
    exec(text, scope)
    with pytest.raises(NotImplementedError, match="it is a number"):
        scope["answer"]()


def test_the_solution_edition_works_and_shows_no_markers(source, build):
    text = code(build.build(source, "solution"))[0]
    assert "###" not in text
    scope: dict = {}
    exec(text, scope)
    assert scope["answer"]() == 42


def test_a_presenter_gets_headings_and_solutions(source, build):
    cells = json.loads(build.build(source, "presenter"))["cells"]
    assert "".join(cells[0]["source"]) == "# 42 · A title"
    assert "return 42" in "".join(cells[1]["source"])


def test_the_same_source_gives_the_same_bytes_and_every_cell_a_name(source, build):
    assert build.build(source) == build.build(source)
    ids = [cell["id"] for cell in json.loads(build.build(source))["cells"]]
    assert len(set(ids)) == len(ids) == 4  # two cells are alike


def test_a_cell_keeps_its_name_when_others_change(source, build):
    before = {cell["id"] for cell in json.loads(build.build(source))["cells"]}
    source.write_text(SOURCE.replace("Some prose", "Other prose"))
    after = {cell["id"] for cell in json.loads(build.build(source))["cells"]}
    assert len(before & after) == 3


def test_jupyter_accepts_what_is_built(source, build):
    import nbformat

    for edition in build.EDITIONS:
        nbformat.validate(nbformat.reads(build.build(source, edition).decode(), as_version=4))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    ### END SOLUTION\n", "", "without END SOLUTION"),
        ("    ### BEGIN SOLUTION: it is a number\n", "", "without BEGIN SOLUTION"),
        ("    return 42\n", "    ### BEGIN SOLUTION\n", "within a solution"),
    ],
)
def test_unpaired_markers_are_refused(source, build, old, new, message):
    source.write_text(SOURCE.replace(old, new))
    with pytest.raises(build.BadSource, match=message):
        build.build(source)


def test_a_changed_notebook_is_found(source, build, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    monkeypatch.setattr(build, "NOTEBOOKS", tmp_path)
    assert build.differences() == ["42_title.ipynb is missing"]
    build.write(tmp_path, "student")
    assert build.differences() == []
    written = tmp_path / "42_title.ipynb"
    written.write_bytes(written.read_bytes().replace(b'"outputs": []', b'"outputs": [{}]', 1))
    (tmp_path / "43_orphan.ipynb").write_text("{}")
    assert build.differences() == ["42_title.ipynb is not what 42_title.py generates", "43_orphan.ipynb has no source"]


def test_from_the_command_line(tmp_path):
    script = [sys.executable, PROJECT / "notebooks/src/build.py"]
    assert subprocess.run([*script, "--check"], capture_output=True).returncode == 0
    done = subprocess.run([*script, "--edition", "solution", "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.split()) == len(list(tmp_path.glob("*.ipynb"))) >= 2
    refused = subprocess.run([*script, "--edition", "solution"], capture_output=True, text=True)
    assert refused.returncode == 2 and "--out" in refused.stderr
