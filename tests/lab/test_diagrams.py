"""Diagrams: what is drawn is said in text, too; whatever comes in is escaped; what is too long is cut."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET

import pytest

from labrt import lab
from labrt.lab.diagrams import Link, Node, Side, number_line, pairs, panels, tree
from labrt.linux import process, procfs
from labrt.linux.userns import IdMap

FAMILY = Node("sh", "7", [Node("a", "8", [Node("deep", "9")]), Node("b", "10", mark="zombie")])


def drawing(picture) -> ET.Element:
    """Parse it: it must be sound XML, and ask nobody for anything."""
    root = ET.fromstring(picture.html)
    assert root.attrib["role"] == "img" and "max-width:100%" in root.attrib["style"]
    assert "http" not in picture.html.replace("http://www.w3.org/2000/svg", "")
    return root


def words(picture) -> list[str]:
    return [element.text for element in drawing(picture).iter("{http://www.w3.org/2000/svg}text")]


def test_a_tree_is_drawn_and_said_in_the_same_order():
    picture = tree([FAMILY], title="A family")
    assert words(picture) == ["sh  7", "a  8", "deep  9", "b  10  zombie"]
    assert picture.text.splitlines() == ["A family", "sh  7", "  └ a  8", "    └ deep  9", "  └ b  10  zombie"]


def test_an_elbow_leads_up_to_the_node_that_one_hangs_on():
    paths = [e.attrib["d"] for e in drawing(tree([FAMILY])).iter("{http://www.w3.org/2000/svg}path")]
    starts = [float(path.split()[1].partition("V")[0]) for path in paths]
    assert starts == [32.0, 62.0, 32.0]  # a under sh, deep under a, b under sh again


def test_panels_stand_side_by_side_under_their_names():
    picture = panels({"before": [FAMILY], "after": []}, title="Two looks")
    assert words(picture)[0] == "before" and words(picture)[-1] == "after"
    assert "before" in picture.text and "after" in picture.text
    assert len(tree([]).html) > 0


def test_what_is_long_is_cut_and_what_is_evil_is_escaped():
    evil = Node("<script>" + "x" * 200, "\x1b[2J")
    picture = tree([evil])
    assert "<script>" not in picture.html and "\x1b" not in picture.text
    assert words(picture)[0].endswith("…")


def test_pairs_say_who_is_tied_to_whom_and_who_is_loose():
    picture = pairs(Side("here", ["a", "b"]), Side("there", ["x", "y", "z"]),
                    [Link(0, 0, "⇄", "shared:1"), Link(1, 1, "≠")], title="Both")  # fmt: skip
    lines = [line.split() for line in picture.text.splitlines()]
    assert lines == [["Both"], ["here", "there"], ["a", "⇄", "shared:1", "x"], ["b", "≠", "y"], ["z"]]
    heads = [*drawing(picture).iter("{http://www.w3.org/2000/svg}polygon")]
    assert len(heads) == 2  # one arrow, at both of its ends


@pytest.mark.parametrize(("arrow", "heads"), [("→", 1), ("←", 1), ("⇄", 2), ("=", 0), ("≠", 0)])
def test_each_arrow_has_its_heads(arrow, heads):
    picture = pairs(Side("l", ["a"]), Side("r", ["b"]), [Link(0, 0, arrow)])
    assert len([*drawing(picture).iter("{http://www.w3.org/2000/svg}polygon")]) == heads


def test_a_number_line_has_a_band_per_range_in_the_order_of_each_side():
    picture = number_line([IdMap(0, 200000, 1000), IdMap(1000, 1000, 1)])
    assert picture.text.splitlines()[2].split() == ["0…999", "are", "200000…200999"]
    assert picture.text.splitlines()[3].split() == ["1000", "is", "1000"]
    bands = [e.attrib["points"].split() for e in drawing(picture).iter("{http://www.w3.org/2000/svg}polygon")]
    assert len(bands) == 2
    assert bands[0][0].startswith("110,") and not bands[0][3].startswith("110,")  # they cross


def test_processes_are_read_with_their_descendants_and_zombies():
    def family():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        found = lab.trees.processes()
        os.waitpid(pid, 0)
        return found, pid, os.getpid()

    node, child, parent = process.run_in_child(family)
    assert node.detail == str(parent)
    assert [(one.detail, one.mark) for one in node.children] == [(str(child), "zombie")]


MOUNTINFO = """\
20 1 8:1 / / rw - ext4 /dev/sda rw
21 20 0:4 / /proc rw - proc proc rw
22 20 0:5 / /sys rw - sysfs sysfs rw
23 22 0:6 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
"""


def test_mounts_hang_on_those_that_they_are_mounted_in():
    found = procfs.parse_mountinfo(MOUNTINFO)
    (root,) = lab.trees.mounts(found)
    assert (root.label, root.detail) == ("/", "ext4")
    assert [node.label for node in root.children] == ["/proc", "/sys"]
    assert [node.label for node in root.children[1].children] == ["/sys/fs/cgroup"]
    assert [node.label for node in lab.trees.mounts(found, only=["/proc", "/sys/fs/cgroup"])] == [
        "/proc", "/sys/fs/cgroup",
    ]  # fmt: skip


@pytest.mark.root
def test_namespaces_are_compared_with_the_first_one_s():
    import time

    with process.spawn(lambda: time.sleep(60), namespaces="uts") as child:
        rows = [line.split() for line in lab.trees.namespaces({"me": "self", "it": child.pid}).text.splitlines()]
    signs = {row[0]: row[2] for row in rows[2:]}
    assert signs.pop("uts") == "≠" and set(signs.values()) == {"="}
