"""The escape room: each attack is a real one, each is held by at least one defence, and the host is as before."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from labrt.lab import escapes, grid
from labrt.lab.ledger import reset
from labrt.linux import ledger, procfs

# What the kernel decides: who gets out past each defence alone.
OUT = {
    "nothing": {"disk", "setting", "neighbour", "chroot"},
    "default capabilities": {"disk", "chroot"},
    "seccomp filter": {"disk", "neighbour", "chroot"},
    "device cgroup": {"setting", "neighbour"},
    "PID namespace": {"disk", "setting", "chroot"},
    "pivot_root": set(),
}
NOT_TRIED = {("chroot", "device cgroup"), *((attack, "pivot_root") for attack in ("disk", "setting", "neighbour"))}


@pytest.mark.root
def test_each_attack_against_each_defence(house):
    setting = Path(escapes.CORE_PATTERN).read_text()
    with escapes.room() as room:
        survey = room.survey()
        both = room.survey(yours=["CHOWN"], before=survey)
        assert both.outcomes[:-4] == survey.outcomes
        neighbour, place = room.neighbour, room.place
        began = procfs.stat(neighbour).starttime
        assert not os.path.exists(f"{room.box}/cell")
    found = {(one.attack, one.defence): one for one in both.outcomes}
    for defence, out in OUT.items():
        assert {attack for attack in escapes.ATTACKS if found[attack, defence].escaped} == out, defence
    assert {key for key, one in found.items() if one.escaped is None} == NOT_TRIED
    assert not any(found[attack, "your capabilities"].escaped for attack in escapes.ATTACKS)
    assert found["chroot", "nothing"].said == found["disk", "nothing"].said == room.secret
    assert found["chroot", "your capabilities"].said == "Operation not permitted: cell"
    assert Path(escapes.CORE_PATTERN).read_text() == setting
    assert not procfs.alive(neighbour, began) and not os.path.exists(place) and ledger.entries() == []


@pytest.mark.root
def test_who_is_killed_in_the_room_leaves_nothing_that_a_reset_does_not_find(house):
    script = """
import os
from labrt import lab
from labrt.linux import procfs
with lab.escapes.room() as room:
    print(room.neighbour, procfs.stat(room.neighbour).starttime, room.place, flush=True)
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    neighbour, began, place = done.stdout.split()
    assert done.returncode == -9 and os.path.isdir(place)
    assert reset(quiet=True).ok
    assert not os.path.exists(place) and not procfs.alive(int(neighbour), int(began)) and ledger.entries() == []


@pytest.mark.root
def test_without_a_loop_device_the_disk_is_left_out_and_it_is_said_why(house, monkeypatch):
    from labrt.errors import NotSupported

    def none(path):
        raise NotSupported("no loop driver here")

    monkeypatch.setattr(escapes.loop, "attached", none)
    with escapes.room() as room:
        one = room.attempt("disk")
        assert (one.escaped, one.word) == (None, "skipped") and "no loop driver" in one.said
        assert room.attempt("setting").escaped and "skipped" in str(escapes.Survey([one]))


def test_a_grid_is_drawn_and_said_and_asks_nobody():
    picture = grid.draw(["disk", "<b>"], ["no thing", "x"], {("disk", "x"): "held", ("<b>", "no thing"): "OUT"})
    root = ET.fromstring(picture.html)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["What was tried", "no", "thing", "x", "disk", "·", "held", "<b>", "OUT", "·"]
    assert picture.text.splitlines()[2].split() == ["disk", "·", "held"]
    assert picture.html.count("stroke-dasharray") == 1  # only the bad one
    assert "http" not in picture.html.replace("http://www.w3.org/2000/svg", "")
