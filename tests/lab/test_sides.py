"""lab.sides: one process from both sides."""

from __future__ import annotations

import os
import socket
from xml.etree import ElementTree

import pytest

from labrt import lab
from labrt.errors import NotFound
from labrt.linux import namespaces, process, syscalls

pytestmark = pytest.mark.root


@pytest.fixture
def box():
    """A process in namespaces of its own, with a hostname."""
    ready, say = os.pipe()
    gate, opener = os.pipe()

    def live() -> None:
        syscalls.sethostname("box")
        os.write(say, b"1")
        os.read(gate, 1)

    try:
        with process.spawn(live, namespaces="uts,pid,net") as child:
            os.read(ready, 1)
            yield child
    finally:
        for fd in (ready, say, gate, opener):
            os.close(fd)


def test_the_two_sides_give_two_answers(box):
    here = socket.gethostname()
    facts = {fact.what: fact for fact in lab.sides.facts(box.pid)}
    assert facts["process id"][1:] == (str(box.pid), "1")
    assert facts["hostname"][1:] == (here, "box")
    assert facts["network"].inside == "lo"
    assert facts["uts namespace"].inside == str(namespaces.of(box.pid).uts.inode)
    assert "mnt namespace" not in facts and "user namespace" not in facts  # it shares these
    assert socket.gethostname() == here  # looking did not move us


def test_the_picture_holds_the_same_and_is_well_formed(box):
    picture = lab.sides(box.pid)
    root = ElementTree.fromstring(picture.html)
    drawn = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "box" in drawn and "≠" in drawn and "=" in drawn
    assert "box" in picture.text and str(box.pid) in picture.text


def test_of_a_process_that_is_gone_it_says_so(box):
    box.kill()
    box.wait()
    with pytest.raises(NotFound, match="still running"):
        lab.sides(box.pid)
