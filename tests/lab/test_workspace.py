"""lab.workspace: a directory that does not stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from labrt import lab
from labrt.errors import Conflict, InvalidInput


def test_it_is_in_the_ledger_while_it_is_there_and_goes_with_all_in_it(labrt_root):
    with lab.workspace("mine") as path:
        assert path == str(labrt_root / "lib/mine") and os.stat(path).st_mode & 0o777 == 0o700
        os.makedirs(os.path.join(path, "a/b"))
        assert [(entry.kind, entry.what) for entry in lab.ledger()] == [("directory", path)]
    assert not os.path.exists(path) and len(lab.ledger()) == 0


def test_after_kill_9_a_reset_finds_it(labrt_root):
    script = (
        "import os, signal; from labrt import lab\n"
        "with lab.workspace('mine') as path:\n"
        "    open(path + '/file', 'w').close(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert (labrt_root / "lib/mine/file").exists()
    assert lab.reset().ok
    assert not (labrt_root / "lib/mine").exists()


def test_one_that_is_there_is_not_taken(labrt_root):
    with lab.workspace("mine") as path:
        with pytest.raises(Conflict, match="reset"), lab.workspace("mine"):
            pytest.fail("it was given twice")
        assert os.path.isdir(path) and len(lab.ledger()) == 1


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "images", "layers", "containers", "cache", "-x",
                                  "volumes", "networks", "progress"])  # fmt: skip
def test_names_that_would_lead_elsewhere_are_refused(labrt_root, name):
    with pytest.raises(InvalidInput, match="no name for a workspace"), lab.workspace(name):
        pytest.fail("it was given")
