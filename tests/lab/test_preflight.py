"""lab.preflight, `labrt lab check`: what is missing is found before the class does, and what to type is said."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from labrt.engine.images import Images
from labrt.errors import NotFound
from labrt.lab import preflight
from labrt.linux import ledger

pytestmark = pytest.mark.root


def statuses(report):
    return {check.name: check.status for check in report}


def test_an_image_that_is_not_there_fails_and_no_container_is_tried(labrt_root):
    report = preflight.preflight("18")
    assert not report.ok
    assert report["image busybox"].remedy == "labrt pull busybox"
    assert statuses(report)["container"] == "warn" and "not tried" in report["container"].saw
    assert not (labrt_root / "lib/images").exists() or Images().all() == []  # to look fetches nothing


def test_an_image_is_here_then_unpacked_then_damaged(house):
    assert preflight.preflight("18")["image busybox"].status == "warn"  # the start of its container unpacks it
    report = preflight.preflight("18")
    assert report.ok and report["image busybox"].status == "ok" and "gone in" in report["container"].saw
    images = Images()
    layer = images.find("busybox").manifest.layers[0].digest
    (house / "lib/images/blobs" / layer.algorithm / layer.hex).unlink()
    damaged = preflight._ask("image", lambda: preflight._image("busybox"))
    assert damaged.status == "fail" and layer.short in damaged.saw and "labrt pull busybox" in damaged.remedy


def test_what_a_session_has_left_is_said(house):
    entry = ledger.record("directory", f"{house}/lib/left")
    left = preflight._ask("leftovers", preflight._leftovers)
    assert (left.status, left.remedy) == ("warn", "labrt reset") and "directory" in left.saw
    ledger.strike(entry)
    assert preflight._leftovers()[0] == "ok"


def test_without_jupyter_or_a_notebook(labrt_root, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jupyterlab" else find(name))
    assert preflight._jupyter()[:2] == ("fail", "not installed: jupyterlab")
    monkeypatch.setattr(preflight, "NOTEBOOKS", str(tmp_path))
    with pytest.raises(NotFound, match="no notebook '18'"):
        preflight.preflight("18")
    (tmp_path / "00_first.ipynb").write_text('{"cells": []}')
    missing = preflight.preflight()["notebooks"]
    assert missing.status == "warn" and "not 01, 02" in missing.saw


def test_images_are_read_from_the_notebooks(tmp_path):
    code = ('labrt.run("busybox", "true")\nhub.reference("redis:7")\nlabrt.run("mine:1")\nbuild(tag="mine:1")\n'
            'subprocess.run("ls")\nsubprocess.run(["podman"])\n'
            'TEXT = """FROM alpine\nFROM alpine AS one\nFROM scratch\nFROM one"""')  # fmt: skip
    path = tmp_path / "00_first.ipynb"
    cells = [{"cell_type": "code", "source": [code]}, {"cell_type": "markdown", "source": ['run("prose")']}]
    path.write_text(json.dumps({"cells": cells}))
    assert preflight.images([str(path)]) == ["alpine", "busybox", "redis:7"]


def test_this_course_needs_busybox():
    assert "busybox" in preflight.images([*map(str, Path(preflight.NOTEBOOKS).glob("*.ipynb"))])


def test_on_the_command_line(house):
    command = [sys.executable, "-m", "labrt", "lab", "check"]
    done = subprocess.run([*command, "18"], capture_output=True, text=True)
    assert done.returncode == 0 and "image busybox" in done.stdout and "gone in" in done.stdout
    wrong = subprocess.run([*command, "77"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "no notebook '77'" in wrong.stderr
