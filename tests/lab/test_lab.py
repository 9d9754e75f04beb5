"""The lab as a namespace: rooms that can be called, whichever way they were imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from labrt import lab

ROOMS = ("doctor", "goto", "hub", "ledger", "progress", "sides", "snapshot", "source", "steps", "workspace")
WAYS = (
    "from labrt import lab",
    "import labrt.lab.{0}; from labrt import lab",
    "from labrt.lab.{0} import {0}; from labrt import lab; assert {0} is lab.{0}.{0}",
    "from labrt.lab import {0}; from labrt import lab; assert {0} is lab.{0}",
    "import labrt; lab = labrt.lab",
)


def test_each_room_can_be_called_and_is_a_module_whichever_way_it_came():
    checks = "assert callable(lab.{0}) and callable(lab.{0}.{0}) and lab.{0}.__name__ == 'labrt.lab.{0}'"
    lines = [f"{way}; {checks}" for way in WAYS]
    # Each in a fresh interpreter of its own would take seconds: what was imported is forgotten in between instead.
    script = (
        "import sys\n"
        f"for line in {lines!r}:\n"
        f"    for room in {ROOMS!r}:\n"
        "        for name in [name for name in sys.modules if name.startswith('labrt')]:\n"
        "            del sys.modules[name]\n"
        "        exec(line.format(room), {})\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_calling_a_room_is_calling_its_function(labrt_root):
    assert lab.steps("a title").title == "a title"
    assert repr(lab.ledger()) == "<Ledger: empty>"
    assert repr(lab.reset()) == "<Reset: nothing taken down>"


def test_it_lists_what_it_has_and_says_what_it_has_not():
    assert {*ROOMS, "checks", "show", "reset"} <= set(dir(lab))
    for name in dir(lab):
        getattr(lab, name)
    with pytest.raises(AttributeError, match="no 'telescope'; it has .*snapshot"):
        lab.telescope  # noqa: B018


def test_importing_it_is_cheap():
    script = "import sys; from labrt import lab; print([n for n in sys.modules if n.startswith('labrt.lab.')])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"
