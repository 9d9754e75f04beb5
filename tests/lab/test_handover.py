"""Between two classes: nothing stays but images, and notebooks are as they were handed out."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile

import pytest
from click.testing import CliRunner

import labrt
from labrt.engine import embedded
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.engine.volumes import Volumes
from labrt.lab import given, handover, preflight, progress
from labrt.linux import ledger
from labrt.runtime import launcher

NOTEBOOK = '{"cells": []}\n'


@pytest.fixture
def checkout(tmp_path):
    """A checkout with two notebooks, of which a learner has changed one."""
    place = tmp_path / "checkout" / "notebooks"
    place.mkdir(parents=True)
    for name in ("00_one.ipynb", "01_two.ipynb"):
        (place / name).write_text(NOTEBOOK)
    git = ["git", "-C", place.parent, "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    (place / "00_one.ipynb").write_text('{"cells": [{}]}\n')
    (place / "mine.ipynb").write_text(NOTEBOOK)
    return place


def test_notebooks_are_as_handed_out_and_what_is_a_learner_s_own_stays(checkout, labrt_root, tmp_path):
    assert handover.changed(str(checkout)) == ["00_one.ipynb"]
    assert handover._notebooks(str(checkout)) == "as handed out again: 00_one.ipynb"
    assert (checkout / "00_one.ipynb").read_text() == NOTEBOOK and (checkout / "mine.ipynb").exists()
    assert handover._notebooks(str(checkout)) == "are as they were handed out"
    assert "not looked at: git says" in handover._notebooks(str(tmp_path))


@pytest.mark.root
def test_git_runs_as_whose_checkout_it_is(checkout):
    """The repository's owner may have it name a program for git to run: that shall not be root's doing."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        theirs = shutil.copytree(checkout.parent, f"{place}/checkout")
        who = os.path.join(theirs, "who")
        with open(os.path.join(theirs, "watch"), "w") as file:
            file.write(f"#!/bin/sh\nid -u >{who}\n")
            os.fchmod(file.fileno(), 0o755)
        subprocess.run(["git", "-C", theirs, "config", "core.fsmonitor", f"{theirs}/watch"], check=True)
        subprocess.run(["chown", "-R", "65534:65534", theirs], check=True)
        assert handover._notebooks(f"{theirs}/notebooks") == "as handed out again: 00_one.ipynb"
        with open(who) as file:
            assert file.read() == "65534\n"


@pytest.mark.root
def test_a_machine_is_as_new_and_its_images_are_still_there(labrt_root, checkout, monkeypatch):
    launcher.default().close()  # an earlier test's would write into the ledger of its own house
    embedded.ensure()
    with embedded.serve() as server:
        Images()._pull(embedded.REFERENCE, None, None, {"docker.io": server.url})
    given.learner("Ada")
    progress.save(progress.Record("05", attempts=1))
    labrt.run("busybox", "sleep", "600", detach=True, volumes=["mine:/data"])
    monkeypatch.setattr(preflight, "NOTEBOOKS", str(checkout))
    command = importlib.import_module("labrt.cli.commands.lab").command
    try:
        refused = CliRunner().invoke(command, ["reset"])
        assert refused.exit_code == 2 and "--force" in refused.output and progress.load("05").attempts == 1
        done = CliRunner().invoke(command, ["reset", "--force", "--notebooks"], standalone_mode=False)
    finally:
        launcher.default().close()
    assert done.return_value == 0, done.output
    assert "mine" in done.output and "1 exercises forgotten" in done.output and "00_one.ipynb" in done.output
    assert Containers().list(all=True) == [] and Volumes().list() == [] and ledger.entries() == []
    assert progress.load("05").attempts == 0 and given.learner().name == ""
    assert Images().find("busybox")


def test_where_there_is_nothing_it_is_harmless(labrt_root):
    done = subprocess.run([sys.executable, "-m", "labrt", "lab", "reset", "-f"], capture_output=True, text=True)
    assert done.returncode == 0 and "there was none" in done.stdout
